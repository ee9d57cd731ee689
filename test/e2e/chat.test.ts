import { createClient as createRpcClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type BusinessNotification, type ChatMessage, createClient } from "../../src/client/index.ts";
import { toErrorFacts } from "../../src/errors.ts";
import { MsgService } from "../../src/gen/mustreach/msg/v1/msg_pb.ts";
import { type DeviceEvent, type DeviceSession, useDevices } from "../helpers/device.ts";
import { useServer } from "../helpers/server.ts";

const server = useServer({ HEARTBEAT: "1s", PARTITIONS: "2" });
const openDevice = useDevices();

let admin: string;
beforeAll(async () => {
  admin = await server.adminToken();
});

const closers: (() => Promise<void>)[] = [];
afterAll(async () => {
  await Promise.all(closers.map((close) => close()));
});

/** Calls a REST path that is to succeed, and returns its data. */
async function must(path: string, body: object, token = admin): Promise<Record<string, unknown>> {
  const { json } = await server.post(path, body, token);
  expect(json).toMatchObject({ errCode: 0, errMsg: "", errDlt: "" });
  return json.data ?? {};
}

/** Sends a notification with a chat copy, at level 2. */
const send = (body: object) =>
  must("/msg/send_business_notification", {
    sendUserID: "system",
    key: "order.paid",
    sendMsg: true,
    reliabilityLevel: 2,
    ...body,
  });

let tests = 0;
/** Users that no other test has, by name. */
function newUsers() {
  const suffix = ++tests;
  const id = (name: string) => `${name}-${suffix}`;
  const as = async (name: string, path: string, body: object = {}) =>
    must(path, body, await server.userToken(id(name)));
  return {
    id,
    /** Calls a REST path with a user's token. */
    async call(name: string, path: string, body: object = {}) {
      return (await server.post(path, body, await server.userToken(id(name)))).json;
    },
    conversations: async (name: string) => (await as(name, "/msg/get_conversations")).conversations as Conversation[],
    pull: (name: string, body: object) => as(name, "/msg/pull_messages", body),
    markRead: (name: string, body: object) => as(name, "/msg/mark_as_read", body),
    async newGroup(...names: string[]): Promise<string> {
      const groupID = id("group");
      await must("/group/create_group", {
        ownerUserID: id("owner"),
        memberUserIDs: names.map(id),
        groupInfo: { groupID, groupType: 2 },
      });
      return groupID;
    },
    async open(name: string, deviceId?: string): Promise<DeviceSession> {
      return openDevice(server.url, await server.userToken(id(name)), deviceId).subscribe();
    },
    /** A device as an app has it, with what its callbacks were called with. */
    async listen(name: string) {
      const notifications: BusinessNotification[] = [];
      const messages: ChatMessage[] = [];
      const client = createClient({ baseUrl: server.url, token: await server.userToken(id(name)), deviceId: "app" });
      closers.push(() => client.close());
      client.onRecvCustomBusinessMessage((notification) => void notifications.push(notification));
      client.onRecvNewMessage((message) => void messages.push(message));
      await client.connect();
      return { notifications, messages };
    },
  };
}

interface Conversation {
  readonly conversationID: string;
  readonly maxSeq: number;
  readonly hasReadSeq: number;
  readonly unreadCount: number;
  readonly maxSeqTime: number;
}

const numbers = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => String(from + i));

/** Events as `kind: data`, in their order. */
function toText(events: readonly DeviceEvent[]): string[] {
  return events.map((event) => {
    if (event.case === "notification") return `notification: ${event.value.data}`;
    if (event.case === "message") return `message: ${event.value.notification?.data}`;
    return String(event.case);
  });
}

function sequenceOf(event: DeviceEvent | undefined): bigint {
  if (event?.case === "notification") return event.value.sequence;
  if (event?.case === "message") return event.value.notification?.sequence ?? 0n;
  throw new Error(`a ${event?.case} has no sequence`);
}

