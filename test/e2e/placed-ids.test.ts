import { randomBytes } from "node:crypto";
import { fromBinary } from "@bufbuild/protobuf";
import { type JetStreamClient, type JetStreamManager, jetstream, jetstreamManager } from "@nats-io/jetstream";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { NotificationSchema } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { parsePlaceId, toPlaceIds } from "../../src/inbox/place-id.ts";
import { useDevices } from "../helpers/device.ts";
import { type ExternalBroker, startExternalBroker } from "../helpers/external-broker.ts";
import { startTestServer, type TestServer } from "../helpers/server.ts";

/** The documented call leaves one message behind, whose place is its ids. Whoever has one of them may do what any id allows. */
const openDevice = useDevices();
let broker: ExternalBroker;
let js: JetStreamClient;
let jsm: JetStreamManager;
let server: TestServer;
let admin: string;

beforeAll(async () => {
  broker = await startExternalBroker();
  const nc = await broker.connect();
  js = jetstream(nc);
  jsm = await jetstreamManager(nc);
  server = await startTestServer({ NATS_URL: broker.url, PARTITIONS: "2", HEARTBEAT: "1s" });
  admin = await server.adminToken();
});
afterAll(async () => {
  await server.stop();
  await broker.remove();
});

let made = 0;
const newUser = () => `user-${++made}`;

async function call(path: string, body: object) {
  const { json } = await server.post(path, body, admin);
  return json;
}

async function must(path: string, body: object): Promise<Record<string, unknown>> {
  const { data, ...rest } = await call(path, body);
  expect(rest).toEqual({ errCode: 0, errMsg: "", errDlt: "" });
  return data ?? {};
}

const toBody = (recvUserID: string, change: object = {}) => ({
  sendUserID: "imAdmin",
  recvUserID,
  key: "k",
  data: "data",
  reliabilityLevel: 2,
  ...change,
});

interface Ids {
  readonly serverMsgID: string;
  readonly clientMsgID: string;
}

const send = async (recvUserID: string, change: object = {}) => {
  const answer = await must("/msg/send_business_notification", toBody(recvUserID, change));
  return answer as Record<string, unknown> & Ids & { sendTime: number };
};
const recallBy = (reference: object) => call("/msg/recall_business_notification", reference);
const statusBy = (reference: object) => must("/msg/get_delivery_status", reference);

/** Either id of a send, as a reference. */
const eachOf = ({ serverMsgID, clientMsgID }: Ids) => [{ serverMsgID }, { clientMsgID }];

const subscribe = async (userId: string, deviceId = "phone") => {
  const device = openDevice(server.url, await server.userToken(userId), deviceId);
  return { device, session: await device.subscribe() };
};

const messagesIn = async (stream: string) => (await jsm.streams.info(stream)).state.messages;

function placeOf({ serverMsgID }: Ids) {
  const place = parsePlaceId("server", serverMsgID);
  if (place === undefined) throw new Error(`${serverMsgID} is no place`);
  return { ...place, stream: `INBOX_${place.partition}` };
}

describe("a must-reach send to a user, without an id of the caller's", () => {
  test("leaves one message behind, which has no ids, and is delivered with those of the answer", async () => {
    const user = newUser();
    const { partition } = placeOf(await send(user));
    const before = await messagesIn(`INBOX_${partition}`);
    const sent = await send(user, { data: "second" });
    expect(await messagesIn(`INBOX_${partition}`)).toBe(before + 1);

    const { stream, sequence } = placeOf(sent);
    const message = await jsm.streams.getMessage(stream, { seq: sequence });
    const stored = fromBinary(NotificationSchema, message?.data ?? new Uint8Array());
    expect(stored).toMatchObject({ serverMsgId: "", clientMsgId: "", data: "second", recvUserId: user });

    const { session } = await subscribe(user);
    const [, second] = await session.take(2);
    expect(second).toMatchObject({
      serverMsgId: sent.serverMsgID,
      clientMsgId: sent.clientMsgID,
      sendTime: BigInt(sent.sendTime),
      sequence: BigInt(sequence),
    });
  });

  test("has a status by either id, and is delivered when it is acknowledged", async () => {
    const user = newUser();
    const sent = await send(user, { ttlSeconds: 60 });
    const { device, session } = await subscribe(user);
    const [got] = await session.take(1);
    for (const reference of eachOf(sent)) {
      expect(await statusBy(reference)).toMatchObject({ ...sent, counts: { total: 1, pending: 1 } });
    }
    await device.ack(got?.sequence ?? 0n, got?.epoch);
    await expect
      .poll(async () => (await statusBy({ serverMsgID: sent.serverMsgID })).counts)
      .toMatchObject({ delivered: 1, pending: 0 });
  });

  test.each([0, 1])("is recalled by either id (%i), once for all", async (which) => {
    const user = newUser();
    const sent = await send(user, { ttlSeconds: 60, escalationDelaySeconds: 30 });
    const { session } = await subscribe(user);
    const [got] = await session.take(1);
    const message = await jsm.streams.getMessage(placeOf(sent).stream, { seq: Number(got?.sequence) });
    const answer = { errCode: 0, data: { withdrawn: 1, delivered: 0 } };
    expect(await recallBy(eachOf(sent)[which] ?? {})).toMatchObject(answer);

    for (;;) {
      const event = await session.next();
      if (event?.case === "heartbeat") continue;
      expect(event).toMatchObject({
        case: "recall",
        value: { serverMsgId: sent.serverMsgID, clientMsgId: sent.clientMsgID },
      });
      break;
    }
    for (const reference of eachOf(sent)) {
      expect(await statusBy(reference)).toMatchObject({ ...sent, counts: { total: 1, recalled: 1 } });
      expect(await recallBy(reference)).toMatchObject(answer);
    }
    // Nobody can store it again: a write that has been under way all the time comes too late.
    await expect(js.publish(message?.subject ?? "", "late")).rejects.toThrow(/per subject/);
    // Nor can its sender.
    const again = toBody(user, { ttlSeconds: 60, escalationDelaySeconds: 30, clientMsgID: sent.clientMsgID });
    expect(await must("/msg/send_business_notification", again)).toEqual(sent);
    const other = await call("/msg/send_business_notification", { ...again, data: "another" });
    expect(other).toMatchObject({ errCode: 1003 });
    const late = await subscribe(user, "another device");
    expect(await late.session.takeUntilIdle().catch(String)).toMatch(/got recall/);
  });
});

