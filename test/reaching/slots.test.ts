import { setImmediate } from "node:timers/promises";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { createSlots } from "../../src/reaching/slots.ts";

beforeEach(() => vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] }));
afterEach(() => vi.useRealTimers());

/** Works that end when they are told to, and which of them have begun. */
function createWorks() {
  const begun: number[] = [];
  const ends = Array.from({ length: 10 }, () => Promise.withResolvers<void>());
  const work = (i: number) => async () => {
    begun.push(i);
    await ends[i]?.promise;
  };
  const end = async (i: number) => {
    ends[i]?.resolve();
    await setImmediate();
  };
  return { begun, work, end };
}

test("works begin in order, as many at a time as there is room for", async () => {
  const { begun, work, end } = createWorks();
  const slots = createSlots({ maxPrompt: 2, slowMs: 1_000, maxUnderWay: 5 });
  for (let i = 0; i < 4; i++) slots.run(work(i));
  expect(begun).toEqual([0, 1]);
  await end(1);
  expect(begun).toEqual([0, 1, 2]);
  await end(0);
  await end(2);
  expect(begun).toEqual([0, 1, 2, 3]);
});

test("a slow work makes room for another, once, until too many are under way", async () => {
  const { begun, work, end } = createWorks();
  const slots = createSlots({ maxPrompt: 2, slowMs: 1_000, maxUnderWay: 5 });
  for (let i = 0; i < 9; i++) slots.run(work(i));
  vi.advanceTimersByTime(999);
  expect(begun).toEqual([0, 1]);
  vi.advanceTimersByTime(1);
  expect(begun).toEqual([0, 1, 2, 3]);
  vi.advanceTimersByTime(1_000);
  expect(begun).toEqual([0, 1, 2, 3, 4]);
  vi.advanceTimersByTime(60_000);
  expect(begun).toHaveLength(5);
  await end(0);
  await end(3);
  expect(begun).toEqual([0, 1, 2, 3, 4, 5, 6]);
  await end(5);
  expect(begun).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
});

test("a stop begins no more, and waits for what is under way", async () => {
  const { begun, work, end } = createWorks();
  const slots = createSlots({ maxPrompt: 1, slowMs: 1_000, maxUnderWay: 5 });
  slots.run(work(0));
  slots.run(work(1));
  let isStopped = false;
  const stopped = slots.stop().then(() => {
    isStopped = true;
  });
  await setImmediate();
  expect(isStopped).toBe(false);
  await end(0);
  await stopped;
  expect(begun).toEqual([0]);
});
