import { expect, test } from "vitest";
import { createPause } from "../../src/webhook/pause.ts";

test("pauses double up to the longest, and are a random part of that, but at least what is asked for", () => {
  const longest = createPause({ minDelayMs: 1_000, maxDelayMs: 60_000, random: () => 0.999_999 });
  expect([1, 2, 3, 7, 1_000, 10_000].map((refusals) => Math.round(longest(refusals)))).toEqual([
    1_000, 2_000, 4_000, 60_000, 60_000, 60_000,
  ]);
  const shortest = createPause({ minDelayMs: 1_000, maxDelayMs: 60_000, random: () => 0 });
  expect(shortest(5)).toBe(0);
  expect(shortest(5, 7_000)).toBe(7_000);
  expect(Math.round(longest(5, 7_000))).toBe(16_000);
});
