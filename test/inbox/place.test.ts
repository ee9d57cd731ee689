import { create } from "@bufbuild/protobuf";
import { pino } from "pino";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { type Broker, connectBroker } from "../../src/broker/connect.ts";
import { declare } from "../../src/broker/declare.ts";
import { createDirectGet } from "../../src/broker/reads/create-direct-get.ts";
import type { DirectGet } from "../../src/broker/reads/direct-get.ts";
import { remove } from "../../src/broker/write.ts";
import { toErrorFacts } from "../../src/errors.ts";
import { NotificationSchema } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { createInbox, type Inbox } from "../../src/inbox/inbox.ts";
import { inboxSpecs, inboxStream } from "../../src/inbox/layout.ts";
import { parsePlaceId } from "../../src/inbox/place-id.ts";
import { createPublisher, type Publisher } from "../../src/publishing/publish.ts";
import { createTombstones } from "../../src/recalling/tombstones.ts";
import { useBroker } from "../helpers/broker.ts";
import { openEpochs } from "../helpers/epochs.ts";
import { readEntry } from "../helpers/frames.ts";

const server = useBroker();
const options = { operationId: "test" };
let broker: Broker;
let publisher: Publisher;
let get: DirectGet;

beforeAll(async () => {
  const { url, dial } = server;
  broker = await connectBroker({ servers: [url], dial, requestTimeoutMs: 5_000, log: pino({ level: "silent" }) });
  await declare(broker, inboxSpecs({ partitions: 1, retentionMs: 3_600_000, maxStoreBytes: 50_000_000 }), 1);
  publisher = createPublisher(broker, { sendTimeoutMs: 5_000, isFsynced: () => true });
  get = createDirectGet(broker, { timeoutMs: 5_000 });
});
afterAll(async () => {
  get.close();
  await broker.close();
});

const openInbox = (store: Publisher["store"]): Inbox =>
  createInbox(broker, { ...publisher, store }, get, 1, openEpochs(broker));

const notification = () => create(NotificationSchema, { data: "d", sendTime: BigInt(Date.now()) });

async function idsIn(inbox: Inbox, userId: string) {
  const { entries } = await inbox.read(userId, { after: 0, limit: 10 });
  return entries
    .map(readEntry)
    .map((entry) => (entry.kind === "notification" ? entry.notification.serverMsgId : entry.kind));
}

test("a try whose acknowledgement was lost is found by the next, and is the one notification", async () => {
  const inbox = openInbox(async (stream, write) => {
    await publisher.store(stream, write);
    return publisher.store(stream, write);
  });
  const { serverMsgId } = await inbox.placing("ann", notification(), options).store();
  expect(await idsIn(inbox, "ann")).toEqual([serverMsgId]);
});

test("also by a replica that lags behind, of which the leader is asked", async () => {
  const lagging = { ...get, last: async () => undefined };
  const store: Publisher["store"] = async (stream, write) => {
    await publisher.store(stream, write);
    return publisher.store(stream, write);
  };
  const inbox = createInbox(broker, { ...publisher, store }, lagging, 1, openEpochs(broker));
  const { serverMsgId } = await inbox.placing("bob", notification(), options).store();
  expect(await idsIn(inbox, "bob")).toEqual([serverMsgId]);
});

test("one that is recalled before its answer is not known to be stored (90004), and stays recalled", async () => {
  const inbox = openInbox(async (stream, write) => {
    const stored = await publisher.store(stream, write);
    if (stored.kind !== "stored") throw new Error("it was not stored");
    const [serverMsgId = ""] = await idsIn(inbox, "cat");
    expect(parsePlaceId("server", serverMsgId)?.sequence).toBe(stored.sequence);
    await remove(broker, inboxStream(0), stored.sequence);
    await createTombstones(publisher, get, 1).place(["cat"], { serverMsgId, sendTimeMs: Date.now() }, "test");
    return publisher.store(stream, write);
  });
  expect(await inbox.placing("cat", notification(), options).store().catch(toErrorFacts)).toMatchObject({
    errCode: 90004,
  });
  expect(await idsIn(inbox, "cat")).toEqual([]);
});

test("a full store is 90101", async () => {
  const full = { kind: "refused", errCode: 10077, reason: "maximum bytes exceeded" } as const;
  const inbox = openInbox(async () => full);
  expect(await inbox.placing("dan", notification(), options).store().catch(toErrorFacts)).toMatchObject({
    errCode: 90101,
  });
});

test("what a replica that lags behind does not have yet may be acknowledged, and not what others have", async () => {
  const inbox = openInbox(publisher.store);
  for (const userId of ["fay", "gus"]) await inbox.placing(userId, notification(), options).store();
  const newest = await inbox.newestSequence("gus");
  const lagging = createInbox(broker, publisher, { ...get, last: async () => undefined }, 1, openEpochs(broker));
  expect(await lagging.mayHold("gus", newest)).toBe(true);
  expect(await lagging.mayHold("fay", newest)).toBe(false);
});

test("who acknowledges a sequence that was made up costs one look at the stream's state", async () => {
  const inbox = openInbox(publisher.store);
  await inbox.placing("eve", notification(), options).store();
  expect(await inbox.mayHold("eve", 1)).toBe(true);
  const looks = vi.spyOn(broker.jsm.streams, "info");
  expect(await inbox.mayHold("eve", 1_000_000_000)).toBe(false);
  expect(looks).toHaveBeenCalledTimes(1);
});
