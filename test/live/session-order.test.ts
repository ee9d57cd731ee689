import { DiscardPolicy, JetStreamApiError } from "@nats-io/jetstream";
import { pino } from "pino";
import { afterEach, describe, expect, test, vi } from "vitest";
import { type Broker, connectBroker } from "../../src/broker/connect.ts";
import { declare } from "../../src/broker/declare.ts";
import { toErrorFacts } from "../../src/errors.ts";
import { epochStream, liveSpecs, sessionStream } from "../../src/live/layout.ts";
import { createOpenSession } from "../../src/live/session-order.ts";
import { createLive, type SessionSignal } from "../../src/live/signals.ts";
import { type TestBroker, useBroker } from "../helpers/broker.ts";
import { startExternalBroker } from "../helpers/external-broker.ts";

const server = useBroker();
const opened: Broker[] = [];
afterEach(async () => {
  for (const broker of opened.splice(0)) await broker.close();
});

/** What an instance has of the order, on a connection of its own. */
async function openInstance({ url, dial }: Pick<TestBroker, "url"> & Partial<Pick<TestBroker, "dial">> = server) {
  const log = pino({ level: "silent" });
  const broker = await connectBroker({ servers: [url], dial, requestTimeoutMs: 2_000, log });
  opened.push(broker);
  await declare(broker, liveSpecs, 1);
  const open = await createOpenSession(broker, { partitions: 4, replicas: 1, timeoutMs: 2_000, log });
  return { broker, open, live: createLive(broker, { partitions: 4, timeoutMs: 2_000 }) };
}

const noSignals = {
  onPush() {},
  onHint() {},
  onWake() {},
  onMember() {},
  onAck() {},
  onSettled() {},
  platforms: () => [],
};

/** Kills the broker's process, which is started again, and waits for the connection. */
async function killBroker({ broker }: { broker: Broker }): Promise<void> {
  const reconnected = new Promise<void>((resolve) => broker.onReconnect(resolve));
  process.kill(server.pid(), "SIGKILL");
  await reconnected;
}

