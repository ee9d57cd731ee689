import { expect, test } from "vitest";
import { createBackoff, untilAborted, wait, withDeadline } from "../../../src/client/wire/wait.ts";

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
