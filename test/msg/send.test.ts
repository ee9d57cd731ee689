import { fromBinary } from "@bufbuild/protobuf";
import { pino } from "pino";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { toErrorFacts } from "../../src/errors.ts";
import { type Notification, NotificationSchema } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { Durability } from "../../src/gen/mustreach/msg/v1/msg_pb.ts";
import { createSend, type Send } from "../../src/msg/send.ts";
import type { ValidSend } from "../../src/msg/validate.ts";
import { type Claims, createClaims } from "../../src/nats/claims.ts";
import { type Broker, connectBroker } from "../../src/nats/connect.ts";
import { createDirectGet } from "../../src/nats/direct-get.ts";
import { createInbox, type Inbox, type InboxEntry } from "../../src/nats/inbox.ts";
import { createLive, type Live } from "../../src/nats/live.ts";
import { createPublisher } from "../../src/nats/publish.ts";
import { declareStreams } from "../../src/nats/streams.ts";
import { useBroker } from "../helpers/broker.ts";

const embedded = useBroker();
const partitions = 2;
let broker: Broker;
let inbox: Inbox;
let claims: Claims;
let live: Live;
let send: Send;
const closing: (() => unknown)[] = [];

beforeAll(async () => {
  const log = pino({ level: "silent" });
  const { url, user, pass } = embedded;
  broker = await connectBroker({ servers: [url], user, pass, requestTimeoutMs: 5_000, log });
  closing.push(() => broker.close());
  await declareStreams(broker, { partitions, replicas: 1, retentionMs: 604_800_000, maxStoreBytes: 2 ** 30 });
  const publisher = createPublisher(broker, { sendTimeoutMs: 5_000, isFsynced: () => true });
  const directGet = createDirectGet(broker, { timeoutMs: 5_000 });
  closing.push(() => directGet.close());
  inbox = createInbox(broker, publisher, directGet, partitions);
  claims = createClaims(publisher, directGet, partitions);
  live = createLive(broker, publisher, partitions);
  send = createSend({ inbox, claims, live, durability: () => Durability.FSYNCED });
});
afterAll(async () => {
  for (const close of closing.reverse()) await close();
});
afterEach(() => {
  vi.useRealTimers();
});

let made = 0;
/** An id that no other test uses. */
const newId = (kind: string) => `${kind}-${++made}`;

/** A must-reach notification to a user of the test's own, but for the change. */
function request(change: Partial<ValidSend> = {}): ValidSend {
  return {
    sendUserId: "imAdmin",
    recvUserId: newId("user"),
    recvGroupId: "",
    key: "order.paid",
    data: '{"id":77}',
    sendMsg: false,
    mustReach: true,
    clientMsgId: newId("order"),
    ttlMs: 0,
    ...change,
  };
}

async function stored(userId: string): Promise<readonly InboxEntry[]> {
  return (await inbox.read(userId, { after: 0, limit: 100 })).entries;
}

async function refusalOf(sending: Promise<unknown>) {
  const thrown = await sending.then(
    () => expect.fail("it was accepted"),
    (error: unknown) => error,
  );
  return toErrorFacts(thrown);
}

/** What is pushed to a user from now on; `all` waits until everything that was published before is there. */
async function listen(userId: string) {
  const pushed: Notification[] = [];
  const subscription = await live.subscribe(userId, {
    onPush: (bytes) => pushed.push(fromBinary(NotificationSchema, bytes)),
    onHint: () => {},
    onAck: () => {},
    onSupersede: () => {},
  });
  closing.push(() => subscription.close());
  return {
    async all() {
      // The broker answers this connection in order, so its pushes come before the answer.
      await broker.nc.flush();
      return pushed;
    },
  };
}

