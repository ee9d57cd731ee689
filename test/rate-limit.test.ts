import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { createRateLimit } from "../src/rate-limit.ts";

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["Date"], now: 1_700_000_000_000 });
});
afterEach(() => {
  vi.useRealTimers();
});

const repeat = (count: number, take: () => number) => Array.from({ length: count }, take);

test("gives a burst, then says how long to wait", () => {
  const take = createRateLimit({ burst: 3, perSecond: 2 });
  expect(repeat(3, () => take("a"))).toEqual([0, 0, 0]);
  expect(take("a")).toBe(500);
  vi.advanceTimersByTime(200);
  expect(take("a")).toBe(300);
  vi.advanceTimersByTime(300);
  expect(take("a")).toBe(0);
  expect(take("a")).toBe(500);
});

test("who is refused is not made to wait longer", () => {
  const take = createRateLimit({ burst: 1, perSecond: 1 });
  take("a");
  expect(repeat(100, () => take("a")).at(-1)).toBe(1_000);
});

test("each key has a bucket of its own, which is full again after a while, and no fuller", () => {
  const take = createRateLimit({ burst: 2, perSecond: 1 });
  expect(repeat(2, () => take("a"))).toEqual([0, 0]);
  expect(repeat(2, () => take("b"))).toEqual([0, 0]);
  vi.advanceTimersByTime(3_600_000);
  expect(repeat(3, () => take("a"))).toEqual([0, 0, 1_000]);
});
