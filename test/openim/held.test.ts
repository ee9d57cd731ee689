import { describe, expect, test } from "vitest";
import { Held, maxBatchBytes } from "../../src/openim/held.ts";

/** Adds items: a size for one with a message of that many bytes, undefined for one without. */
function hold(sizes: readonly (number | undefined)[], epochs: readonly string[] = []): Held {
  const held = new Held();
  for (const [i, size] of sizes.entries()) {
    const message = size === undefined ? undefined : new Uint8Array(size);
    held.add({ sequence: i + 1, epoch: epochs[i] ?? "a", message });
  }
  return held;
}

/** The last sequence and the number of messages of each batch. */
function takeAll(held: Held): [last: number, messages: number][] {
  const batches: [number, number][] = [];
  for (let batch = held.take(); batch !== undefined; batch = held.take()) {
    batches.push([batch.last.sequence, batch.messages.length]);
  }
  expect(held.isEmpty()).toBe(true);
  return batches;
}

describe("a batch", () => {
  test.each<[what: string, sizes: (number | undefined)[], batches: [number, number][]]>([
    ["has all that there is", [1, 2, 3], [[3, 3]]],
    [
      "is as large as a frame may be",
      [maxBatchBytes - 1, 1, 1],
      [
        [2, 2],
        [3, 1],
      ],
    ],
    [
      "has one that is larger than that by itself",
      [1, maxBatchBytes + 1, 1],
      [
        [1, 1],
        [2, 1],
        [3, 1],
      ],
    ],
    ["skips what has no message", [undefined, 1, undefined, 1], [[4, 2]]],
    [
      "ends with a message",
      [1, undefined, undefined],
      [
        [1, 1],
        [3, 0],
      ],
    ],
    [
      "of what has no message goes as far as the next that does not fit with it",
      [undefined, maxBatchBytes + 1],
      [
        [1, 0],
        [2, 1],
      ],
    ],
    ["of nothing is none", [], []],
  ])("%s", (_, sizes, batches) => {
    expect(takeAll(hold(sizes))).toEqual(batches);
  });

  test("is of one epoch", () => {
    expect(takeAll(hold([1, 1, undefined, 1, 1], ["a", "a", "b", "b", "c"]))).toEqual([
      [2, 2],
      [4, 1],
      [5, 1],
    ]);
    expect(takeAll(hold([undefined, undefined, 1], ["a", "b", "b"]))).toEqual([
      [1, 0],
      [3, 1],
    ]);
  });
});

test("the session is to wait while a mebibyte is held", () => {
  const held = hold([800_000, 248_575]);
  expect(held.isFull()).toBe(false);
  held.add({ sequence: 3, epoch: "a", message: new Uint8Array(1) });
  expect(held.isFull()).toBe(true);
  held.take();
  expect(held.isFull()).toBe(false);
});