describe.concurrent.each([1, 2])("sendMsg at level %i", (reliabilityLevel) => {
  test("calls both callbacks of a device that is connected", async () => {
    const { id, listen } = newUsers();
    const device = await listen("bob");
    const sent = await send({ sendUserID: id("ann"), recvUserID: id("bob"), data: '{"id":77}', reliabilityLevel });
    await expect.poll(() => [device.notifications.length, device.messages.length]).toEqual([1, 1]);
    const same = {
      ...sent,
      sendUserID: id("ann"),
      recvUserID: id("bob"),
      recvGroupID: "",
      key: "order.paid",
      data: '{"id":77}',
      reliabilityLevel,
      sequence: expect.any(BigInt),
      collapseKey: "",
      traceparent: "",
    };
    expect(device.notifications).toEqual([same]);
    expect(device.messages).toEqual([
      { ...same, conversationID: `si_${id("ann")}_${id("bob")}`, conversationSequence: 1n },
    ]);
    expect(device.messages[0]?.sequence).toBeGreaterThan(0n);
  });

  test("stores the copy for one who is offline, and the notification at level 2 only", async () => {
    const { id, open, conversations } = newUsers();
    await send({ sendUserID: id("ann"), recvUserID: id("bob"), data: "hello", reliabilityLevel });
    const events = await (await open("bob")).eventsUntilIdle();
    expect(toText(events)).toEqual(
      reliabilityLevel === 1 ? ["message: hello"] : ["notification: hello", "message: hello"],
    );
    const sequences = events.map(sequenceOf);
    expect(sequences.every((sequence, i) => sequence > (sequences[i - 1] ?? 0n))).toBe(true);
    expect(await conversations("bob")).toMatchObject([{ maxSeq: 1, unreadCount: 1 }]);
  });

  test("to a group stores one copy for all, and tells each member, also those who are offline", async () => {
    const { id, newGroup, listen, open, conversations, call, pull } = newUsers();
    const recvGroupID = await newGroup("ann", "bob", "cem");
    const conversationID = `sg_${recvGroupID}`;
    const bob = await listen("bob");
    const eve = await listen("eve");
    const sent = await send({ sendUserID: id("ann"), recvGroupID, data: "hello", reliabilityLevel });
    await expect.poll(() => [bob.notifications.length, bob.messages.length]).toEqual([1, 1]);
    expect(bob.messages).toMatchObject([{ ...sent, conversationID, conversationSequence: 1n, recvGroupID }]);

    // At level 2 after the notification.
    const events = await take(await open("cem"), reliabilityLevel);
    expect(events.at(-1)).toMatchObject({
      case: "message",
      value: { conversationId: conversationID, notification: { data: "hello" } },
    });

    for (const name of ["owner", "ann", "bob", "cem"]) {
      const unreadCount = name === "ann" ? 0 : 1;
      expect(await conversations(name)).toMatchObject([{ conversationID, maxSeq: 1, unreadCount }]);
      expect(await pull(name, { conversationID })).toMatchObject({ messages: [{ notification: sent }], isEnd: true });
    }
    expect(await conversations("eve")).toEqual([]);
    expect(await call("eve", "/msg/pull_messages", { conversationID })).toMatchObject({ errCode: 1002 });
    expect([eve.notifications, eve.messages]).toEqual([[], []]);
  });

  test("stores one copy under one clientMsgID, however often and at what moment it is sent", async () => {
    const { id, conversations, pull, open } = newUsers();
    const request = {
      sendUserID: id("ann"),
      recvUserID: id("bob"),
      data: "once",
      reliabilityLevel,
      clientMsgID: id("once"),
    };
    const responses = await Promise.all(numbers(1, 4).map(() => send(request)));
    expect(await send(request)).toEqual(responses[0]);
    for (const response of responses) expect(response).toEqual(responses[0]);
    const [conversation] = await conversations("bob");
    expect(conversation).toMatchObject({ maxSeq: 1, unreadCount: 1 });
    const { messages } = await pull("bob", { conversationID: conversation?.conversationID });
    expect(messages).toMatchObject([{ conversationSequence: 1, notification: { ...responses[0], data: "once" } }]);
    const events = toText(await (await open("bob")).eventsUntilIdle());
    expect(events.filter((event) => event.startsWith("message"))).toEqual(["message: once"]);
  });

  test("left away leaves no copy, no conversation and no message", async () => {
    const { id, conversations, open, newGroup } = newUsers();
    const recvGroupID = await newGroup("bob");
    const session = await open("bob");
    for (const to of [{ recvUserID: id("bob") }, { recvGroupID }]) {
      await send({ ...to, data: "plain", sendMsg: false, reliabilityLevel });
    }
    expect(toText(await session.eventsUntilIdle())).toEqual(["notification: plain", "notification: plain"]);
    expect(await conversations("bob")).toEqual([]);
  });
});

