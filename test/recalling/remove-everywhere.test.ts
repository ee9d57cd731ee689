import { create } from "@bufbuild/protobuf";
import { pino } from "pino";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Broker, connectBroker } from "../../src/broker/connect.ts";
import { declare } from "../../src/broker/declare.ts";
import { createDirectGet } from "../../src/broker/reads/create-direct-get.ts";
import { deadlineIn } from "../../src/deadline.ts";
import { toErrorFacts } from "../../src/errors.ts";
import { NotificationSchema } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { createInbox, type Inbox } from "../../src/inbox/inbox.ts";
import { inboxSpecs } from "../../src/inbox/layout.ts";
import { createPublisher } from "../../src/publishing/publish.ts";
import { removeEverywhere } from "../../src/recalling/remove-everywhere.ts";
import { openEpochs } from "../helpers/epochs.ts";
import { type ExternalBroker, startExternalBroker } from "../helpers/external-broker.ts";
import { readEntry } from "../helpers/frames.ts";

const partitions = 3;
const users = Array.from({ length: 20 }, (_, i) => `user ${i}`);
let server: ExternalBroker;
let broker: Broker;
let inbox: Inbox;

beforeAll(async () => {
  server = await startExternalBroker();
  broker = await connectBroker({ servers: [server.url], requestTimeoutMs: 1_000, log: pino({ level: "silent" }) });
  await declare(broker, inboxSpecs({ partitions, retentionMs: 3_600_000, maxStoreBytes: 100_000_000 }), 1);
  const publisher = createPublisher(broker, { sendTimeoutMs: 5_000, isFsynced: () => true });
  inbox = createInbox(
    broker,
    publisher,
    createDirectGet(broker, { timeoutMs: 5_000 }),
    partitions,
    openEpochs(broker, partitions),
  );
});
afterAll(async () => {
  await broker.nc.close();
  await server.remove();
});

const write = (serverMsgId: string, userIds: readonly string[] = users) => {
  const notification = create(NotificationSchema, { serverMsgId, sendTime: BigInt(Date.now()) });
  return inbox.writeMany(userIds, { kind: "notification", notification }, { operationId: "test" });
};

test("a notification is removed from all inboxes for good, also when the broker is killed, and no other is", async () => {
  for (const id of ["before *", "*", "after *"]) await write(id);
  await removeEverywhere({ broker, partitions }, "*", await inbox.find(users, "*"));
  const found = await inbox.find(users, "before *");
  await server.pause();
  expect(await removeEverywhere({ broker, partitions }, "before *", found).catch(toErrorFacts)).toMatchObject({
    errCode: 90004,
  });
  await server.resume();
  await broker.whenConnected(deadlineIn(10_000));
  for (const user of users) {
    const { entries } = await inbox.read(user, { after: 0, limit: 10 });
    expect(entries.map(readEntry)).toMatchObject([
      { notification: { serverMsgId: "before *" } },
      { notification: { serverMsgId: "after *" } },
    ]);
  }
});

test("removing what is in no inbox changes nothing", async () => {
  const before = await inbox.read("user 0", { after: 0, limit: 10 });
  await removeEverywhere({ broker, partitions }, "nowhere", new Map());
  expect(await inbox.read("user 0", { after: 0, limit: 10 })).toEqual(before);
});

test("what was stored after it was found stays", async () => {
  const [early, late] = [users.slice(0, 10), users.slice(10)];
  await write("twice", early);
  const found = await inbox.find(users, "twice");
  expect([...found.keys()].sort()).toEqual([...early].sort());
  await write("twice", late);
  await removeEverywhere({ broker, partitions }, "twice", found);
  expect([...(await inbox.find(users, "twice")).keys()].sort()).toEqual([...late].sort());
});