describe("level 2", () => {
  test("is in the recipient's inbox when the send resolves, as it was sent", async () => {
    const wanted = request({ key: `"key" 😀`, data: `"quotes" \u0000 \\ 😀`, sendUserId: "system", sendMsg: true });
    const before = Date.now();
    const accepted = await send(wanted, "op");
    const [entry, ...others] = await stored(wanted.recvUserId);
    expect(others).toEqual([]);
    expect(entry?.notification).toMatchObject({
      serverMsgId: accepted.serverMsgId,
      clientMsgId: wanted.clientMsgId,
      sendTime: BigInt(accepted.sendTime),
      sendUserId: "system",
      recvUserId: wanted.recvUserId,
      recvGroupId: "",
      key: wanted.key,
      data: wanted.data,
      reliabilityLevel: 2,
    });
    expect(accepted.sendTime).toBeGreaterThanOrEqual(before);
    expect(accepted.sendTime).toBeLessThanOrEqual(Date.now());
  });

  test("answers with the durability that the broker has at the moment", async () => {
    let durability: Durability = Durability.BUFFERED;
    const sendNow = createSend({ inbox, claims, live, durability: () => durability });
    expect((await sendNow(request(), "op")).durability).toBe(Durability.BUFFERED);
    durability = Durability.REPLICATED;
    expect((await sendNow(request(), "op")).durability).toBe(Durability.REPLICATED);
  });

  test("of one recipient, notifications are in the order in which they were accepted", async () => {
    const recvUserId = newId("user");
    const sent: string[] = [];
    for (let n = 0; n < 20; n++) sent.push((await send(request({ recvUserId, clientMsgId: "" }), "op")).serverMsgId);
    const entries = await stored(recvUserId);
    expect(entries.map(({ notification }) => notification.serverMsgId)).toEqual(sent);
    expect(entries.map(({ sequence }) => sequence)).toEqual(
      entries.map(({ sequence }) => sequence).toSorted((a, b) => a - b),
    );
  });

  test("expires its time to live after it was sent; without one it does not", async () => {
    const mortal = request({ ttlMs: 60_000 });
    const { sendTime } = await send(mortal, "op");
    expect((await stored(mortal.recvUserId))[0]?.expiresAtMs).toBe(sendTime + 60_000);
    const lasting = request();
    await send(lasting, "op");
    expect((await stored(lasting.recvUserId))[0]?.expiresAtMs).toBeUndefined();
  });

  test("is not an online push as well", async () => {
    const wanted = request();
    const listener = await listen(wanted.recvUserId);
    await send(wanted, "op");
    expect(await listener.all()).toEqual([]);
  });
});

describe("level 1", () => {
  test("is pushed to who listens now, and not stored", async () => {
    const wanted = request({ mustReach: false });
    const listener = await listen(wanted.recvUserId);
    const other = await listen(newId("user"));
    const accepted = await send(wanted, "op");
    expect(await listener.all()).toMatchObject([
      { serverMsgId: accepted.serverMsgId, data: wanted.data, reliabilityLevel: 1, sequence: 0n },
    ]);
    expect(await other.all()).toEqual([]);
    expect(await stored(wanted.recvUserId)).toEqual([]);
    expect(accepted.durability).toBe(Durability.NONE);
  });

  test("to a user that nobody listens for is accepted", async () => {
    await expect(send(request({ mustReach: false }), "op")).resolves.toMatchObject({ durability: Durability.NONE });
  });
});

