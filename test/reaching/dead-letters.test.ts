import { create } from "@bufbuild/protobuf";
import { nanos } from "@nats-io/transport-node";
import { describe, expect, test } from "vitest";
import { NotificationSchema } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import type { Escalation } from "../../src/reaching/escalations.ts";
import { useBroker } from "../helpers/broker.ts";
import { useInstances } from "../helpers/escalation.ts";

const openInstance = useInstances(useBroker());

function escalation(sequence: number, { partition = 0, data = `data ${sequence}` } = {}): Escalation {
  const serverMsgId = `server id ${sequence}`;
  return {
    id: `${serverMsgId}-${partition}-${sequence}`,
    partition,
    sequence,
    storedAtMs: 1_700_000_000_000,
    userId: "日本 é",
    notification: create(NotificationSchema, { serverMsgId, data, sequence: BigInt(sequence) }),
    expiresAtMs: sequence % 2 === 0 ? 5_000_000_000_000 : undefined,
    isReported: sequence % 2 === 1,
  };
}

describe("the dead letters", () => {
  test("keep everything of an escalation, with its attempts and its error", async () => {
    const { deadLetters } = await openInstance();
    const beganMs = Date.now();
    for (const sequence of [1, 2]) await deadLetters.add(escalation(sequence), 10, "HTTP 500 é 😀 \ud83d");
    const { letters, remaining } = await deadLetters.list(0, 10);
    expect(remaining).toBe(0);
    expect(letters).toEqual([1, 2].map((sequence) => expect.objectContaining(escalation(sequence))));
    for (const letter of letters) {
      expect(letter).toMatchObject({ attempts: 10, error: "HTTP 500 é 😀 \ufffd" });
      expect(letter.deadAtMs).toBeGreaterThanOrEqual(beganMs);
      expect(letter.deadAtMs).toBeLessThanOrEqual(Date.now());
    }
  });

  test("are kept for 30 days", async () => {
    const { broker } = await openInstance();
    const { config } = await broker.jsm.streams.info("DEAD_LETTERS");
    expect(config).toMatchObject({ max_age: nanos(30 * 86_400_000), storage: "file", retention: "limits" });
  });

  test("are listed in pages, the oldest first, which end at a size as well", async () => {
    const { deadLetters } = await openInstance();
    expect(await deadLetters.list(0, 10)).toEqual({ letters: [], remaining: 0 });
    const data = "x".repeat(600_000);
    for (let sequence = 1; sequence <= 5; sequence++) {
      await deadLetters.add(escalation(sequence, sequence > 3 ? { data } : {}), 1, "e");
    }
    const first = await deadLetters.list(0, 2);
    expect(first.letters.map(({ sequence }) => sequence)).toEqual([1, 2]);
    expect(first.remaining).toBe(3);
    const second = await deadLetters.list(first.letters.at(-1)?.place ?? 0, 1_000);
    expect(second.letters.length + second.remaining).toBe(3);
    expect(second.remaining).toBeGreaterThanOrEqual(0);
    const all = [...first.letters, ...second.letters];
    for (let page = second; page.remaining > 0; ) {
      page = await deadLetters.list(page.letters.at(-1)?.place ?? 0, 1_000);
      all.push(...page.letters);
    }
    expect(all.map(({ sequence }) => sequence)).toEqual([1, 2, 3, 4, 5]);
  });

  test("hold one of each escalation: the last", async () => {
    const { deadLetters } = await openInstance();
    await deadLetters.add(escalation(1), 10, "first");
    await deadLetters.add(escalation(1, { partition: 1 }), 10, "another");
    await deadLetters.add(escalation(1), 3, "second");
    const { letters } = await deadLetters.list(0, 10);
    expect(letters.map(({ error }) => error)).toEqual(["another", "second"]);
  });

  test("are found by the escalation's id, and by no other", async () => {
    const { deadLetters } = await openInstance();
    await deadLetters.add(escalation(7), 10, "e");
    expect(await deadLetters.find("server id 7-0-7")).toMatchObject({ sequence: 7, error: "e" });
    for (const id of [
      "",
      "7",
      "another-0-7",
      "server id 7-0-8",
      "server id 7-1-7",
      "server id 7-0-07",
      "-0-7",
      "a-*->",
    ]) {
      expect(await deadLetters.find(id)).toBeUndefined();
    }
  });

  test("can be removed, also twice, without the one that took the place", async () => {
    const { deadLetters } = await openInstance();
    await deadLetters.add(escalation(1), 10, "first");
    const first = await deadLetters.find(escalation(1).id);
    if (first === undefined) throw new Error("not found");
    await deadLetters.add(escalation(1), 10, "second");
    await deadLetters.remove(first);
    const second = await deadLetters.find(escalation(1).id);
    expect(second).toMatchObject({ error: "second" });
    if (second === undefined) throw new Error("not found");
    await deadLetters.remove(second);
    await deadLetters.remove(second);
    expect(await deadLetters.list(0, 10)).toEqual({ letters: [], remaining: 0 });
  });
});