describe.concurrent("over REST", () => {
  test("get_conversations answers numbers", async () => {
    const { id, call, conversations } = newUsers();
    const { sendTime } = await send({ sendUserID: id("ann"), recvUserID: id("bob"), data: "hello" });
    const conversationID = `si_${id("ann")}_${id("bob")}`;
    const row = { conversationID, maxSeq: 1, hasReadSeq: 0, unreadCount: 1, maxSeqTime: sendTime };
    expect(await call("bob", "/msg/get_conversations")).toEqual({
      errCode: 0,
      errMsg: "",
      errDlt: "",
      data: { conversations: [row] },
    });
    const [ofSender] = await conversations("ann");
    expect(ofSender).toMatchObject({ conversationID, maxSeq: 1, unreadCount: 0, maxSeqTime: sendTime });
    expect(await call("nobody", "/msg/get_conversations")).toMatchObject({ data: { conversations: [] } });
  });

  test("pull_messages answers the copies to both users, and ranges of them", async () => {
    const { id, pull } = newUsers();
    const ids: unknown[] = [];
    for (const data of numbers(1, 5)) {
      ids.push((await send({ sendUserID: id("ann"), recvUserID: id("bob"), data })).serverMsgID);
    }
    const conversationID = `si_${id("ann")}_${id("bob")}`;
    const page = await pull("bob", { conversationID, begin: 1, end: 5, num: 100 });
    expect(page).toEqual({
      isEnd: true,
      messages: numbers(1, 5).map((data, i) => ({
        conversationID,
        conversationSequence: i + 1,
        notification: {
          serverMsgID: ids[i],
          clientMsgID: expect.stringMatching(/^[0-9a-f]{32}$/),
          sendTime: expect.any(Number),
          sendUserID: id("ann"),
          recvUserID: id("bob"),
          recvGroupID: "",
          key: "order.paid",
          data,
          reliabilityLevel: 2,
          sequence: expect.any(Number),
          collapseKey: "",
          ackScope: "unspecified",
          traceparent: "",
        },
      })),
    });
    expect(await pull("ann", { conversationID })).toEqual(page);
    const dataOf = async (range: object) => {
      const { messages, isEnd } = await pull("bob", { conversationID, ...range });
      return [(messages as { notification: { data: string } }[]).map(({ notification }) => notification.data), isEnd];
    };
    expect(await dataOf({ begin: 2, end: 4 })).toEqual([["2", "3", "4"], true]);
    expect(await dataOf({ begin: 2, end: 5, num: 2 })).toEqual([["2", "3"], false]);
    expect(await dataOf({ begin: 4 })).toEqual([["4", "5"], true]);
    expect(await dataOf({ begin: 4, end: 99 })).toEqual([["4", "5"], true]);
    expect(await dataOf({ begin: 6 })).toEqual([[], true]);
  });

  test("mark_as_read moves the place forward, never back, for the one user", async () => {
    const { id, conversations, markRead, call, newGroup } = newUsers();
    const recvGroupID = await newGroup("ann", "bob");
    const conversationID = `sg_${recvGroupID}`;
    for (const data of numbers(1, 3)) await send({ sendUserID: id("system"), recvGroupID, data });
    const unread = async (name: string) => {
      const [{ hasReadSeq, unreadCount } = { hasReadSeq: -1, unreadCount: -1 }] = await conversations(name);
      return [hasReadSeq, unreadCount];
    };
    expect(await unread("bob")).toEqual([0, 3]);
    expect(await call("bob", "/msg/mark_as_read", { conversationID, hasReadSeq: 2 })).toEqual({
      errCode: 0,
      errMsg: "",
      errDlt: "",
    });
    expect(await unread("bob")).toEqual([2, 1]);
    await markRead("bob", { conversationID, hasReadSeq: 1 });
    expect(await unread("bob")).toEqual([2, 1]);
    await markRead("bob", { conversationID });
    expect(await unread("bob")).toEqual([3, 0]);
    await send({ sendUserID: id("system"), recvGroupID, data: "4" });
    expect(await unread("bob")).toEqual([3, 1]);
    expect(await unread("ann")).toEqual([0, 4]);
  });

  test("the unread count is what follows the place read, or the own newest copy, each way of a conversation", async () => {
    const { id, conversations, markRead } = newUsers();
    const from = (a: string, b: string) => send({ sendUserID: id(a), recvUserID: id(b), data: `${a} to ${b}` });
    const unread = async (name: string) => (await conversations(name)).map(({ unreadCount }) => unreadCount);
    await from("ann", "bob");
    await from("bob", "ann");
    await from("ann", "bob");
    expect([await unread("ann"), await unread("bob")]).toEqual([[0], [1]]);
    await markRead("bob", { conversationID: `si_${id("ann")}_${id("bob")}` });
    await from("bob", "ann");
    expect([await unread("ann"), await unread("bob")]).toEqual([[1], [0]]);
    await from("ann", "bob");
    expect([await unread("ann"), await unread("bob")]).toEqual([[0], [1]]);
  });

  test("the conversation with the newest copy comes first", async () => {
    const { id, conversations, newGroup } = newUsers();
    const recvGroupID = await newGroup("bob");
    const to = { recvUserID: id("bob"), data: "x" };
    await send({ ...to, sendUserID: id("ann") });
    await send({ recvGroupID, data: "x" });
    await send({ ...to, sendUserID: id("zoe"), reliabilityLevel: 1 });
    const ids = async () => (await conversations("bob")).map(({ conversationID }) => conversationID);
    const [ann, zoe] = [`si_${id("ann")}_${id("bob")}`, `si_${id("bob")}_${id("zoe")}`];
    expect(await ids()).toEqual([zoe, `sg_${recvGroupID}`, ann]);
    await send({ ...to, sendUserID: id("ann") });
    expect(await ids()).toEqual([ann, zoe, `sg_${recvGroupID}`]);
  });

  test("a group's conversation is that of who is a member now", async () => {
    const { id, call, conversations, newGroup } = newUsers();
    const recvGroupID = await newGroup("bob");
    const conversationID = `sg_${recvGroupID}`;
    await send({ recvGroupID, data: "hello" });
    await must("/group/kick_group", { groupID: recvGroupID, kickedUserIDs: [id("bob")] });
    await must("/group/invite_user_to_group", { groupID: recvGroupID, invitedUserIDs: [id("cem")] });
    for (const path of ["/msg/pull_messages", "/msg/mark_as_read"]) {
      expect(await call("bob", path, { conversationID })).toMatchObject({ errCode: 1002 });
      expect(await call("cem", path, { conversationID })).toMatchObject({ errCode: 0 });
    }
    expect(await conversations("bob")).toEqual([]);
    expect(await conversations("cem")).toMatchObject([{ conversationID, maxSeq: 1 }]);
  });

  const wrong: [what: string, errCode: number, path: string, body: (id: (name: string) => string) => object][] = [
    ["no conversation", 1001, "pull_messages", () => ({})],
    ["a place below the first", 1001, "pull_messages", (id) => ({ ...conversationOf(id), begin: -1 })],
    ["too many copies", 1001, "pull_messages", (id) => ({ ...conversationOf(id), num: 1_001 })],
    ["no conversation", 1001, "mark_as_read", () => ({})],
    ["a place below the first", 1001, "mark_as_read", (id) => ({ ...conversationOf(id), hasReadSeq: -1 })],
    ["another's conversation", 1002, "pull_messages", (id) => ({ conversationID: `si_${id("ann")}_${id("cem")}` })],
    ["another's conversation", 1002, "mark_as_read", (id) => ({ conversationID: `si_${id("ann")}_${id("cem")}` })],
    ["a conversation that is not there", 1002, "pull_messages", () => ({ conversationID: "sg_nobody's" })],
    ["a conversation that is not there", 1002, "mark_as_read", () => ({ conversationID: "x" })],
  ];
  test.each(wrong)("%s is answered with %i by %s", async (_, errCode, path, body) => {
    const { id, call } = newUsers();
    for (const other of ["bob", "cem"]) await send({ sendUserID: id("ann"), recvUserID: id(other), data: "hello" });
    const json = await call("bob", `/msg/${path}`, body(id));
    expect(json).toEqual({ errCode, errMsg: expect.stringMatching(/./), errDlt: expect.stringMatching(/./) });
  });
});

