import { setImmediate as endOfTurn } from "node:timers/promises";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { retryAfterMsOf, toErrorFacts } from "../../src/errors.ts";
import { createReplays, type Replays } from "../../src/receiving/replays.ts";

beforeEach(() => vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] }));
afterEach(() => vi.useRealTimers());

/** Replays that last until they are ended, and what has become of each. */
function watch(replays: Replays) {
  const begun: string[] = [];
  const refused: { readonly name: string; readonly error: unknown }[] = [];
  const ends: (() => void)[] = [];
  return {
    begun,
    refused,
    start(userId: string, name = userId) {
      const replay = () => {
        begun.push(name);
        return new Promise<void>((resolve) => ends.push(resolve));
      };
      replays.inTurn(userId, replay).catch((error: unknown) => refused.push({ name, error }));
    },
    /** Ends the one that has lasted longest. */
    async end() {
      ends.shift()?.();
      await endOfTurn();
    },
  };
}

test("so many are under way at a time, and of those who wait each user has one in turn", async () => {
  const replays = createReplays(2);
  const { begun, start, end } = watch(replays);
  for (let i = 0; i < 5; i++) start("ann", `ann ${i}`);
  start("bob");
  start("cem");
  expect(begun).toEqual(["ann 0", "ann 1"]);
  for (let i = 0; i < 5; i++) await end();
  expect(begun.slice(2)).toEqual(["ann 2", "bob", "cem", "ann 3", "ann 4"]);
  // All places are free again.
  await end();
  await end();
  start("dan");
  start("eve");
  start("fay");
  expect(begun.slice(7)).toEqual(["dan", "eve"]);
});

test("one that fails gives its place away, too", async () => {
  const { inTurn } = createReplays(1);
  await expect(inTurn("ann", () => Promise.reject(new Error("broken")))).rejects.toThrow("broken");
  expect(await inTurn("bob", async () => "read")).toBe("read");
});

test("whose turn has not come within 5 s is refused with 1601, and is not begun when it comes", async () => {
  const { begun, refused, start, end } = watch(createReplays(1));
  start("ann");
  start("bob");
  await vi.advanceTimersByTimeAsync(4_000);
  start("cem");
  await vi.advanceTimersByTimeAsync(999);
  expect(refused).toEqual([]);
  await vi.advanceTimersByTimeAsync(1);
  expect(refused.map(({ name }) => name)).toEqual(["bob"]);
  expect(toErrorFacts(refused[0]?.error)).toMatchObject({ errCode: 1601 });
  await end();
  expect(begun).toEqual(["ann", "cem"]);
});

/** A bound with places that are all taken, where each replay takes a second. */
async function crowd(maxAtATime: number, waiting: number) {
  const replays = createReplays(maxAtATime);
  const { begun, start, end } = watch(replays);
  for (let i = 0; i < 200; i++) {
    const before = begun.length;
    start("early");
    await vi.advanceTimersByTimeAsync(begun.length > before ? 1_000 : 0);
    await end();
  }
  for (let i = 0; i < maxAtATime + waiting; i++) start(`user ${i % 1_000}`);
  return replays;
}

/** The times to come back that so many who ask are told, in milliseconds. */
function timesOf({ requireRoom }: Replays, count: number): number[] {
  return Array.from({ length: count }, (_, i) => {
    try {
      requireRoom(`late ${i}`);
      return 0;
    } catch (error) {
      expect(toErrorFacts(error)).toMatchObject({ errCode: 1601 });
      return retryAfterMsOf(error) ?? 0;
    }
  });
}

test("who would wait longer is refused at once, and nobody while there is room", async () => {
  expect(timesOf(await crowd(10, 30), 3)).toEqual([0, 0, 0]);
  expect(Math.min(...timesOf(await crowd(10, 60), 3))).toBeGreaterThan(0);
  expect(timesOf(createReplays(1), 1)).toEqual([0]);
});

test("a user with one device is let in where another with many is not", async () => {
  const replays = await crowd(10, 0);
  for (let i = 0; i < 60; i++) replays.inTurn("many", async () => {}).catch(() => {});
  expect(() => replays.requireRoom("many")).toThrow("ConnOverMaxNumLimit");
  expect(() => replays.requireRoom("one")).not.toThrow();
});

test("the times that are told are apart by the pace, later the more wait, and at most half a minute", async () => {
  const few = timesOf(await crowd(10, 60), 50);
  expect(few[0]).toBeGreaterThanOrEqual(1_000);
  // Ten at a time, each of a second.
  for (const [i, ms] of few.entries()) if (i > 0) expect(ms - (few[i - 1] ?? 0)).toBeCloseTo(100, -1.5);
  const more = timesOf(await crowd(10, 120), 50);
  expect(more[0]).toBeGreaterThan((few[0] ?? 0) + 5_000);
  const flood = timesOf(await crowd(10, 60), 2_000).slice(-1_000);
  expect(Math.max(...flood)).toBeLessThanOrEqual(30_000);
  expect(Math.min(...flood)).toBeGreaterThanOrEqual(15_000);
  expect(new Set(flood).size).toBeGreaterThan(500);
});
