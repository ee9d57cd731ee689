import fc from "fast-check";
import { expect, test } from "vitest";
import { createDueQueue } from "../../src/reaching/due-queue.ts";
import { fuzz } from "../helpers/fuzz.ts";

test("what is due is taken, the earliest first, and what is not stays", () => {
  const queue = createDueQueue<string>();
  expect(queue.nextMs()).toBeUndefined();
  for (const [item, dueMs] of [
    ["c", 30],
    ["a", 10],
    ["d", 40],
    ["b", 20],
  ] as const)
    queue.add(item, dueMs);
  expect(queue.nextMs()).toBe(10);
  expect(queue.take(9, 10)).toEqual([]);
  expect(queue.take(30, 2)).toEqual(["a", "b"]);
  expect(queue.take(30, 2)).toEqual(["c"]);
  expect(queue.nextMs()).toBe(40);
  expect(queue.take(40, 2)).toEqual(["d"]);
  expect(queue.nextMs()).toBeUndefined();
});

test("takes as sorting would, whatever is added in between", () => {
  const step = fc.oneof(
    fc.record({ add: fc.integer({ min: 0, max: 20 }) }),
    fc.record({ takeAt: fc.integer({ min: 0, max: 20 }), limit: fc.integer({ min: 1, max: 4 }) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
      const queue = createDueQueue<number>();
      let sorted: number[] = [];
      for (const now of steps) {
        if ("add" in now) {
          queue.add(now.add, now.add);
          sorted = [...sorted, now.add].sort((a, b) => a - b);
        } else {
          const due = sorted.filter((dueMs) => dueMs <= now.takeAt).slice(0, now.limit);
          expect(queue.take(now.takeAt, now.limit)).toEqual(due);
          sorted = sorted.slice(due.length);
        }
        expect(queue.nextMs()).toBe(sorted[0]);
      }
    }),
    fuzz(100),
  );
});
