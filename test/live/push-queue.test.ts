import { create, toBinary } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import { NotificationSchema } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { createPushMemory, type PushQueue, toPush } from "../../src/live/push-queue.ts";
import { dataIn } from "../helpers/frames.ts";

const mib = 1_048_576;
const push = (data: string) => toPush(toBinary(NotificationSchema, create(NotificationSchema, { data })));
/** A push of this many bytes, which begins with its name. */
const pushOf = (bytes: number, name: string) => {
  const padded = push(name.padEnd(bytes - push("").bytes, "."));
  // The lengths of what is in it are longer, too.
  return { ...padded, bytes };
};

/** The names of all that wait, taken. */
const drain = (queue: PushQueue): string[] => {
  const names: string[] = [];
  for (let taken = queue.take(); taken !== undefined; taken = queue.take())
    names.push(dataIn(taken).replace(/\.+$/, ""));
  return names;
};
const numbers = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => String(from + i));

describe("a push", () => {
  test("counts the bytes of its event, and about what is around it", () => {
    const { frame, bytes } = push("单".repeat(1_000));
    expect(dataIn(frame)).toBe("单".repeat(1_000));
    expect(frame.length).toBeGreaterThan(3_000);
    expect(bytes).toBe(push("").bytes - push("").frame.length + frame.length);
  });
});

describe("a queue", () => {
  test("gives what came in its order", () => {
    const queue = createPushMemory(mib).openQueue();
    expect(queue.isEmpty()).toBe(true);
    for (const name of numbers(1, 5)) queue.add(push(name));
    expect(queue.isEmpty()).toBe(false);
    expect(drain(queue)).toEqual(numbers(1, 5));
    expect(queue.isEmpty()).toBe(true);
    expect(queue.take()).toBeUndefined();
    expect(queue.dropped()).toBe(0);
  });

  test("holds 256, and drops the oldest for one more", () => {
    const memory = createPushMemory(mib);
    const [queue, other] = [memory.openQueue(), memory.openQueue()];
    for (const name of numbers(1, 300)) queue.add(push(name));
    for (const name of numbers(1, 257)) other.add(push(name));
    expect(queue.dropped()).toBe(44);
    expect(memory.dropped()).toBe(45);
    expect(drain(queue)).toEqual(numbers(45, 300));
  });

  test("holds 4 MiB, and drops the oldest for more", () => {
    const memory = createPushMemory(100 * mib);
    const queue = memory.openQueue();
    for (const name of numbers(1, 30)) queue.add(pushOf(200_000, name));
    expect(memory.bytes()).toBe(20 * 200_000);
    expect(queue.dropped()).toBe(10);
    expect(drain(queue)).toEqual(numbers(11, 30));
    expect(memory.bytes()).toBe(0);
  });

  test("keeps one push that is larger than that", () => {
    const queue = createPushMemory(100 * mib).openQueue();
    for (const name of numbers(1, 3)) queue.add(pushOf(5 * mib, name));
    expect(queue.dropped()).toBe(2);
    expect(drain(queue)).toEqual(["3"]);
  });

  test("that is closed holds nothing, and takes nothing", () => {
    const memory = createPushMemory(mib);
    const queue = memory.openQueue();
    queue.add(push("1"));
    queue.close();
    queue.add(push("2"));
    expect(drain(queue)).toEqual([]);
    expect(memory.bytes()).toBe(0);
  });
});

describe("the memory of an instance", () => {
  test("is not exceeded: the session that has waited longest loses its oldest", () => {
    const memory = createPushMemory(10 * 1_000_000);
    const [stalled, slow, quick] = [memory.openQueue(), memory.openQueue(), memory.openQueue()];
    for (const name of numbers(1, 4)) stalled.add(pushOf(1_000_000, `stalled ${name}`));
    for (const name of numbers(1, 4)) slow.add(pushOf(1_000_000, `slow ${name}`));
    for (const name of numbers(1, 4)) {
      quick.add(pushOf(1_000_000, `quick ${name}`));
      expect(memory.bytes()).toBeLessThanOrEqual(10 * 1_000_000);
    }
    expect([stalled.dropped(), slow.dropped(), quick.dropped()]).toEqual([2, 0, 0]);
    expect(drain(quick)).toEqual(numbers(1, 4).map((name) => `quick ${name}`));
    for (const name of numbers(5, 8)) quick.add(pushOf(1_000_000, `quick ${name}`));
    expect([stalled.dropped(), slow.dropped(), quick.dropped()]).toEqual([2, 0, 0]);
    memory.openQueue().add(pushOf(3_000_000, "another's"));
    expect([stalled.dropped(), slow.dropped()]).toEqual([4, 1]);
    expect(drain(slow)).toEqual(["slow 2", "slow 3", "slow 4"]);
  });

  test("counts a push once, however many sessions wait for it, until the last has it", () => {
    const memory = createPushMemory(10 * mib);
    const queues = Array.from({ length: 1_000 }, () => memory.openQueue());
    const shared = pushOf(200_000, "shared");
    for (const queue of queues) queue.add(shared);
    expect(memory.bytes()).toBe(200_000);
    expect(queues.map((queue) => queue.dropped())).toEqual(Array(1_000).fill(0));
    for (const queue of queues.slice(1)) expect(drain(queue)).toEqual(["shared"]);
    expect(memory.bytes()).toBe(200_000);
    queues[0]?.close();
    expect(memory.bytes()).toBe(0);
  });
});