describe("the order of sessions", () => {
  test("increases, over users, devices and instances", async () => {
    const [one, two] = [await openInstance(), await openInstance()];
    const orders: number[] = [];
    for (const userId of ["alice", "bob", "alice"]) {
      for (const { open } of [one, two]) orders.push(await open(userId, "phone"));
    }
    expect(orders).toEqual(orders.toSorted((a, b) => a - b));
    expect(new Set(orders).size).toBe(6);
  });

  test("is told to who listens for the user, by the device's token", async () => {
    const [one, two] = [await openInstance(), await openInstance()];
    const heard: [string, SessionSignal][] = [];
    const onSession = (device: string, signal: SessionSignal) => void heard.push([device, signal]);
    await two.live.subscribe("alice", { ...noSignals, onSession });
    await two.broker.nc.flush();
    await one.open("bob", "phone");
    const order = await one.open("alice", "phone");
    await vi.waitFor(() => expect(heard).toEqual([["cGhvbmU", { order, isRepeat: false }]]));
    one.live.publishSession("alice", "phone", order);
    await vi.waitFor(() => expect(heard.slice(1)).toEqual([["cGhvbmU", { order, isRepeat: true }]]));
  });

  test("goes on when the broker was killed, whose memory is gone", async () => {
    const [one, two] = [await openInstance(), await openInstance()];
    const before = [await one.open("alice", "phone"), await two.open("alice", "phone")];
    await Promise.all([killBroker(one), new Promise<void>((resolve) => two.broker.onReconnect(resolve))]);
    const after = await Promise.all([one, two, one, two].map(({ open }) => open("alice", "phone")));
    expect(Math.min(...after)).toBeGreaterThan(Math.max(...before));
    expect(new Set(after).size).toBe(4);
    // Whoever comes later, from what instance: it knows nothing of what was before.
    expect(await (await openInstance()).open("alice", "phone")).toBeGreaterThan(Math.max(...after));
  });

  test("goes on when the memory is empty, as after the restart of the one server of a cluster that had it", async () => {
    const [one, two] = [await openInstance(), await openInstance()];
    let before = await one.open("alice", "phone");
    for (let i = 0; i < 3; i++) {
      const { config } = await one.broker.jsm.streams.info(sessionStream);
      await one.broker.jsm.streams.delete(sessionStream);
      await one.broker.jsm.streams.add(config);
      for (const { open } of [two, one]) {
        const order = await open("alice", "phone");
        expect(order).toBeGreaterThan(before);
        before = order;
      }
    }
  });

  test("goes on when the disk is full, and the epoch cannot be counted", async () => {
    const [{ broker, open }, other] = [await openInstance(), await openInstance()];
    let before = 0;
    for (let i = 0; i < 5; i++) before = await open("alice", "phone");
    // As a full disk does, it refuses the write.
    const refusing = { discard: DiscardPolicy.New, discard_new_per_subject: true };
    await broker.jsm.streams.update(epochStream, refusing);
    await broker.jsm.streams.delete(sessionStream);
    // Also where nothing is known of those before: their answers were lost, or they were given by another instance.
    const after = await other.open("alice", "phone");
    expect(after).toBeGreaterThan(before);
    expect(await open("alice", "phone")).toBeGreaterThan(after);
    await broker.jsm.streams.update(epochStream, { discard: DiscardPolicy.Old, discard_new_per_subject: false });
  });

  test("stays exact: its numbers are far from those that JavaScript would round", async () => {
    const { broker, open } = await openInstance();
    expect(await open("alice", "phone")).toBeLessThan(2 ** 52);
    expect((await broker.jsm.streams.info(epochStream)).state.messages).toBe(1);
  });

  test("costs nothing that stays", async () => {
    const { broker, open } = await openInstance();
    for (let i = 0; i < 20; i++) await open("alice", `device-${i}`);
    const { storage } = (await broker.jsm.streams.info(sessionStream)).config;
    expect(storage).toBe("memory");
    // What is left says where the epoch began.
    await vi.waitFor(async () => expect((await broker.jsm.streams.info(sessionStream)).state.messages).toBe(1), {
      interval: 200,
    });
  });

  test("is kept on disk by a broker that gives the account no memory", async () => {
    const external = await startExternalBroker({ memory: false });
    try {
      const { broker, open } = await openInstance(external);
      const first = await open("alice", "phone");
      await external.pause();
      const reconnected = new Promise<void>((resolve) => broker.onReconnect(resolve));
      await external.resume();
      await reconnected;
      expect(await open("alice", "phone")).toBeGreaterThan(first);
    } finally {
      await external.remove();
    }
  });

  test("cannot be had without the broker, which is 90004", async () => {
    const external = await startExternalBroker();
    try {
      const { broker, open } = await openInstance(external);
      const disconnected = new Promise<void>((resolve) => broker.onDisconnect(resolve));
      await external.pause();
      await disconnected;
      expect(await open("alice", "phone").catch(toErrorFacts)).toMatchObject({ errCode: 90004 });
    } finally {
      await external.remove();
    }
  });
});

test("a memory that gets no leader is given up, and what is recorded then is later", async () => {
  const { broker, open } = await openInstance();
  const before = await open("alice", "phone");
  const leaderless = new JetStreamApiError({ code: 503, err_code: 10008, description: "temporarily unavailable" });
  let isLeaderless = true;
  let asked = 0;
  const info: Broker["jsm"]["streams"]["info"] = async (...query) => {
    const found = await broker.jsm.streams.info(...query);
    if (query[0] !== sessionStream || !isLeaderless) return found;
    asked++;
    return { ...found, cluster: { name: "a cluster" } };
  };
  const streams: Broker["jsm"]["streams"] = Object.assign(Object.create(broker.jsm.streams), {
    info,
    getMessage: (...query: Parameters<Broker["jsm"]["streams"]["getMessage"]>) =>
      isLeaderless ? Promise.reject(leaderless) : broker.jsm.streams.getMessage(...query),
    async delete(name: string) {
      isLeaderless = false;
      return await broker.jsm.streams.delete(name);
    },
  });
  const stuck = { ...broker, jsm: Object.assign(Object.create(broker.jsm), { streams }) };
  const said: string[] = [];
  const log = pino({}, { write: (line: string) => void said.push(JSON.parse(line).msg) });
  const later = await createOpenSession(stuck, {
    ...{ partitions: 4, replicas: 1, timeoutMs: 2_000 },
    ...{ leaderlessMs: 100, log },
  });
  expect(isLeaderless).toBe(false);
  expect(said).toEqual([
    "waiting for the order of sessions: nobody can open one here",
    "the order of sessions has no leader for too long: it begins anew",
  ]);
  expect(asked).toBeGreaterThan(1);
  expect(await later("alice", "phone")).toBeGreaterThan(before);
  // Who had an epoch finds the next one.
  expect(await open("alice", "phone")).toBeGreaterThan(before);
});