function conversationOf(id: (name: string) => string) {
  return { conversationID: `si_${id("ann")}_${id("bob")}` };
}

test.concurrent("the same is told over Connect", async () => {
  const { id } = newUsers();
  const headers = { token: await server.userToken(id("bob")) };
  const service = createRpcClient(MsgService, createConnectTransport({ baseUrl: server.url, httpVersion: "1.1" }));
  const sent = await service.sendBusinessNotification(
    { sendUserId: id("ann"), recvUserId: id("bob"), key: "k", data: "hello", sendMsg: true, reliabilityLevel: 1 },
    { headers: { token: admin } },
  );
  const conversationId = `si_${id("ann")}_${id("bob")}`;
  const { conversations } = await service.getConversations({}, { headers });
  expect(conversations).toMatchObject([
    { conversationId, maxSeq: 1n, hasReadSeq: 0n, unreadCount: 1, maxSeqTime: sent.sendTime },
  ]);
  const page = await service.pullMessages({ conversationId }, { headers });
  expect(page).toMatchObject({
    isEnd: true,
    messages: [
      {
        conversationId,
        conversationSequence: 1n,
        notification: { serverMsgId: sent.serverMsgId, clientMsgId: sent.clientMsgId, data: "hello" },
      },
    ],
  });
  await service.markConversationAsRead({ conversationId, hasReadSeq: 1n }, { headers });
  const read = await service.getConversations({}, { headers });
  expect(read.conversations).toMatchObject([{ conversationId, hasReadSeq: 1n, unreadCount: 0 }]);
  const ofStranger = { headers: { token: await server.userToken(id("eve")) } };
  for (const call of [service.pullMessages, service.markConversationAsRead]) {
    expect(await call({ conversationId }, ofStranger).catch(toErrorFacts)).toMatchObject({ errCode: 1002 });
  }
});

