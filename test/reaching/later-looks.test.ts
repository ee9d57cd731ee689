import { AckPolicy } from "@nats-io/jetstream";
import { describe, expect, test, vi } from "vitest";
import { toToken } from "../../src/broker/subjects.ts";
import type { ReachEntry } from "../../src/reaching/entry.ts";
import { useBroker } from "../helpers/broker.ts";
import { type TestInstance, useInstances } from "../helpers/escalation.ts";

const openInstance = useInstances(useBroker());
const waitFor = <T>(check: () => T | Promise<T>) => vi.waitFor(check, { interval: 10 });

const facts = { partition: 1, sequence: 7, userId: "日本 😀", storedAtMs: 1_700_000_000_000 };
const toEntry = (change: Partial<ReachEntry> = {}): ReachEntry => {
  const { userId, ...more } = { ...facts, ...change };
  return {
    ...more,
    userId,
    userToken: toToken(userId),
    kind: "notification",
    expiresAtMs: change.expiresAtMs,
    escalateAfterMs: change.escalateAfterMs,
    devices: change.devices,
    notifications: 1,
    ack: () => {},
    nak: () => {},
  };
};

async function collect({ laterLooks }: TestInstance) {
  const entries: ReachEntry[] = [];
  const pull = await laterLooks.consume((entry) => void entries.push(entry));
  return { entries, pull };
}

const kept = async ({ broker }: TestInstance) => (await broker.jsm.streams.info("LATER_LOOKS")).state.messages;

describe("entries that are kept for later", () => {
  test("come back in their time and not before, as they were", async () => {
    const instance = await openInstance();
    const { entries, pull } = await collect(instance);
    const atMs = Date.now() + 1_500;
    const given = [
      toEntry({ expiresAtMs: 5_000_000_000_000 }),
      toEntry({ sequence: 8, escalateAfterMs: 7_000, devices: { recvDeviceId: "日本", exceptDeviceId: "" } }),
    ];
    await instance.laterLooks.add(given, atMs);
    await waitFor(() => expect(entries).toHaveLength(2));
    expect(Date.now()).toBeGreaterThanOrEqual(atMs - 20);
    const any = { ack: expect.any(Function), nak: expect.any(Function) };
    expect(entries).toEqual(given.map((entry) => ({ ...entry, ...any })));
    for (const entry of entries) entry.ack();
    await waitFor(async () => expect(await kept(instance)).toBe(0));
    await pull.stop();
  });

  test("are held by the broker until all of them are done", async () => {
    const instance = await openInstance();
    const { entries, pull } = await collect(instance);
    await instance.laterLooks.add([toEntry(), toEntry({ sequence: 8 })], Date.now());
    await waitFor(() => expect(entries).toHaveLength(2));
    entries[0]?.ack();
    entries[0]?.ack();
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(await instance.consumed("look")).toMatchObject({ pending: 1 });
    await pull.stop();
    // Given back: another gets both.
    const other = await collect(await openInstance());
    await waitFor(() => expect(other.entries.map(({ sequence }) => sequence)).toEqual([7, 8]));
    for (const entry of other.entries) entry.ack();
    await waitFor(async () => expect(await kept(instance)).toBe(0));
    await other.pull.stop();
  });

  test("come back again when they are nak'ed, without those that are done", async () => {
    const instance = await openInstance();
    const { entries, pull } = await collect(instance);
    await instance.laterLooks.add([toEntry(), toEntry({ sequence: 8 }), toEntry({ sequence: 9 })], Date.now());
    await waitFor(() => expect(entries).toHaveLength(3));
    entries[0]?.nak(1_000);
    entries[1]?.ack();
    entries[2]?.nak(300);
    await waitFor(() => expect(entries.map(({ sequence }) => sequence)).toEqual([7, 8, 9, 7, 9]));
    for (const entry of entries) entry.ack();
    await waitFor(async () => expect(await kept(instance)).toBe(0));
    await pull.stop();
  });

  test("wait in a stream and a durable consumer that forget nothing", async () => {
    const instance = await openInstance();
    const { pull } = await collect(instance);
    const stream = await instance.broker.jsm.streams.info("LATER_LOOKS");
    expect(stream.config).toMatchObject({ retention: "workqueue", storage: "file", max_bytes: -1, max_msgs: -1 });
    const { config } = await instance.broker.jsm.consumers.info("LATER_LOOKS", "look");
    expect(config).toMatchObject({ ack_policy: AckPolicy.Explicit, max_deliver: -1 });
    expect(config.inactive_threshold).toBeUndefined();
    await pull.stop();
  });
});
