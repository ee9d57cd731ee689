import { create } from "@bufbuild/protobuf";
import { pino } from "pino";
import { afterEach, describe, expect, test, vi } from "vitest";
import { type Broker, connectBroker } from "../../src/broker/connect.ts";
import { declare } from "../../src/broker/declare.ts";
import { createDirectGet } from "../../src/broker/reads/create-direct-get.ts";
import { toErrorFacts } from "../../src/errors.ts";
import { NotificationSchema } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { createEpochs, type Epochs } from "../../src/inbox/epochs.ts";
import { createInbox } from "../../src/inbox/inbox.ts";
import { inboxSpecs } from "../../src/inbox/layout.ts";
import type { ReadWay } from "../../src/inbox/read-page.ts";
import { createPublisher } from "../../src/publishing/publish.ts";
import { type ExternalBroker, startExternalBroker } from "../helpers/external-broker.ts";
import { readEntry } from "../helpers/frames.ts";

const log = pino({ level: "silent" });
const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

const toItem = (data: string) => {
  const serverMsgId = `id of ${data.slice(0, 100)}`;
  const sent = { data, serverMsgId, sendTime: BigInt(Date.now()), reliabilityLevel: 2 };
  return { kind: "notification", notification: create(NotificationSchema, sent) } as const;
};

interface Instance {
  readonly broker: Broker;
  readonly epochs: Epochs;
  write(data: string): Promise<void>;
  /** The epochs and data of what is in alice's inbox. */
  read(after?: number, epoch?: string, way?: ReadWay): Promise<readonly (readonly [epoch: string, data: string])[]>;
}

async function startBroker(): Promise<ExternalBroker> {
  const server = await startExternalBroker();
  closing.push(() => server.remove());
  return server;
}

async function openInstance(
  server: ExternalBroker,
  { retentionMs = 86_400_000, maxStoreBytes = 100_000_000 } = {},
): Promise<Instance> {
  const broker = await connectBroker({ servers: [server.url], requestTimeoutMs: 5_000, log });
  closing.push(() => broker.close());
  await declare(broker, inboxSpecs({ partitions: 1, retentionMs, maxStoreBytes }), 1);
  const epochs = createEpochs({ reads: broker, writes: broker, partitions: 1, retentionMs, log });
  closing.push(epochs.close);
  const publisher = createPublisher(broker, { sendTimeoutMs: 5_000, isFsynced: () => true, gate: epochs });
  const inbox = createInbox(broker, publisher, createDirectGet(broker, { timeoutMs: 5_000 }), 1, epochs);
  return {
    broker,
    epochs,
    write: async (data) => void (await inbox.write("alice", toItem(data), { operationId: "test" })),
    async read(after = 0, epoch = "", way = "index") {
      const { entries } = await inbox.read("alice", { after, epoch, limit: 1_000, way });
      return entries
        .map(readEntry)
        .map((entry) => [entry.epoch, entry.kind === "notification" ? entry.notification.data : ""]);
    },
  };
}

/** One has looked, and then another has begun an epoch. */
async function openTwo() {
  const server = await startBroker();
  const one = await openInstance(server);
  await one.write("1");
  await one.read();
  const two = await openInstance(server);
  await two.write("2");
  return { one, two };
}

async function countMarkers({ broker }: Instance): Promise<number> {
  const { state } = await broker.jsm.streams.info("INBOX_0", { subjects_filter: "marker.0.*" });
  return Object.keys(state.subjects ?? {}).length;
}

describe("an epoch begins", () => {
  test("with the first write of an instance, and not with its start", async () => {
    const server = await startBroker();
    const one = await openInstance(server);
    expect(await one.read()).toEqual([]);
    expect(await countMarkers(one)).toBe(0);
    await one.write("1");
    await one.write("2");
    const two = await openInstance(server);
    await two.write("3");
    await one.write("4");
    const [first, second] = two.epochs.lineage(0);
    expect(two.epochs.lineage(0)).toHaveLength(2);
    expect(await two.read()).toEqual([
      [first?.id, "1"],
      [first?.id, "2"],
      [second?.id, "3"],
      [second?.id, "4"],
    ]);
    // The other one has seen it in the page.
    expect(await one.read()).toEqual(await two.read());
  });

  test.each(["along", "next"] as const)(
    "and another instance that has just looked sees it in what it reads %s",
    async (way) => {
      const { one, two } = await openTwo();
      const [first, second] = two.epochs.lineage(0);
      expect(await one.read(0, "", way)).toEqual([
        [first?.id, "1"],
        [second?.id, "2"],
      ]);
    },
  );

  test("and another instance that has just looked labels with it what a device reads that is further", async () => {
    const { one, two } = await openTwo();
    const { last_seq: further } = (await two.broker.jsm.streams.info("INBOX_0")).state;
    await two.write("3");
    const [, second] = two.epochs.lineage(0);
    // The marker is before what it asks for.
    expect(await one.read(further, second?.id)).toEqual([[second?.id, "3"]]);
    for (const way of ["along", "next"] as const) {
      expect(await one.read(further, second?.id, way)).toEqual([[second?.id, "3"]]);
    }
  });

  test("and another instance that has just looked knows of it when it meets a position there, and how far it goes", async () => {
    const { one, two } = await openTwo();
    const epoch = two.epochs.lineage(0).at(-1)?.id ?? "";
    const met = { epoch, sequence: two.epochs.newest(0) };
    expect(one.epochs.placeOf(0, met)).toBe(0);
    await one.epochs.meet(0, [met]);
    expect(one.epochs.placeOf(0, met)).toBe(met.sequence);
    await two.write("3");
    const next = { epoch, sequence: two.epochs.newest(0) };
    await one.epochs.meet(0, [next]);
    expect(one.epochs.placeOf(0, next)).toBe(next.sequence);
    // Of one that nobody knows, nothing holds.
    const stranger = { epoch: "of another store", sequence: 1 };
    await one.epochs.meet(0, [stranger, next]);
    expect(one.epochs.placeOf(0, stranger)).toBe(0);
  });

  test("once for instances that begin to write at the same moment", async () => {
    const server = await startBroker();
    const instances = await Promise.all([1, 2, 3, 4].map(() => openInstance(server)));
    await Promise.all(instances.map((instance, i) => instance.write(String(i))));
    const labels = await Promise.all(instances.map((instance) => instance.read()));
    for (const label of labels) expect(label).toEqual(labels[0]);
    expect(new Set(labels[0]?.map(([epoch]) => epoch)).has("")).toBe(false);
  });

  test("before what is written through a broker that was started again, and what waits for it", async () => {
    const server = await startBroker();
    const one = await openInstance(server);
    await one.write("before");
    await server.pause();
    const waiting = Promise.all(["1", "2", "3"].map((data) => one.write(data)));
    await server.resume();
    await waiting;
    const [first, second, ...more] = one.epochs.lineage(0);
    expect(more).toEqual([]);
    const read = await one.read();
    expect(read[0]).toEqual([first?.id, "before"]);
    expect(read.slice(1).map(([epoch]) => epoch)).toEqual([second?.id, second?.id, second?.id]);
  });
});

