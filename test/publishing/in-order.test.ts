import { pino } from "pino";
import { beforeEach, describe, expect, test, vi } from "vitest";
import { type Broker, connectBroker } from "../../src/broker/connect.ts";
import { declare } from "../../src/broker/declare.ts";
import { failure, toErrorFacts } from "../../src/errors.ts";
import { inboxSpecs, inboxStream, inboxSubject } from "../../src/inbox/layout.ts";
import { storeInOrder, type Unit, type UnitStored } from "../../src/publishing/in-order.ts";
import { createPublisher, type Publisher } from "../../src/publishing/publish.ts";
import { useBroker } from "../helpers/broker.ts";

const server = useBroker();
let broker: Broker;
let publisher: Publisher;
beforeEach(async () => {
  const { url, dial } = server;
  broker = await connectBroker({ servers: [url], dial, requestTimeoutMs: 5_000, log: pino({ level: "silent" }) });
  await declare(broker, inboxSpecs({ partitions: 2, retentionMs: 3_600_000, maxStoreBytes: 50_000_000 }), 1);
  publisher = createPublisher(broker, { sendTimeoutMs: 5_000, isFsynced: () => true });
  return () => broker.close();
});

let made = 0;
const newId = () => `id${++made}`;
const unit = (ids: readonly string[], partition = 0, payload = new Uint8Array(10)): Unit => ({
  stream: inboxStream(partition),
  writes: ids.map((id) => ({ subject: inboxSubject(partition, "dXNlcg", 20_000, id), payload })),
});
const units = (length: number, partition = 0) => Array.from({ length }, () => unit([newId()], partition));
const subjectAt = async (partition: number, seq: number) =>
  (await broker.jsm.streams.getMessage(inboxStream(partition), { seq }))?.subject;
const kindsOf = (outcomes: readonly UnitStored[]) => outcomes.map(({ kind }) => kind);

test("each is told where the last of its writes is, while others write into the same streams", async () => {
  const all = Array.from({ length: 600 }, (_, i) => unit(i % 3 === 0 ? [newId(), newId()] : [newId()], i % 2));
  const storeAll = vi.spyOn(publisher, "storeAll");
  const others = units(100).map(({ stream, writes: [write] }) => write && publisher.store(stream, write));
  const outcomes = await storeInOrder(publisher, all);
  await Promise.all(others);
  expect(storeAll).toHaveBeenCalledTimes(2);
  for (const [i, outcome] of outcomes.entries()) {
    if (outcome.kind !== "stored") throw new Error(`${i} is ${outcome.kind}`);
    const { writes = [] } = all[i] ?? {};
    for (const [nth, { subject }] of writes.entries()) {
      if (i % 50 < 2) expect(await subjectAt(i % 2, outcome.sequence - writes.length + 1 + nth)).toBe(subject);
    }
  }
  const sequences = outcomes.flatMap((one, i) => (i % 2 === 0 && one.kind === "stored" ? [one.sequence] : []));
  expect(sequences).toEqual(sequences.toSorted((a, b) => a - b));
});

test.each([
  ["1,000 messages", 2_000, 10, [1_000, 1_000]],
  ["4 MiB", 50, 200_000, [20, 20, 50 - 40]],
])("a batch has %s at most, and the next one waits for it", async (_, count, bytes, sizes) => {
  let underWay = 0;
  const seen: number[] = [];
  const storeAll: Publisher["storeAll"] = async ({ length }) => {
    expect(++underWay).toBe(1);
    seen.push(length);
    await new Promise(setImmediate);
    underWay--;
    return { kind: "stored", sequence: seen.reduce((sum, one) => sum + one, 0) };
  };
  const all = Array.from({ length: count }, () => unit([newId()], 0, new Uint8Array(bytes)));
  const outcomes = await storeInOrder({ storeAll }, all);
  const large = sizes.filter((size) => size >= 16);
  expect(seen).toEqual(large);
  const stored = large.reduce((sum, one) => sum + one, 0);
  expect(outcomes).toEqual(all.map((_, i) => (i < stored ? { kind: "stored", sequence: i + 1 } : { kind: "alone" })));
});

test("the writes of a unit are in one batch", async () => {
  const storeAll = vi.fn(async ({ length }: { length: number }) => ({ kind: "stored", sequence: length }) as const);
  await storeInOrder({ storeAll }, [unit([newId()]), ...Array.from({ length: 999 }, () => unit([newId(), newId()]))]);
  expect(storeAll.mock.calls.map(([{ length }]) => length)).toEqual([999, 1_000]);
});

test("15 are for the caller, 16 are a batch, and none is nothing", async () => {
  expect(kindsOf(await storeInOrder(publisher, units(15)))).toEqual(Array(15).fill("alone"));
  expect(kindsOf(await storeInOrder(publisher, units(16)))).toEqual(Array(16).fill("stored"));
  expect(await storeInOrder(publisher, [])).toEqual([]);
});

describe("what is not stored", () => {
  test("for a subject that is taken holds up all of its stream, of which nothing is stored, and no other", async () => {
    const [taken = unit([])] = units(1);
    await publisher.storeAll(taken.writes);
    const before = (await broker.jsm.streams.info(inboxStream(0))).state.messages;
    const all = [...units(1_000), ...units(20, 1), taken, ...units(1_000)];
    // The first thousand is a batch of its own.
    expect(kindsOf(await storeInOrder(publisher, all))).toEqual(
      all.map(({ stream }, i) => (stream === inboxStream(1) || i < 1_000 ? "stored" : "alone")),
    );
    expect((await broker.jsm.streams.info(inboxStream(0))).state.messages).toBe(before + 1_000);
  });

  test("is also a subject that is there twice", async () => {
    const twice = units(20);
    const outcomes = await storeInOrder(publisher, [...twice, ...twice.slice(0, 1)]);
    expect(kindsOf(outcomes)).toEqual(Array(21).fill("alone"));
  });

  test("since the broker would never take one of them, is to be stored alone, and what is behind it", async () => {
    const storeAll = vi.fn(async () => Promise.reject(failure("ArgsError", "too large")));
    expect(kindsOf(await storeInOrder({ storeAll }, units(1_500)))).toEqual(Array(1_500).fill("alone"));
    expect(storeAll).toHaveBeenCalledTimes(1);
  });

  test("by an answer that did not come may be stored, and what is behind it is not tried", async () => {
    const storeAll = vi.fn(async () => Promise.reject(failure("NetworkError", "away")));
    const outcomes = await storeInOrder({ storeAll }, units(1_500));
    expect(storeAll).toHaveBeenCalledTimes(1);
    for (const outcome of outcomes) {
      expect(outcome.kind === "failed" && toErrorFacts(outcome.error)).toMatchObject({ errCode: 90004 });
    }
    expect(outcomes).toHaveLength(1_500);
  });
});