describe("generated ids", () => {
  test("are 32 hex digits, new for each send, and ordered by time", async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    const ids: string[][] = [];
    for (let n = 0; n < 5; n++) {
      vi.setSystemTime(Date.now() + 1);
      const { serverMsgId, clientMsgId } = await send(request({ clientMsgId: "" }), "op");
      ids.push([serverMsgId, clientMsgId]);
    }
    expect(new Set(ids.flat()).size).toBe(10);
    for (const id of ids.flat()) expect(id).toMatch(/^[0-9a-f]{32}$/);
    for (const which of [0, 1])
      expect(ids.map((pair) => pair[which])).toEqual(ids.map((pair) => pair[which]).toSorted());
  });

  test("make two sends of one body two notifications", async () => {
    const wanted = request({ clientMsgId: "" });
    await send(wanted, "op");
    await send(wanted, "op");
    expect(await stored(wanted.recvUserId)).toHaveLength(2);
  });

  test("that are sent back by the caller are the same notification", async () => {
    const wanted = request({ clientMsgId: "" });
    const first = await send(wanted, "op");
    expect(await send({ ...wanted, clientMsgId: first.clientMsgId }, "op")).toEqual(first);
    expect(await stored(wanted.recvUserId)).toHaveLength(1);
  });

  test("that are sent back with another body are refused, not accepted and lost", async () => {
    const wanted = request({ clientMsgId: "" });
    const { clientMsgId } = await send(wanted, "op");
    const facts = await refusalOf(send({ ...wanted, clientMsgId, data: "another" }, "op"));
    expect(facts).toMatchObject({ errCode: 1003 });
  });
});

describe.each([
  ["level 2", true],
  ["level 1", false],
])("an id of the caller's own, %s", (_, mustReach) => {
  test("with the same body gives the first result again, and one notification", async () => {
    const wanted = request({ mustReach });
    const listener = await listen(wanted.recvUserId);
    const first = await send(wanted, "op");
    expect(first.clientMsgId).toBe(wanted.clientMsgId);
    for (let n = 0; n < 3; n++) expect(await send(wanted, `retry ${n}`)).toEqual(first);
    expect(await stored(wanted.recvUserId)).toHaveLength(mustReach ? 1 : 0);
    expect(await listener.all()).toHaveLength(mustReach ? 0 : 1);
  });

  test.each<[what: string, change: Partial<ValidSend>]>([
    ["sender", { sendUserId: "system" }],
    ["recipient", { recvUserId: "mallory" }],
    ["key", { key: "order.refunded" }],
    ["data", { data: '{"id":78}' }],
    ["sendMsg", { sendMsg: true }],
    ["reliabilityLevel", { mustReach: !mustReach }],
    ["ttlSeconds", { ttlMs: 1_000 }],
  ])("with another %s is refused with 1003, and changes nothing", async (_what, change) => {
    const wanted = request({ mustReach });
    const listeners = [await listen(wanted.recvUserId), await listen("mallory")] as const;
    const first = await send(wanted, "op");
    expect(await refusalOf(send({ ...wanted, ...change }, "op"))).toMatchObject({
      errCode: 1003,
      errMsg: "DuplicateKeyError",
      errDlt: expect.stringContaining("clientMsgID"),
    });
    expect(await send(wanted, "op")).toEqual(first);
    expect((await stored(wanted.recvUserId)).map((entry) => entry.notification.data)).toEqual(
      mustReach ? [wanted.data] : [],
    );
    expect(await stored("mallory")).toEqual([]);
    expect(await listeners[0].all()).toHaveLength(mustReach ? 0 : 1);
    expect(await listeners[1].all()).toEqual([]);
  });

  test("that is sent many times at the same moment gives one notification", async () => {
    const wanted = request({ mustReach });
    const listener = await listen(wanted.recvUserId);
    const results = await Promise.all(Array.from({ length: 50 }, (_, n) => send(wanted, `try ${n}`)));
    expect(new Set(results.map((result) => JSON.stringify(result))).size).toBe(1);
    expect(await stored(wanted.recvUserId)).toHaveLength(mustReach ? 1 : 0);
    expect(await listener.all()).toHaveLength(mustReach ? 0 : 1);
  });

  test("that is sent at the same moment with two bodies gives one of them, and 1003 for the other", async () => {
    const wanted = request({ mustReach });
    const listener = await listen(wanted.recvUserId);
    const bodies = Array.from({ length: 20 }, (_, n) => (n % 2 === 0 ? "even" : "odd"));
    const outcomes = await Promise.all(
      bodies.map((data) =>
        send({ ...wanted, data }, "op").then(
          () => ({ data, errCode: 0 }),
          (error: unknown) => ({ data, errCode: toErrorFacts(error).errCode }),
        ),
      ),
    );
    const accepted = new Set(outcomes.filter(({ errCode }) => errCode === 0).map(({ data }) => data));
    expect(accepted.size).toBe(1);
    for (const { data, errCode } of outcomes) expect(errCode).toBe(accepted.has(data) ? 0 : 1003);
    const arrived = mustReach
      ? (await stored(wanted.recvUserId)).map(({ notification }) => notification.data)
      : (await listener.all()).map(({ data }) => data);
    expect(arrived).toEqual([...accepted]);
  });

  test("is the same id after midnight, and days later", async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    const midnight = Math.ceil(Date.now() / 86_400_000) * 86_400_000;
    const wanted = request({ mustReach });
    const listener = await listen(wanted.recvUserId);
    vi.setSystemTime(midnight - 1);
    const first = await send(wanted, "op");
    expect(first.sendTime).toBe(midnight - 1);
    for (const now of [midnight, midnight + 1, midnight + 6 * 86_400_000]) {
      vi.setSystemTime(now);
      expect(await send(wanted, "op")).toEqual(first);
      expect(await refusalOf(send({ ...wanted, data: "another" }, "op"))).toMatchObject({ errCode: 1003 });
      expect(await refusalOf(send({ ...wanted, recvUserId: newId("user") }, "op"))).toMatchObject({ errCode: 1003 });
    }
    expect(await stored(wanted.recvUserId)).toHaveLength(mustReach ? 1 : 0);
    expect(await listener.all()).toHaveLength(mustReach ? 0 : 1);
  });

  test.each([
    ["a wildcard", "*"],
    ["the other wildcard", ">"],
    ["a subject", "claim.0.*"],
    ["not ASCII", "日本"],
    ["a path", "../.."],
    ["spaces", "  "],
    ["256 bytes long", "x".repeat(255)],
  ])("may be %s", async (_what, start) => {
    const wanted = request({ mustReach, clientMsgId: start + (mustReach ? 2 : 1) });
    await send(request({ mustReach }), "op");
    const first = await send(wanted, "op");
    expect(first.clientMsgId).toBe(wanted.clientMsgId);
    expect(await send(wanted, "op")).toEqual(first);
  });
});

