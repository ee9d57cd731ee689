import { expect, test } from "vitest";
import { createLane } from "../../src/client/lane.ts";

test("items run one at a time in order", async () => {
  const log: string[] = [];
  const lane = createLane<{ n: number }>(async ({ n }) => {
    log.push(`begin ${n}`);
    await new Promise(setImmediate);
    log.push(`end ${n}`);
  });
  lane.push({ n: 1 });
  lane.push({ n: 2 });
  await lane.idle();
  lane.push({ n: 3 });
  await lane.idle();
  expect(log).toEqual(["begin 1", "end 1", "begin 2", "end 2", "begin 3", "end 3"]);
});

test("over the limit the oldest waiting item is dropped and counted", async () => {
  const ran: number[] = [];
  const lane = createLane<{ n: number }>(async ({ n }) => void ran.push(n), 2);
  for (const n of [1, 2, 3, 4, 5]) lane.push({ n });
  await lane.idle();
  expect({ ran, dropped: lane.dropped() }).toEqual({ ran: [1, 4, 5], dropped: 2 });
});

test("clear forgets what waits and lets what runs go on", async () => {
  const ended: number[] = [];
  const lane = createLane<{ n: number }>(async ({ n }) => {
    await new Promise(setImmediate);
    ended.push(n);
  });
  lane.push({ n: 1 });
  lane.push({ n: 2 });
  lane.clear();
  await lane.idle();
  expect(ended).toEqual([1]);
});
