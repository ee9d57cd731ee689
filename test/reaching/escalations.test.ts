import { pino } from "pino";
import { describe, expect, test, vi } from "vitest";
import { declare } from "../../src/broker/declare.ts";
import { createDirectGet } from "../../src/broker/reads/create-direct-get.ts";
import { toPartition, toToken } from "../../src/broker/subjects.ts";
import { toErrorFacts } from "../../src/errors.ts";
import { createPublisher } from "../../src/publishing/publish.ts";
import type { EscalationAttempt } from "../../src/reaching/escalations.ts";
import { createEscalations } from "../../src/reaching/escalations.ts";
import { reachingSpecs } from "../../src/reaching/layout.ts";
import { useBroker } from "../helpers/broker.ts";
import { type TestInstance, useInstances } from "../helpers/escalation.ts";

const openInstance = useInstances(useBroker());
const waitFor = <T>(check: () => T | Promise<T>) => vi.waitFor(check, { interval: 10 });

async function sendUnreached(instance: TestInstance, userId: string, data = "hello", expiresAtMs?: number) {
  const sequence = await instance.send(userId, data, expiresAtMs === undefined ? {} : { expiresAtMs });
  return { userId, sequence, partition: toPartition(toToken(userId), 2), storedAtMs: Date.now(), expiresAtMs };
}

const queued = async ({ broker }: TestInstance) => (await broker.jsm.streams.info("ESCALATIONS")).state.messages;

async function collect({ escalations }: TestInstance) {
  const attempts: EscalationAttempt[] = [];
  const pull = await escalations.consume(10, (attempt) => void attempts.push(attempt));
  return { attempts, pull };
}

describe("an escalation", () => {
  test("carries the notification, its place and its recipient", async () => {
    const instance = await openInstance();
    const userId = `日本 ${"x".repeat(100)}`;
    const unreached = await sendUnreached(instance, userId, "hello", 5_000_000_000_000);
    expect(await instance.escalations.escalate(unreached)).toBe("queued");
    const { attempts, pull } = await collect(instance);
    await waitFor(() => expect(attempts).toHaveLength(1));
    expect(attempts[0]).toMatchObject({
      ...unreached,
      attempt: 1,
      notification: { data: "hello", sequence: BigInt(unreached.sequence) },
    });
    attempts[0]?.ack();
    await waitFor(async () => expect(await queued(instance)).toBe(0));
    await pull.stop();
  });

  test("is queued once, while it waits and after it is done", async () => {
    const [one, other] = [await openInstance(), await openInstance()];
    const unreached = await sendUnreached(one, "ann");
    const results = await Promise.all([one, other, one, other].map((i) => i.escalations.escalate(unreached)));
    expect(new Set(results)).toEqual(new Set(["queued"]));
    expect(await queued(one)).toBe(1);
    const { attempts, pull } = await collect(one);
    await waitFor(() => expect(attempts).toHaveLength(1));
    attempts[0]?.ack();
    await waitFor(async () => expect(await queued(one)).toBe(0));
    // As when the ack in `reach` was lost.
    expect(await other.escalations.escalate(unreached)).toBe("queued");
    expect(await queued(one)).toBe(0);
    await pull.stop();
  });

  test("has an id of its own for each recipient of one notification", async () => {
    const instance = await openInstance();
    // Of different partitions, so that both have the same sequence.
    const users = ["ann", "bob", "cat", "dan", "eve", "fay"];
    const ofPartition = (p: number) => users.find((user) => toPartition(toToken(user), 2) === p) ?? "";
    for (const user of [ofPartition(0), ofPartition(1)]) {
      const unreached = await sendUnreached(instance, user, "to a group");
      expect(unreached.sequence).toBe(1);
      await instance.escalations.escalate(unreached);
    }
    const { attempts, pull } = await collect(instance);
    await waitFor(() => expect(attempts).toHaveLength(2));
    expect(new Set(attempts.map(({ id }) => id)).size).toBe(2);
    await pull.stop();
  });

  test("of a notification that is gone is none", async () => {
    const instance = await openInstance();
    const unreached = await sendUnreached(instance, "ann");
    await instance.inbox.remove(new Map([["ann", unreached.sequence]]));
    expect(await instance.escalations.escalate(unreached)).toBe("gone");
    expect(await queued(instance)).toBe(0);
  });

  test("of a place that is another's by now, in a store that was replaced, is none", async () => {
    const instance = await openInstance();
    const unreached = await sendUnreached(instance, "ann");
    const ofAnother = { ...unreached, userId: "bob" };
    expect(await instance.escalations.escalate(ofAnother)).toBe("gone");
    expect(await queued(instance)).toBe(0);
    await instance.tombstones.place(["ann"], { serverMsgId: "another", sendTimeMs: Date.now() }, "test");
    const sequence = await instance.inbox.newestSequence("ann");
    expect(await instance.escalations.escalate({ ...unreached, sequence })).toBe("gone");
    expect(await queued(instance)).toBe(0);
  });

  test("knows when it was withdrawn, which being older than the retention is not", async () => {
    const instance = await openInstance();
    const unreached = await sendUnreached(instance, "ann");
    await instance.escalations.escalate(unreached);
    const { attempts, pull } = await collect(instance);
    await waitFor(() => expect(attempts).toHaveLength(1));
    const [attempt] = attempts;
    if (attempt === undefined) throw new Error("no attempt");
    expect(await instance.escalations.isWithdrawn(attempt)).toBe(false);
    await instance.inbox.remove(new Map([["ann", unreached.sequence]]));
    expect(await instance.escalations.isWithdrawn(attempt)).toBe(true);
    expect(await instance.escalations.isWithdrawn({ ...attempt, storedAtMs: Date.now() - 3_600_000 })).toBe(false);
    await pull.stop();
  });

  test("can be queued again when it was done", async () => {
    const instance = await openInstance();
    await instance.escalations.escalate(await sendUnreached(instance, "ann"));
    const { attempts, pull } = await collect(instance);
    await waitFor(() => expect(attempts).toHaveLength(1));
    const [attempt] = attempts;
    if (attempt === undefined) throw new Error("no attempt");
    attempt.ack();
    await waitFor(async () => expect(await queued(instance)).toBe(0));
    await instance.escalations.requeue(attempt);
    await instance.escalations.requeue(attempt);
    await waitFor(() => expect(attempts).toHaveLength(2));
    expect(attempts[1]).toMatchObject({ id: attempt.id, attempt: 1, userId: "ann" });
    await pull.stop();
  });
});

test("a full queue refuses with 90101 what does not wait there already", async () => {
  const instance = await openInstance();
  const log = pino({ level: "silent" });
  const get = createDirectGet(instance.broker, { timeoutMs: 2_000 });
  const publisher = createPublisher(instance.broker, { sendTimeoutMs: 2_000, isFsynced: () => true });
  const retentionMs = 3_600_000;
  await declare(instance.broker, reachingSpecs({ retentionMs, maxStoreBytes: 5_000 }), 1);
  const escalations = createEscalations(instance.broker, publisher, get, { retentionMs, log });
  const first = await sendUnreached(instance, "ann", "a".repeat(1_000));
  expect(await escalations.escalate(first)).toBe("queued");
  const second = await sendUnreached(instance, "bob", "b".repeat(1_000));
  const thrown = await escalations.escalate(second).catch((error: unknown) => error);
  expect(toErrorFacts(thrown)).toMatchObject({ errCode: 90_101 });
  expect(await escalations.escalate(first)).toBe("queued");
  get.close();
});
