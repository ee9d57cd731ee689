import { type JetStreamManager, jetstreamManager } from "@nats-io/jetstream";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { dataOf, useDevices } from "../helpers/device.ts";
import { type ExternalBroker, startExternalBroker } from "../helpers/external-broker.ts";
import { startTestServer, type TestServer } from "../helpers/server.ts";

/** An id is free again when its record has expired: a moment before what was sent under it, or days before its recall. */
const openDevice = useDevices();
let broker: ExternalBroker;
let jsm: JetStreamManager;
let server: TestServer;
let admin: string;

beforeAll(async () => {
  broker = await startExternalBroker();
  jsm = await jetstreamManager(await broker.connect());
  server = await startTestServer({ NATS_URL: broker.url, HEARTBEAT: "1s" });
  admin = await server.adminToken();
});
afterAll(async () => {
  await server.stop();
  await broker.remove();
});

async function must(path: string, body: object): Promise<Record<string, unknown>> {
  const { json } = await server.post(path, body, admin);
  expect(json).toMatchObject({ errCode: 0 });
  return json.data ?? {};
}

const send = (clientMsgID: string, data: string, more: object) =>
  must("/msg/send_business_notification", {
    sendUserID: "imAdmin",
    key: "k",
    data,
    clientMsgID,
    reliabilityLevel: 2,
    ...more,
  });

/** What the end of the retention does to the records of sends, which were written before anything else of them. */
const expireRecords = () => jsm.streams.purge("INBOX_0", { filter: "sent.0.*" });

const receive = async (userId: string, count: number) => {
  const session = await openDevice(server.url, await server.userToken(userId), `phone ${count}`).subscribe();
  return dataOf(await session.take(count));
};

const whenExpanded = () => vi.waitFor(async () => expect((await jsm.streams.info("FANOUT")).state.messages).toBe(0));

async function createGroup(groupID: string) {
  const groupInfo = { groupID, groupType: 2 };
  await must("/group/create_group", {
    ownerUserID: `${groupID}'s owner`,
    memberUserIDs: [`${groupID}'s member`],
    groupInfo,
  });
}

test("a send to a user under an id whose record has expired is delivered, though the last one is still there", async () => {
  const first = await send("order-1", "first", { recvUserID: "ann" });
  await expireRecords();
  const second = await send("order-1", "second", { recvUserID: "ann" });
  expect(second.serverMsgID).not.toBe(first.serverMsgID);
  expect(await receive("ann", 2)).toEqual(["first", "second"]);
});

test("so is one to a group, also where only some members have the last one", async () => {
  await createGroup("g1");
  await send("order-2", "first", { recvUserID: "g1's member" });
  await expireRecords();
  await send("order-2", "second", { recvGroupID: "g1" });
  await whenExpanded();
  expect(await receive("g1's member", 2)).toEqual(["first", "second"]);
  expect(await receive("g1's owner", 1)).toEqual(["second"]);
});

test("so is one whose predecessor was recalled, which it is not", async () => {
  await createGroup("g2");
  await send("order-3", "first", { recvGroupID: "g2" });
  await whenExpanded();
  await must("/msg/recall_business_notification", { clientMsgID: "order-3" });
  await expireRecords();
  await send("order-3", "second", { recvGroupID: "g2" });
  await whenExpanded();
  const { counts } = await must("/msg/get_delivery_status", { clientMsgID: "order-3" });
  expect(counts).toMatchObject({ total: 2, pending: 2, recalled: 0 });
  const session = await openDevice(server.url, await server.userToken("g2's member")).subscribe();
  const events = [await session.next(), await session.next()];
  expect(events.map((event) => event?.case)).toEqual(["recall", "notification"]);
  expect(events[1]?.value).toMatchObject({ data: "second" });
});

test("so is one whose predecessor waits for its time: both come", async () => {
  const sendAt = Date.now() + 1_500;
  await send("order-4", "first", { recvUserID: "bob", sendAt });
  await expireRecords();
  await send("order-4", "second", { recvUserID: "bob", sendAt: sendAt + 1 });
  expect(await receive("bob", 2)).toEqual(["first", "second"]);
});