test("ids that differ in case, in trailing space or in normal form only are different ids", async () => {
  const id = newId("e\u0301");
  for (const clientMsgId of [id, id.toUpperCase(), `${id} `, id.normalize("NFC")]) {
    await expect(send(request({ clientMsgId }), "op")).resolves.toMatchObject({ clientMsgId });
  }
});

test("a first try that ended between its claim and its write is completed by the next", async () => {
  const wanted = request();
  const dying: Inbox = { ...inbox, write: () => Promise.reject(new Error("the process ends here")) };
  const sendAndDie = createSend({ inbox: dying, claims, live, durability: () => Durability.FSYNCED });
  await expect(sendAndDie(wanted, "op")).rejects.toThrow("the process ends here");
  expect(await stored(wanted.recvUserId)).toEqual([]);
  const accepted = await send(wanted, "op");
  expect((await stored(wanted.recvUserId)).map(({ notification }) => notification.serverMsgId)).toEqual([
    accepted.serverMsgId,
  ]);
});

test("an unknown group is 1004 at either level, and does not use up the id", async () => {
  for (const mustReach of [true, false]) {
    const wanted = request({ mustReach, recvUserId: "", recvGroupId: newId("group") });
    expect(await refusalOf(send(wanted, "op"))).toMatchObject({ errCode: 1004, errMsg: "RecordNotFoundError" });
    await expect(send({ ...wanted, recvGroupId: "", recvUserId: newId("user") }, "op")).resolves.toBeDefined();
  }
});
