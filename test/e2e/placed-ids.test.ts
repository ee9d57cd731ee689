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
    ["for one device", { recvDeviceID: "日本 phone" }],
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
    ["device", { exceptDeviceID: "phone" }],
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

describe("a batch", () => {
  const sendBatch = async (notifications: readonly object[]) => {
    const { results } = await must("/msg/batch_send_business_notification", { notifications });
    return results as ({ errCode: number; errMsg: string; errDlt: string } & { data: Ids & { sendTime: number } })[];
  };
  /** What a new device of a user gets. */
  const inboxOf = async (user: string) => {
    const device = openDevice(server.url, await server.userToken(user), `device-${++made}`);
    return (await device.subscribe({ window: 1_000 })).takeUntilIdle();
  };

  test("is stored with one message each, in its order, and each is told its own place", async () => {
    const users = Array.from({ length: 7 }, newUser);
    const userOf = (i: number) => users[i % 7] ?? "";
    const stored = async () => {
      const filter = { subjects_filter: "inbox.>" };
      const infos = await Promise.all([0, 1].map((partition) => jsm.streams.info(`INBOX_${partition}`, filter)));
      return infos.reduce((sum, { state }) => sum + Object.keys(state.subjects ?? {}).length, 0);
    };
    const before = await stored();
    const results = await sendBatch(
      Array.from({ length: 300 }, (_, i) =>
        toBody(userOf(i), { data: `${i}`, ...(i % 9 === 0 && { ttlSeconds: 60 }) }),
      ),
    );
    expect(await stored()).toBe(before + 300);
    for (const [n, user] of users.entries()) {
      const own = results.flatMap(({ data, ...facts }, i) => {
        expect(facts).toEqual({ errCode: 0, errMsg: "", errDlt: "" });
        return i % 7 === n ? [{ ...data, i }] : [];
      });
      const expected = own.map(({ serverMsgID, clientMsgID, sendTime, i }) => ({
        ...{ serverMsgId: serverMsgID, clientMsgId: clientMsgID, sendTime: BigInt(sendTime), data: `${i}` },
        sequence: BigInt(placeOf({ serverMsgID, clientMsgID }).sequence),
      }));
      expect(await inboxOf(user)).toMatchObject(expected);
    }
    const last = results[299]?.data ?? { serverMsgID: "", clientMsgID: "" };
    const again = toBody(userOf(299), { data: "299", clientMsgID: last.clientMsgID });
    expect(await must("/msg/send_business_notification", again)).toEqual(last);
    const { serverMsgID } = last;
    expect(await recallBy({ serverMsgID })).toMatchObject({ errCode: 0, data: { withdrawn: 1 } });
    expect(await statusBy({ serverMsgID })).toMatchObject({ ...last, counts: { total: 1, recalled: 1 } });
  });

  test("of the caller's own ids, and of ours, is answered the same again, whatever of it was sent before", async () => {
    const [user, other] = [newUser(), newUser()];
    const toOwn = (i: number) => ({ ...toBody(user, { data: `${i}` }), clientMsgID: `${user}-${i}` });
    const earlier = await must("/msg/send_business_notification", toOwn(33));
    const bodies = Array.from({ length: 60 }, (_, i) => toOwn(i));
    const first = await sendBatch(bodies);
    expect(first.map(({ data }) => data?.clientMsgID)).toEqual(bodies.map(({ clientMsgID }) => clientMsgID));
    expect(first[33]?.data).toEqual(earlier);
    expect(await sendBatch(bodies)).toEqual(first);
    const fresh = await sendBatch(bodies.map((body) => ({ ...body, recvUserID: other, clientMsgID: "" })));
    expect(new Set(fresh.map(({ errCode }) => errCode))).toEqual(new Set([0]));
    const data = bodies.map((_, i) => `${i}`);
    expect((await inboxOf(user)).map((one) => one.data)).toEqual(["33", ...data.filter((one) => one !== "33")]);
    expect((await inboxOf(other)).map((one) => one.data)).toEqual(data);
  });

  test("has 1003 for each body that is another, and only for those", async () => {
    const user = newUser();
    const bodies = Array.from({ length: 40 }, (_, i) => toBody(user, { data: `${i}`, clientMsgID: `${user}-${i}` }));
    await sendBatch(bodies.filter((_, i) => i % 5 === 0));
    // The id of the eighth is there twice in this one.
    const changed = bodies.map((body, i) => ({ ...body, ...(i % 10 === 0 && { data: "x" }) }));
    const results = await sendBatch([...changed, { ...bodies[8], data: "y" }]);
    const refused = results.flatMap(({ errCode }, i) => (errCode === 0 ? [] : [[i, errCode]]));
    expect(refused).toEqual([0, 10, 20, 30, 40].map((i) => [i, 1003]));
    const got = (await inboxOf(user)).map(({ data }) => Number(data));
    expect(got).toEqual([0, 5, 10, 15, 20, 25, 30, 35, ...bodies.keys().filter((i) => i % 5 !== 0)]);
  });

  test("is shown to the sender's own devices in its order, with the ids of the answer", async () => {
    const [sender, user] = [newUser(), newUser()];
    const { session } = await subscribe(sender);
    const own = (i: number) => (i % 2 === 0 ? {} : { clientMsgID: `${user}-${i}` });
    const bodies = Array.from({ length: 40 }, (_, i) => toBody(user, { sendUserID: sender, data: `${i}`, ...own(i) }));
    const results = await sendBatch(bodies);
    expect(await session.take(40)).toMatchObject(
      results.map(({ data: { serverMsgID, clientMsgID, sendTime } }, i) => ({
        ...{ serverMsgId: serverMsgID, clientMsgId: clientMsgID, sendTime: BigInt(sendTime) },
        ...{ data: `${i}`, sequence: 0n },
      })),
    );
  });

  test("two at a time of the same ids are one", async () => {
    const user = newUser();
    const bodies = Array.from({ length: 100 }, (_, i) => toBody(user, { data: `${i}`, clientMsgID: `${user}-${i}` }));
    const [one, two] = await Promise.all([sendBatch(bodies), sendBatch(bodies)]);
    expect(two).toEqual(one);
    expect((await inboxOf(user)).map(({ data }) => Number(data))).toEqual([...bodies.keys()]);
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