describe("sent again under its generated id", () => {
  test.each([
    ["plain", {}],
    ["with a ttl", { ttlSeconds: 60 }],
    ["with an escalation delay", { escalationDelaySeconds: 7 }],
    ["with difficult text", { key: '"k" 😀', data: "\u0000\ufeff\u2028 日本" }],
  ])("%s, it is the first send, which is stored once", async (_, change) => {
    const user = newUser();
    const first = await send(user, change);
    const { stream } = placeOf(first);
    const before = await messagesIn(stream);
    expect(await send(user, { ...change, clientMsgID: first.clientMsgID })).toEqual(first);
    expect(await messagesIn(stream)).toBe(before);
  });

  test.each<[what: string, change: object]>([
    ["sender", { sendUserID: "system" }],
    ["recipient", { recvUserID: "mallory" }],
    ["key", { key: "other" }],
    ["data", { data: "other" }],
    ["level", { reliabilityLevel: 1 }],
    ["ttl", { ttlSeconds: 60 }],
    ["escalation delay", { escalationDelaySeconds: 7 }],
    ["chat copy", { sendMsg: true }],
  ])("with another %s, it is 1003, and nothing is stored", async (_, change) => {
    const user = newUser();
    const { clientMsgID, ...first } = await send(user);
    const { stream } = placeOf({ clientMsgID, ...first });
    const before = await messagesIn(stream);
    const body = { ...toBody(user), clientMsgID, ...change };
    expect(await call("/msg/send_business_notification", body)).toMatchObject({ errCode: 1003 });
    expect(await messagesIn(stream)).toBe(before);
  });
});

describe("an id that was made up", () => {
  test("names nothing, whatever is at its place", async () => {
    const user = newUser();
    const recalled = placeOf(await send(user));
    expect(await recallBy({ serverMsgID: toPlaceIds(recalled).serverMsgId })).toMatchObject({ errCode: 0 });
    const place = placeOf(await send(user));
    const last = (await jsm.streams.info(place.stream)).state.last_seq;
    const others = Array.from({ length: last }, (_, index) => ({ ...place, sequence: index + 1 }));
    const madeUp = [
      ...others.filter(({ sequence }) => sequence !== place.sequence),
      // Where the tombstones of the other are.
      ...others
        .filter(({ sequence }) => sequence > recalled.sequence)
        .map((at) => ({ ...recalled, ...at, random: recalled.random })),
      { ...place, random: randomBytes(8).toString("hex") },
      { ...place, sequence: 0 },
      { ...place, sequence: 2 ** 48 - 1 },
      { ...place, partition: 1 - place.partition },
      { ...place, partition: 4_095 },
    ];
    for (const { serverMsgId, clientMsgId } of madeUp.map(toPlaceIds)) {
      for (const reference of [{ serverMsgID: serverMsgId }, { clientMsgID: clientMsgId }]) {
        expect(await recallBy(reference)).toMatchObject({ errCode: 1004 });
      }
    }
    // Each id is of its kind.
    const { serverMsgId, clientMsgId } = toPlaceIds(place);
    expect(await recallBy({ serverMsgID: clientMsgId })).toMatchObject({ errCode: 1004 });
    expect(await recallBy({ clientMsgID: serverMsgId })).toMatchObject({ errCode: 1004 });
    expect(await statusBy({ serverMsgID: serverMsgId })).toMatchObject({ counts: { total: 1, pending: 1 } });
  });

  test("is an id of the caller's own like any other", async () => {
    const user = newUser();
    const { clientMsgId } = toPlaceIds({ partition: 1, sequence: 1, random: randomBytes(8).toString("hex") });
    const body = { clientMsgID: clientMsgId, data: "own" };
    const first = await send(user, body);
    expect(first.clientMsgID).toBe(clientMsgId);
    expect(await send(user, body)).toEqual(first);
    expect(await call("/msg/send_business_notification", toBody(user, { ...body, data: "x" }))).toMatchObject({
      errCode: 1003,
    });
    for (const reference of eachOf(first)) expect(await statusBy(reference)).toMatchObject(first);
    const { session } = await subscribe(user);
    expect(await session.takeUntilIdle()).toMatchObject([{ data: "own", clientMsgId }]);
  });
});

test("what else a send may leave behind has a record, and its ids inside", async () => {
  const user = newUser();
  for (const change of [{ clientMsgID: "order-77" }, { sendMsg: true }, { sendAt: Date.now() - 1 }]) {
    const { serverMsgID } = await send(user, change);
    expect(parsePlaceId("server", serverMsgID)).toBeUndefined();
  }
});

test("the sender's own devices see the ids of the answer", async () => {
  const [sender, user] = [newUser(), newUser()];
  const { session } = await subscribe(sender);
  const sent = await send(user, { sendUserID: sender });
  const [seen] = await session.take(1);
  expect(seen).toMatchObject({ serverMsgId: sent.serverMsgID, clientMsgId: sent.clientMsgID, sequence: 0n });
});