describe.concurrent("a message event", () => {
  test("comes again until it is acknowledged, to each device for itself", async () => {
    const { id } = newUsers();
    const token = await server.userToken(id("bob"));
    const phone = (deviceId = "phone") => openDevice(server.url, token, deviceId);
    await send({ sendUserID: id("ann"), recvUserID: id("bob"), data: "hello", reliabilityLevel: 1 });
    await send({ sendUserID: id("ann"), recvUserID: id("bob"), data: "again", reliabilityLevel: 2 });
    const all = ["message: hello", "notification: again", "message: again"];
    const first = phone();
    expect(toText(await take(await first.subscribe(), 3))).toEqual(all);
    first.kill();
    const second = phone();
    const events = await take(await second.subscribe(), 3);
    expect(toText(events)).toEqual(all);
    await second.ack(sequenceOf(events[0]));
    second.kill();
    const third = phone();
    const rest = await take(await third.subscribe(), 2);
    expect(toText(rest)).toEqual(all.slice(1));
    await third.ack(sequenceOf(rest[1]));
    third.kill();
    expect(await (await phone().subscribe()).eventsUntilIdle()).toEqual([]);
    expect(toText(await (await phone("tablet").subscribe()).eventsUntilIdle())).toEqual(all);
  });

  test("is in the one order of the user with notifications of users and groups", async () => {
    const { id, newGroup, open } = newUsers();
    const recvGroupID = await newGroup("bob");
    const session = await open("bob");
    const last: Record<string, number> = {};
    for (const data of numbers(1, 12)) {
      const to = Number(data) % 2 === 0 ? { recvGroupID } : { recvUserID: id("bob") };
      await send({ ...to, sendUserID: id("ann"), data });
    }
    const events = await take(session, 24);
    const sequences = events.map(sequenceOf);
    expect(sequences.every((sequence, i) => sequence > (sequences[i - 1] ?? 0n))).toBe(true);
    for (const event of events) {
      if (event.case !== "message") continue;
      const { conversationId, conversationSequence } = event.value;
      expect(Number(conversationSequence)).toBe((last[conversationId] ?? 0) + 1);
      last[conversationId] = Number(conversationSequence);
    }
    expect(last).toEqual({ [`sg_${recvGroupID}`]: 6, [`si_${id("ann")}_${id("bob")}`]: 6 });
    expect(toText(await (await open("bob", "late")).eventsUntilIdle())).toEqual(toText(events));
  });
});

/** The next events that are not heartbeats. */
async function take(session: DeviceSession, count: number): Promise<DeviceEvent[]> {
  const events: DeviceEvent[] = [];
  while (events.length < count) {
    const event = await session.next();
    if (event === undefined) throw new Error("the stream has ended");
    if (event.case !== "heartbeat") events.push(event);
  }
  return events;
}

test.concurrent("a conversation of two users has their ids in the order of their bytes, whoever sends", async () => {
  const { id, conversations } = newUsers();
  for (const [a, b] of [
    ["B", "a"],
    ["a", "é"],
    ["\uFFEE", "😀"],
    ["a_b", "c"],
  ] as const) {
    await send({ sendUserID: id(b), recvUserID: id(a), data: "hello" });
    await send({ sendUserID: id(a), recvUserID: id(b), data: "hello" });
    const ids = (await conversations(b)).map(({ conversationID }) => conversationID);
    expect(ids).toContain(`si_${id(a)}_${id(b)}`);
  }
});
