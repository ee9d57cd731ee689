import { expect, onTestFinished, test, vi } from "vitest";
import { createGuessLimit } from "../../src/auth/get-admin-token.ts";
import { retryAfterMsOf } from "../../src/errors.ts";

test("the addresses kept are bounded: the one that has not been wrong for the longest time is forgotten", () => {
  const guesses = createGuessLimit({ burst: 1, maxPeers: 3 });
  for (const peer of ["a", "b", "c", "a", "d"]) guesses.wrong(peer);
  for (const peer of ["a", "c", "d"]) expect(() => guesses.check(peer)).toThrow("too many wrong secrets");
  expect(() => guesses.check("b")).not.toThrow();
});

test("an address that was wrong waits no longer when the machine's clock is set back", () => {
  const clock = vi.spyOn(Date, "now");
  onTestFinished(() => clock.mockRestore());
  const guesses = createGuessLimit({ burst: 1, refillMs: 1_000 });
  guesses.wrong("a");
  clock.mockReturnValue(0);
  const refusals: unknown[] = [];
  try {
    guesses.check("a");
  } catch (error) {
    refusals.push(retryAfterMsOf(error));
  }
  expect(refusals).toEqual([expect.toSatisfy((ms: number) => ms > 0 && ms <= 1_000)]);
});
