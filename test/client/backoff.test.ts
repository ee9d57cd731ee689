import { expect, test } from "vitest";
import { createBackoff } from "../../src/client/backoff.ts";

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
