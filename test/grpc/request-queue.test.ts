import { expect, test } from "vitest";
import { RequestQueue } from "../../src/grpc/request-queue.ts";

const open = () => {
  const left: number[] = [];
  return { queue: new RequestQueue<number>((count) => left.push(count)), left };
};

test("gives what was put in, in order, and then the end", async () => {
  const { queue, left } = open();
  queue.push(1);
  const taken: number[] = [];
  const taking = (async () => {
    for await (const message of queue) taken.push(message);
  })();
  queue.push(2);
  await Promise.resolve();
  queue.push(3);
  queue.finish();
  queue.push(4);
  await taking;
  expect(taken).toEqual([1, 2, 3]);
  expect(left.at(-1)).toBe(0);
});

test("an error comes at once, before what waits", async () => {
  const { queue } = open();
  queue.push(1);
  queue.finish(new Error("gone"));
  await expect(queue.next()).rejects.toThrow("gone");
});

test("an error wakes who waits", async () => {
  const { queue } = open();
  const next = queue.next();
  queue.finish(new Error("gone"));
  await expect(next).rejects.toThrow("gone");
});

test("who stops taking takes no more, and nothing waits for him", async () => {
  const { queue, left } = open();
  for (const message of [1, 2, 3]) queue.push(message);
  for await (const message of queue) if (message === 1) break;
  expect(queue.size).toBe(0);
  queue.push(4);
  expect(queue.size).toBe(0);
  expect(left.at(-1)).toBe(0);
  expect(await queue.next()).toEqual({ done: true, value: undefined });
});
