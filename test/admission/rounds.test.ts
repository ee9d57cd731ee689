import { setImmediate as endOfTurn } from "node:timers/promises";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { createRounds, type Rounds } from "../../src/admission/rounds.ts";

beforeEach(() => vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] }));
afterEach(() => vi.useRealTimers());

/** Those who had their turn, and those who have withdrawn, in that order. */
function watch(rounds: Rounds) {
  const begun: string[] = [];
  const withdrawn: string[] = [];
  return {
    begun,
    withdrawn,
    enter(callerId: string, name: string, maxWaitMs?: number) {
      const turn = rounds.enter(callerId, maxWaitMs);
      if (turn === undefined) begun.push(name);
      else void turn.then((isTurn) => (isTurn ? begun : withdrawn).push(name));
    },
    async leave() {
      rounds.leave();
      await endOfTurn();
    },
  };
}

test("of those who wait one of each caller has its turn after the other, and who waits without end does", async () => {
  const rounds = createRounds(1);
  const { begun, withdrawn, enter, leave } = watch(rounds);
  for (const name of ["a0", "a1", "a2", "b0", "b1", "c0"]) enter(name.slice(0, 1), name);
  await vi.advanceTimersByTimeAsync(3_600_000);
  expect(begun).toEqual(["a0"]);
  expect(rounds.waiting()).toBe(5);
  for (let i = 0; i < 5; i++) await leave();
  expect(begun).toEqual(["a0", "a1", "b0", "c0", "a2", "b1"]);
  expect(withdrawn).toEqual([]);
  expect(rounds.waiting()).toBe(0);
});

test("who has withdrawn takes no turn, whether it was the caller's only one or between others", async () => {
  const rounds = createRounds(1);
  const { begun, withdrawn, enter, leave } = watch(rounds);
  enter("a", "a0");
  enter("a", "a1", 200);
  enter("a", "a2", 100);
  enter("b", "b0", 100);
  enter("a", "a3");
  enter("c", "c0");
  await vi.advanceTimersByTimeAsync(99);
  expect(withdrawn).toEqual([]);
  await vi.advanceTimersByTimeAsync(1);
  expect(withdrawn).toEqual(["a2", "b0"]);
  expect(rounds.waiting()).toBe(3);
  for (let i = 0; i < 3; i++) await leave();
  expect(begun).toEqual(["a0", "a1", "c0", "a3"]);
  // One that had its turn in time keeps it.
  expect(vi.getTimerCount()).toBe(0);
  expect(rounds.waiting()).toBe(0);
  // Its turn is free again for whoever comes.
  await leave();
  expect(rounds.enter("b")).toBeUndefined();
});

test("tells after how many turns one more of a caller has its own, at most", async () => {
  const rounds = createRounds(2);
  const { enter } = watch(rounds);
  enter("a", "a0");
  expect(rounds.turnsUntil("a")).toBe(0);
  for (let i = 1; i < 12; i++) enter("a", `a${i}`, 100);
  expect(rounds.waiting()).toBe(10);
  expect(rounds.turnsUntil("a")).toBe(11);
  // Another has its own in the first round.
  expect(rounds.turnsUntil("b")).toBe(2);
  await vi.advanceTimersByTimeAsync(100);
  expect(rounds.turnsUntil("a")).toBe(1);
});
