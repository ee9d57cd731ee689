import { create } from "@bufbuild/protobuf";
import { AckPolicy } from "@nats-io/jetstream";
import { nanos } from "@nats-io/transport-node";
import { pino } from "pino";
import { describe, expect, test, vi } from "vitest";
import { toPartition, toToken } from "../../src/broker/subjects.ts";
import { RecallSchema } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { inboxSubject, toDay } from "../../src/inbox/layout.ts";
import type { ReachEntry } from "../../src/reaching/entry.ts";
import { consumeReach } from "../../src/reaching/watched.ts";
import { useBroker } from "../helpers/broker.ts";
import { type TestInstance, useInstances } from "../helpers/escalation.ts";

const openInstance = useInstances(useBroker());
const waitFor = <T>(check: () => T | Promise<T>) => vi.waitFor(check, { interval: 10 });

async function collect({ broker, laterLooks }: TestInstance) {
  const entries: ReachEntry[] = [];
  const log = pino({ level: "silent" });
  const consumers = await consumeReach(broker, {
    partitions: 2,
    laterLooks,
    log,
    onEntry: (entry) => void entries.push(entry),
  });
  return { entries, consumers };
}

describe("the consumers", () => {
  test("are durable, of headers only, and ask for an explicit ack of each notification of all inboxes", async () => {
    const instance = await openInstance();
    const { consumers } = await collect(instance);
    for (const partition of [0, 1]) {
      const { config } = await instance.broker.jsm.consumers.info(`INBOX_${partition}`, "reach");
      expect(config).toMatchObject({
        durable_name: "reach",
        ack_policy: AckPolicy.Explicit,
        headers_only: true,
        deliver_policy: "all",
        filter_subject: `inbox.${partition}.*.*.*`,
        ack_wait: nanos(60_000),
        max_ack_pending: 50_000,
      });
      // Not forgotten, however long nobody asks.
      expect(config.inactive_threshold).toBeUndefined();
    }
    await consumers.stop();
  });

  test("tell of each entry whose it is, whatever the user's id", async () => {
    const instance = await openInstance();
    const users = ["ann", "*", "a.b", "日本 😀", "x".repeat(300), "%41"];
    const sequences = new Map<string, number>();
    for (const user of users) sequences.set(user, await instance.send(user, "hello"));
    const { entries, consumers } = await collect(instance);
    await waitFor(() => expect(entries).toHaveLength(users.length));
    for (const user of users) {
      expect(entries.find(({ userId }) => userId === user)).toMatchObject({
        userToken: toToken(user),
        partition: toPartition(toToken(user), 2),
        sequence: sequences.get(user),
        kind: "notification",
        expiresAtMs: undefined,
        escalateAfterMs: undefined,
      });
    }
    await consumers.stop();
  });

  test("tell of expiry, an escalation delay and the kind", async () => {
    const instance = await openInstance();
    await instance.send("ann", "1", { expiresAtMs: 5_000_000_000_000, escalateAfterMs: 7_000 });
    const recall = { kind: "recall", recall: create(RecallSchema, { serverMsgId: "1" }), timeMs: Date.now() } as const;
    await instance.inbox.write("ann", recall, { operationId: "test" });
    const { entries, consumers } = await collect(instance);
    await waitFor(() => expect(entries).toHaveLength(2));
    expect(entries[0]).toMatchObject({ expiresAtMs: 5_000_000_000_000, escalateAfterMs: 7_000, kind: "notification" });
    expect(entries[1]).toMatchObject({ kind: "recall" });
    await consumers.stop();
  });

  test("give up an entry that has no owner, and go on", async () => {
    const instance = await openInstance();
    const user = toToken("ann");
    await instance.broker.js.publish(inboxSubject(toPartition(user, 2), user, toDay(Date.now()), "id"), "?");
    await instance.send("ann", "1");
    const { entries, consumers } = await collect(instance);
    await waitFor(() => expect(entries).toHaveLength(1));
    entries[0]?.ack();
    await waitFor(async () => expect((await instance.consumed("reach")).pending).toBe(0));
    await consumers.stop();
  });

  test("tell nothing of the records of sends in the same streams", async () => {
    const instance = await openInstance();
    await instance.broker.js.publish("sent.0.key", "a record");
    await instance.broker.js.publish("sent.1.key", "a record");
    const { entries, consumers } = await collect(instance);
    await instance.send("ann", "1");
    await waitFor(() => expect(entries).toHaveLength(1));
    await consumers.stop();
  });
});
