import { expect, test } from "vitest";
import { distance, judge, lowest, percentile, ratioOf, type Target } from "../../bench/verdict.ts";

const atMost = (value: number): Target => ({ is: "at most", value, of: "floor" });
const atLeast = (value: number, of: Target["of"] = "floor"): Target => ({ is: "at least", value, of });

test("a ratio needs a floor", () => {
  expect(ratioOf(30, 20)).toBe(1.5);
  expect(ratioOf(30, undefined)).toBeUndefined();
  expect(ratioOf(30, 0)).toBeUndefined();
});

test.each<[ours: number, floor: number | undefined, targets: Target[], verdict: string]>([
  [30, 20, [atMost(1.5)], "met"],
  [30.1, 20, [atMost(1.5)], "missed"],
  [50, 20, [atLeast(2.5)], "met"],
  [49, 20, [atLeast(2.5)], "missed"],
  [50, 20, [atLeast(2.5), atLeast(51, "figure")], "missed"],
  [50, undefined, [atLeast(2.5)], "open"],
  [50, undefined, [atLeast(2.5), atLeast(51, "figure")], "missed"],
  [50, undefined, [atLeast(2.5), atLeast(49, "figure")], "open"],
  [50, 20, [], "open"],
])("%d against %d is judged", (ours, floor, targets, verdict) => {
  expect(judge(ours, floor, targets)).toBe(verdict);
});

test("the distance is that from the hardest target, whichever way it points", () => {
  expect(distance(30, 20, [atMost(3)])).toBe(0.5);
  expect(distance(30, 20, [atLeast(3)])).toBe(2);
  expect(distance(30, 20, [atLeast(3), atMost(0.5)])).toBe(3);
  expect(distance(30, undefined, [atLeast(3)])).toBeUndefined();
});

test("a percentile is a value that occurs, by nearest rank", () => {
  const values = [9, 1, 8, 2, 7, 3, 6, 4, 5, 10];
  expect(percentile(values, 0.5)).toBe(5);
  expect(percentile(values, 0.9)).toBe(9);
  expect(percentile(values, 0.99)).toBe(10);
  expect(percentile(values, 0)).toBe(1);
  expect(percentile([], 0.5)).toBeNaN();
});

test("the lowest of some is one of them, of none an error", () => {
  expect(lowest([{ at: 3 }, { at: 1 }, { at: 2 }], ({ at }) => at)).toEqual({ at: 1 });
  expect(() => lowest([], Number)).toThrow(RangeError);
});