test("a marker is written again before the retention removes it", async () => {
  const retentionMs = 3_000;
  const one = await openInstance(await startBroker(), { retentionMs });
  await one.write("1");
  const [epoch] = one.epochs.lineage(0);
  await new Promise((resolve) => setTimeout(resolve, 1.5 * retentionMs));
  await one.write("2");
  expect(one.epochs.lineage(0)).toEqual([epoch]);
  expect(await one.read()).toEqual([[epoch?.id, "2"]]);
  expect(await countMarkers(one)).toBeLessThanOrEqual(16);
});

test("markers are bounded, and their lineage is whole", async () => {
  const server = await startBroker();
  for (let i = 1; i <= 20; i++) await (await openInstance(server)).write(String(i));
  const last = await openInstance(server);
  const read = await last.read();
  expect(read).toHaveLength(20);
  expect(new Set(read.map(([epoch]) => epoch)).size).toBe(20);
  expect(await countMarkers(last)).toBe(16);
});

test("a full store refuses the epoch as it refuses the write, and is read", async () => {
  const server = await startBroker();
  const one = await openInstance(server, { maxStoreBytes: 20_000 });
  await one.write("1");
  const error = await (async () => {
    for (let i = 0; i < 1_000; i++) await one.write(`${i} ${"x".repeat(1_000)}`);
  })().catch(toErrorFacts);
  expect(error).toMatchObject({ errCode: 90101 });
  const two = await openInstance(server, { maxStoreBytes: 20_000 });
  const full = await two.read();
  expect(full.length).toBeGreaterThan(1);
  await vi.waitFor(async () => {
    const refused = await two.write(`y${"y".repeat(1_000)}`).catch(toErrorFacts);
    expect(refused).toMatchObject({ errCode: 90101 });
  });
  expect(await two.read()).toEqual(full);
});

describe("of a stream with replicas", () => {
  /** A connection to a stream whose leader does not have all yet, for so many questions. */
  function behind(broker: Broker, times: number): Broker {
    let left = times;
    const info: Broker["jsm"]["streams"]["info"] = async (...asked) => {
      const found = await broker.jsm.streams.info(...asked);
      return left-- > 0 ? { ...found, state: { ...found.state, last_seq: 1 } } : found;
    };
    const streams = Object.assign(Object.create(broker.jsm.streams), { info });
    return { ...broker, jsm: Object.assign(Object.create(broker.jsm), { streams }) };
  }

  async function lookAt(times: number, isReplicated: boolean) {
    const server = await startBroker();
    const { broker, write } = await openInstance(server);
    for (const data of ["1", "2", "3"]) await write(data);
    const reads = behind(broker, times);
    const epochs = createEpochs({ reads, writes: broker, partitions: 1, retentionMs: 86_400_000, isReplicated, log });
    closing.push(epochs.close);
    epochs.saw(0, 3);
    await epochs.look(0);
    return epochs;
  }

  test("a leader that is behind for a moment is asked again", async () => {
    const epochs = await lookAt(2, true);
    expect([epochs.replacements(), epochs.newest(0)]).toEqual([0, 4]);
  });

  test("one that is behind what another instance has read is asked again", async () => {
    const server = await startBroker();
    const { broker, write } = await openInstance(server);
    for (const data of ["1", "2", "3"]) await write(data);
    const open = (times: number) => {
      const reads = behind(broker, times);
      const options = { writes: broker, partitions: 1, retentionMs: 86_400_000, isReplicated: true, log };
      const epochs = createEpochs({ reads, ...options });
      closing.push(epochs.close);
      return epochs;
    };
    const acknowledging = open(2);
    await acknowledging.know(0, 4);
    expect(acknowledging.newest(0)).toBe(4);
    const reading = open(2);
    await reading.meet(0, [{ epoch: acknowledging.lineage(0).at(-1)?.id ?? "", sequence: 4 }]);
    expect(reading.newest(0)).toBe(4);
  });

  test("one that stays behind leads another stream", async () => {
    expect((await lookAt(100, true)).replacements()).toBe(1);
  });

  test("and a single one is believed at once", async () => {
    expect((await lookAt(1, false)).replacements()).toBe(1);
  });
});
