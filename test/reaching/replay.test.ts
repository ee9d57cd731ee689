import { create } from "@bufbuild/protobuf";
import { describe, expect, test, vi } from "vitest";
import { toErrorFacts } from "../../src/errors.ts";
import { NotificationSchema } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { replay } from "../../src/reaching/replay.ts";
import { useBroker } from "../helpers/broker.ts";
import { type TestInstance, useInstances } from "../helpers/escalation.ts";

const openInstance = useInstances(useBroker());

/** Buries escalations with these sequences, and returns their ids. */
async function bury({ deadLetters }: Pick<TestInstance, "deadLetters">, ...sequences: number[]): Promise<string[]> {
  const ids: string[] = [];
  for (const sequence of sequences) {
    const id = `m${sequence}-0-${sequence}`;
    const notification = create(NotificationSchema, { serverMsgId: `m${sequence}`, sequence: BigInt(sequence) });
    const place = { partition: 0, sequence, storedAtMs: 1, userId: "ann", expiresAtMs: undefined, isReported: false };
    await deadLetters.add({ id, notification, ...place }, 10, "e");
    ids.push(id);
  }
  return ids;
}

const idsOf = async ({ desk }: Pick<TestInstance, "desk">) => (await desk.list(0, 1_000)).letters.map(({ id }) => id);

const queued = async ({ broker }: TestInstance) => (await broker.jsm.streams.info("ESCALATIONS")).state.messages;

const codeOf = (call: Promise<unknown>) =>
  call.then(
    () => 0,
    (error: unknown) => toErrorFacts(error).errCode,
  );

describe("a replay", () => {
  test("of some queues them again and takes them off the list; a repeated id counts once", async () => {
    const instance = await openInstance();
    const [one, two, three] = await bury(instance, 1, 2, 3);
    expect(await instance.desk.replay({ escalationIds: [one, three, one].map(String) })).toBe(2);
    expect(await idsOf(instance)).toEqual([two]);
    expect(await queued(instance)).toBe(2);
  });

  test("with an id that is no dead letter is refused with 1004, and replays none", async () => {
    const instance = await openInstance();
    const [one] = await bury(instance, 1);
    expect(await codeOf(instance.desk.replay({ escalationIds: [String(one), "m9-0-9"] }))).toBe(1004);
    expect(await idsOf(instance)).toEqual([one]);
    expect(await queued(instance)).toBe(0);
  });

  test("of all takes every one, over pages", async () => {
    const instance = await openInstance();
    await bury(instance, ...Array.from({ length: 230 }, (_, i) => i + 1));
    expect(await instance.desk.replay("all")).toBe(230);
    expect(await idsOf(instance)).toEqual([]);
    expect(await queued(instance)).toBe(230);
    expect(await instance.desk.replay("all")).toBe(0);
  });

  test("of all does not chase those that die again meanwhile", async () => {
    const instance = await openInstance();
    const { deadLetters, escalations } = instance;
    await bury(instance, 1, 2, 3);
    const requeue = vi.fn(async (escalation: { sequence: number }) => {
      await bury(instance, escalation.sequence);
    });
    const deps = { deadLetters, escalations: { ...escalations, requeue } };
    expect(await replay(deps, "all")).toBe(3);
    expect(requeue).toHaveBeenCalledTimes(3);
    expect((await idsOf(instance)).length).toBe(3);
  });

  test("that the queue refuses leaves the letter on the list", async () => {
    const instance = await openInstance();
    const [one] = await bury(instance, 1);
    const { deadLetters, escalations } = instance;
    const requeue = () => Promise.reject(new Error("full"));
    const deps = { deadLetters, escalations: { ...escalations, requeue } };
    await expect(replay(deps, "all")).rejects.toThrow("full");
    expect(await idsOf(instance)).toEqual([one]);
  });

  test("without a webhook is refused with 1001", async () => {
    const instance = await openInstance();
    const [one] = await bury(instance, 1);
    const deps = { deadLetters: instance.deadLetters, escalations: undefined };
    expect(await codeOf(replay(deps, "all"))).toBe(1001);
    expect((await instance.desk.list(0, 10)).letters.map(({ id }) => id)).toEqual([one]);
  });
});
