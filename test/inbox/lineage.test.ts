import { describe, expect, test } from "vitest";
import { endOf, epochAt } from "../../src/inbox/lineage.ts";

const lineage = [
  { id: "a", first: 5 },
  { id: "b", first: 9 },
  // One that took all of the one before.
  { id: "c", first: 9 },
  { id: "d", first: 20 },
];

describe("the epoch of a sequence", () => {
  test.each([
    [0, ""],
    [4, ""],
    [5, "a"],
    [8, "a"],
    [9, "c"],
    [19, "c"],
    [20, "d"],
    [1_000, "d"],
  ])("%i is %j", (sequence, epoch) => {
    expect(epochAt(lineage, sequence)).toBe(epoch);
  });
});

describe("the end of an epoch", () => {
  test.each([
    ["", 4],
    ["a", 8],
    ["b", 8],
    ["c", 19],
    ["d", Number.POSITIVE_INFINITY],
    ["unknown", 0],
  ])("%j is %d", (epoch, end) => {
    expect(endOf(lineage, epoch)).toBe(end);
  });

  test("does not come in a store that has none", () => {
    expect(endOf([], "")).toBe(Number.POSITIVE_INFINITY);
    expect(epochAt([], 7)).toBe("");
  });
});
