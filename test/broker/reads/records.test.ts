import { pino } from "pino";
import { afterEach, describe, expect, test, vi } from "vitest";
import { type Broker, connectBroker } from "../../../src/broker/connect.ts";
import { createDirectGet } from "../../../src/broker/reads/create-direct-get.ts";
import type { DirectGet, DirectMessage } from "../../../src/broker/reads/direct-get.ts";
import { createRecords } from "../../../src/broker/reads/records.ts";
import { toErrorFacts } from "../../../src/errors.ts";
import { startBroker } from "../../helpers/broker.ts";

const log = pino({ level: "silent" });
const stream = "RECORDS";

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

/** A broker of its own, with what a node of a cluster holds of the stream. */
async function startNode(records: readonly (readonly [subject: string, value: string])[]) {
  const server = await startBroker();
  closing.push(() => server.remove());
  const { url, dial } = server;
  const broker = await connectBroker({ servers: [url], dial, requestTimeoutMs: 1_000, log });
  closing.push(() => broker.close());
  await broker.jsm.streams.add({
    ...{ name: stream, subjects: ["record.>"], max_msgs_per_subject: 1, allow_direct: true },
  });
  const get = createDirectGet(broker, { timeoutMs: 1_000 });
  closing.push(() => get.close());
  for (const [subject, value] of records) await broker.js.publish(`record.${subject}`, value);
  return { broker, get };
}

/** Reads that these nodes answer in turn, the last of them whatever follows. */
function inTurn(...nodes: readonly { readonly get: DirectGet }[]) {
  const asked: DirectGet["index"][] = nodes.map(({ get }) => get.index);
  let count = 0;
  const next = () => nodes[Math.min(count++, asked.length - 1)]?.get as DirectGet;
  const get: Pick<DirectGet, "last" | "index" | "under"> = {
    last: (...args) => next().last(...args),
    index: (...args) => next().index(...args),
    under: (...args) => next().under(...args),
  };
  return { get, asked: () => count };
}

const read = (messages: readonly DirectMessage[]) =>
  Object.fromEntries(messages.map(({ subject, payload }) => [subject.slice(7), Buffer.from(payload).toString()]));

const replicated = (broker: Broker, get: Parameters<typeof createRecords>[1]) =>
  createRecords(broker, get, stream, { isReplicated: true });

describe("of a stream with replicas", () => {
  test("a record that one which catches up does not have any more, and not again, is found", async () => {
    const leader = await startNode([
      ["a.1", "old"],
      ["b.1", "other"],
      ["a.1", "new"],
    ]);
    // It has removed what the leader had replaced.
    const behind = await startNode([["b.1", "other"]]);
    const { get } = inTurn(behind, behind, leader);
    const records = replicated(leader.broker, get);
    expect(read(await records.under(["record.a.*"]))).toEqual({ "a.1": "new" });
    const again = inTurn(behind, behind, leader);
    const found = await replicated(leader.broker, again.get).of("record.a.1");
    expect(read(found === undefined ? [] : [found])).toEqual({ "a.1": "new" });
  });

  test("one that is behind what was seen is not believed, though it finds something", async () => {
    const leader = await startNode([
      ["a.1", "1"],
      ["a.2", "2"],
      ["a.1", "3"],
    ]);
    const behind = await startNode([
      ["b.1", "-"],
      ["a.2", "2"],
    ]);
    const { get } = inTurn(leader, behind, behind, leader);
    const records = replicated(leader.broker, get);
    expect(read(await records.under(["record.a.*"]))).toEqual({ "a.1": "3", "a.2": "2" });
    expect(read(await records.under(["record.a.*"]))).toEqual({ "a.1": "3", "a.2": "2" });
  });

  test("how far it is, is asked before anything was seen of it, and after a write it is further", async () => {
    const leader = await startNode([
      ["a.1", "1"],
      ["a.2", "2"],
      ["a.1", "3"],
    ]);
    const behind = await startNode([["a.2", "2"]]);
    const { get } = inTurn(behind, leader, leader, behind, leader);
    const records = replicated(leader.broker, get);
    expect(read(await records.under(["record.a.*"]))).toEqual({ "a.1": "3", "a.2": "2" });
    const { seq } = await leader.broker.js.publish("record.a.1", "4");
    await behind.broker.js.publish("record.a.3", "-");
    await behind.broker.js.publish("record.a.3", "as far as before");
    records.saw(seq);
    expect(read(await records.under(["record.a.*"]))).toEqual({ "a.1": "4", "a.2": "2" });
    expect(read(await records.under(["record.a.*"]))).toEqual({ "a.1": "4", "a.2": "2" });
  });

  test("how far it is, is asked once for all who read at the same moment, and again over another connection", async () => {
    const leader = await startNode([["a.1", "1"]]);
    const questions = vi.spyOn(leader.broker.jsm.streams, "getMessage");
    const records = replicated(leader.broker, leader.get);
    await Promise.all(Array.from({ length: 50 }, () => records.under(["record.a.*"])));
    expect(questions).toHaveBeenCalledTimes(1);
    await records.under(["record.a.*"]);
    expect(questions).toHaveBeenCalledTimes(1);
    const reconnected = new Promise<void>((resolve) => void leader.broker.onReconnect(resolve));
    await leader.broker.nc.reconnect();
    await reconnected;
    expect(read(await records.under(["record.a.*"]))).toEqual({ "a.1": "1" });
    expect(questions).toHaveBeenCalledTimes(2);
  });

  test("what is nowhere is not found, and the leader is believed", async () => {
    const leader = await startNode([["b.1", "other"]]);
    const { get, asked } = inTurn(leader);
    const records = replicated(leader.broker, get);
    expect(await records.under(["record.a.*", "record.c.*"])).toEqual([]);
    expect(await records.of("record.a.1")).toBeUndefined();
    expect(asked()).toBe(2);
  });

  test("where all that answer stay behind, the read fails and says so", async () => {
    const leader = await startNode([
      ["b.1", "other"],
      ["a.1", "new"],
    ]);
    const behind = await startNode([["b.1", "other"]]);
    const records = replicated(leader.broker, behind.get);
    await expect(records.under(["record.a.*"]).catch(toErrorFacts)).resolves.toMatchObject({ errCode: 90004 });
  });

  test("where the store was replaced by one that is not as far, what that has is found", async () => {
    const before = await startNode([
      ["a.1", "1"],
      ["a.1", "2"],
    ]);
    const now = await startNode([["a.1", "1"]]);
    const { get } = inTurn(before, now);
    const records = replicated(now.broker, get);
    expect(read(await records.under(["record.a.*"]))).toEqual({ "a.1": "2" });
    expect(read(await records.under(["record.a.*"]))).toEqual({ "a.1": "1" });
  });

  test("more records than the index answers are read subject by subject", async () => {
    const names = Array.from({ length: 1_100 }, (_, number) => [`a.${number}`, String(number)] as const);
    const leader = await startNode([["b.1", "other"], ...names]);
    const records = replicated(leader.broker, leader.get);
    const found = read(await records.under(["record.a.*", "record.b.*"]));
    expect(found).toEqual({ ...Object.fromEntries(names), "b.1": "other" });
  });
});

test("of a stream without replicas, what is found is all", async () => {
  const node = await startNode([["a.1", "1"]]);
  const { get, asked } = inTurn(node);
  const records = createRecords(node.broker, get, stream);
  records.saw(1_000);
  expect(read(await records.under(["record.a.*"]))).toEqual({ "a.1": "1" });
  expect(await records.of("record.b.1")).toBeUndefined();
  expect(asked()).toBe(2);
});
