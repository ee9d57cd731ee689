import { beforeEach, expect, test, vi } from "vitest";
import { createLatencyLimit, minCrowdedLimit, minLimit } from "../../src/admission/latency-limit.ts";

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["performance"] });
  return () => void vi.useRealTimers();
});

const max = 4_096;
const start = 1_024;

/** Observes a hundred, one every 2 ms, each taking so long; one is refused with each so many of them. */
function observe(
  limit: ReturnType<typeof createLatencyLimit>,
  ms: number,
  inFlight: number,
  refusedEvery = Number.POSITIVE_INFINITY,
): void {
  for (let i = 1; i <= 100; i++) {
    if (i % refusedEvery === 0) limit.refuse();
    vi.advanceTimersByTime(2);
    const nowMs = performance.now();
    limit.observe(nowMs, nowMs + ms, inFlight);
  }
  vi.advanceTimersByTime(ms);
}

test("falls while what is in flight is slow, by half at most at a time, and never below the least", () => {
  const limit = createLatencyLimit(max);
  observe(limit, 5, 100);
  expect(limit.current).toBe(start);
  const seen: number[] = [];
  for (let i = 0; i < 20; i++) {
    observe(limit, 500, limit.current);
    seen.push(limit.current);
  }
  expect(seen[0]).toBeLessThan(start);
  expect(seen.every((each, i) => i === 0 || each >= Math.floor((seen[i - 1] ?? 0) / 4))).toBe(true);
  expect(seen.at(-1)).toBe(minLimit);
});

test("asks for more patience while a crowd lasts, up to eight times as much, and then less", () => {
  const limit = createLatencyLimit(max);
  observe(limit, 5, 100);
  expect(limit.patience).toBe(1);
  observe(limit, 5, 100, 2);
  expect(limit.patience).toBeGreaterThan(1);
  expect(limit.patience).toBeLessThan(1.2);
  for (let i = 0; i < 60; i++) observe(limit, 5, 100, 2);
  expect(limit.patience).toBe(8);
  for (let i = 0; i < 60; i++) observe(limit, 5, 100);
  expect(limit.patience).toBe(1);
});

test("falls from what was in flight, at once", () => {
  const limit = createLatencyLimit(max);
  observe(limit, 500, 1_000);
  expect(limit.current).toBeLessThanOrEqual(500);
});

test("rises again to where it was", () => {
  const limit = createLatencyLimit(max);
  for (let i = 0; i < 20; i++) observe(limit, 500, limit.current);
  observe(limit, 1, 1);
  const [after] = [limit.current];
  expect(after).toBeGreaterThan(minLimit);
  expect(after).toBeLessThan(start);
  // However few there are: a minute of a send a second.
  for (let i = 0; i < 60; i++) {
    vi.advanceTimersByTime(1_000);
    limit.observe(performance.now(), performance.now() + 2, 1);
  }
  expect(limit.current).toBe(start);
});

test("rises above where it began while it is in use and all is fast, and no further than it may", () => {
  const limit = createLatencyLimit(max);
  observe(limit, 5, 500);
  expect(limit.current).toBe(start);
  for (let i = 0; i < 20; i++) observe(limit, 5, limit.current - 100);
  expect(limit.current).toBe(max);
});

test("is not lowered by slowness with little in flight, which is of another's making", () => {
  const limit = createLatencyLimit(max);
  for (let i = 0; i < 20; i++) observe(limit, 3_000, minLimit);
  expect(limit.current).toBe(start);
});

test("puts up with more where the broker is slow for a lone send too", () => {
  const slow = createLatencyLimit(max);
  for (let i = 0; i < 10; i++) observe(slow, 100, 1);
  observe(slow, 300, 500);
  expect(slow.current).toBe(start);
  const fast = createLatencyLimit(max);
  observe(fast, 1, 1);
  observe(fast, 300, 500);
  expect(fast.current).toBeLessThan(start);
});

test("those that begin when a batch has ended, and find nobody, are not taken for lone ones", () => {
  const limit = createLatencyLimit(max);
  for (let i = 0; i < 50; i++) {
    for (let inFlight = 1; inFlight <= 50; inFlight++) {
      vi.advanceTimersByTime(2);
      limit.observe(performance.now() - 8, performance.now(), inFlight);
    }
  }
  observe(limit, 30, 500);
  expect(limit.current).toBeLessThan(start);
});

test("falls further while more is wanted than there is room for, and rises again when the crowd is gone", () => {
  const limit = createLatencyLimit(max);
  for (let i = 0; i < 20; i++) observe(limit, 50, limit.current, 2);
  expect(limit.current).toBe(minCrowdedLimit);
  // A few who come again are no crowd.
  for (let i = 0; i < 40; i++) observe(limit, 50, limit.current, 20);
  expect(limit.current).toBe(minLimit);
});
