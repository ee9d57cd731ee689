import { describe, expect, onTestFinished, test, vi } from "vitest";
import {
  createBackoff,
  createPatience,
  unanswered,
  untilAborted,
  wait,
  withDeadline,
} from "../../../src/client/wire/wait.ts";

const never = new Promise<never>(() => {});

test("wait ends after its time, with the signal, or at once when that was aborted before", async () => {
  const abort = new AbortController();
  await wait(1, abort.signal);
  const waiting = wait(60_000, abort.signal);
  abort.abort();
  await waiting;
  await wait(60_000, abort.signal);
});

test("untilAborted settles as the promise does, or rejects with the signal's reason", async () => {
  const reason = new Error("closed");
  const abort = new AbortController();
  expect(await untilAborted(Promise.resolve(7), abort.signal)).toBe(7);
  await expect(untilAborted(Promise.reject(reason), abort.signal)).rejects.toBe(reason);
  const aborted = untilAborted(never, abort.signal);
  abort.abort(reason);
  await expect(aborted).rejects.toBe(reason);
  await expect(untilAborted(never, abort.signal)).rejects.toBe(reason);
});

test("withDeadline aborts a call that is late, even one that does not listen to its signal", async () => {
  let given: AbortSignal | undefined;
  const late = withDeadline(5, undefined, (signal) => {
    given = signal;
    return never;
  });
  await expect(late).rejects.toMatchObject({ name: "TimeoutError" });
  expect(given?.aborted).toBe(true);
});

test("withDeadline passes on the result, and the reason of its parent", async () => {
  const parent = new AbortController();
  expect(await withDeadline(60_000, parent.signal, async () => 7)).toBe(7);
  const reason = new Error("closed");
  const calling = withDeadline(60_000, parent.signal, () => never);
  parent.abort(reason);
  await expect(calling).rejects.toBe(reason);
  await expect(withDeadline(60_000, parent.signal, () => never)).rejects.toBe(reason);
});

test("delays double up to the longest, and begin again after a reset", () => {
  const backoff = createBackoff({ minDelayMs: 500, maxDelayMs: 3_000, random: () => 1 });
  expect([1, 2, 3, 4, 5].map(() => backoff.next())).toEqual([500, 1_000, 2_000, 3_000, 3_000]);
  for (let i = 0; i < 2_000; i++) backoff.next();
  expect(backoff.next()).toBe(3_000);
  backoff.reset();
  expect(backoff.next()).toBe(500);
});

test("jitter takes up to half of a delay away", () => {
  expect(createBackoff({ minDelayMs: 500, maxDelayMs: 3_000, random: () => 0 }).next()).toBe(250);
  const delays = Array.from({ length: 100 }, () => createBackoff({ minDelayMs: 500, maxDelayMs: 3_000 }).next());
  expect(Math.min(...delays)).toBeGreaterThanOrEqual(250);
  expect(Math.max(...delays)).toBeLessThanOrEqual(500);
  expect(new Set(delays).size).toBeGreaterThan(50);
});

describe("after an attempt that failed", () => {
  const usual = { minDelayMs: 500, maxDelayMs: 30_000, random: () => 1 };
  const [nobody, busy, other] = [{ retryAfterMs: 0 }, { retryAfterMs: 5_000 }, { retryAfterMs: undefined }];

  function useClock() {
    vi.useFakeTimers({ toFake: ["Date"] });
    onTestFinished(() => void vi.useRealTimers());
  }

  test("a service that does not answer is asked again soon, and never much later", () => {
    useClock();
    const patience = createPatience(usual);
    expect([1, 2, 3, 4, 5, 6].map(() => patience.next(nobody))).toEqual([100, 200, 400, 800, 1_500, 1_500]);
  });

  test("one that does not answer for minutes is asked as seldom as any", () => {
    useClock();
    const patience = createPatience(usual);
    patience.next(nobody);
    vi.advanceTimersByTime(unanswered.forMs - 1);
    expect(patience.next(nobody)).toBeLessThan(unanswered.maxDelayMs);
    vi.advanceTimersByTime(1);
    expect([1, 2, 3, 4, 5, 6, 7, 8].map(() => patience.next(nobody)).at(-1)).toBe(30_000);
    patience.reset();
    expect(patience.next(nobody)).toBe(100);
  });

  test("one that says when is asked then, a little later each of many, however often it says so", () => {
    for (const [random, delayMs] of [
      [0, 5_000],
      [0.5, 6_250],
    ] as const) {
      const patience = createPatience({ ...usual, random: () => random });
      expect([1, 2, 3].map(() => patience.next(busy))).toEqual([delayMs, delayMs, delayMs]);
    }
    expect(createPatience({ ...usual, maxDelayMs: 2_000 }).next(busy)).toBe(2_000);
  });

  test("one that has answered in between is asked soon again", () => {
    useClock();
    const patience = createPatience(usual);
    for (let i = 0; i < 9; i++) patience.next(nobody);
    vi.advanceTimersByTime(unanswered.forMs);
    patience.next(busy);
    expect(patience.next(nobody)).toBe(100);
  });

  test("what is not of the way there has its own delays", () => {
    const patience = createPatience(usual);
    patience.next(nobody);
    expect([1, 2, 3].map(() => patience.next(other))).toEqual([500, 1_000, 2_000]);
  });

  test("shorter delays than those stay as they are", () => {
    const patience = createPatience({ minDelayMs: 5, maxDelayMs: 20, random: () => 1 });
    expect([1, 2, 3, 4].map(() => patience.next(nobody))).toEqual([5, 10, 20, 20]);
  });
});
