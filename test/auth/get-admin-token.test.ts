import { expect, test } from "vitest";
import { createGuessLimit } from "../../src/auth/get-admin-token.ts";

test("the addresses kept are bounded: the one that has not been wrong for the longest time is forgotten", () => {
  const guesses = createGuessLimit({ burst: 1, maxPeers: 3 });
  for (const peer of ["a", "b", "c", "a", "d"]) guesses.wrong(peer);
  for (const peer of ["a", "c", "d"]) expect(() => guesses.check(peer)).toThrow("too many wrong secrets");
  expect(() => guesses.check("b")).not.toThrow();
});
