import { create } from "@bufbuild/protobuf";
import { pino } from "pino";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Caller } from "../../src/auth/caller.ts";
import { connectBroker } from "../../src/broker/connect.ts";
import { declare } from "../../src/broker/declare.ts";
import { createDirectGet } from "../../src/broker/reads/create-direct-get.ts";
import type { ChatDeps } from "../../src/chat/access.ts";
import { type Chat, createChat } from "../../src/chat/chat.ts";
import { toConversationId, toParties } from "../../src/chat/conversation-id.ts";
import { getConversations as getConversationsOf } from "../../src/chat/get-conversations.ts";
import { chatSpecs } from "../../src/chat/layout.ts";
import { markConversationAsRead } from "../../src/chat/mark-as-read.ts";
import { pullMessages } from "../../src/chat/pull-messages.ts";
import { toErrorFacts } from "../../src/errors.ts";
import { NotificationSchema } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import {
  MarkConversationAsReadRequestSchema,
  PullMessagesRequestSchema,
} from "../../src/gen/mustreach/msg/v1/msg_pb.ts";
import { useBroker } from "../helpers/broker.ts";

const server = useBroker();
const members = new Map<string, Set<string>>();
const closing: (() => unknown)[] = [];
let chat: Chat;
let deps: ChatDeps;
const getConversations = (who: Caller) => getConversationsOf(deps, who);

beforeAll(async () => {
  const { url, dial } = server;
  const log = pino({ level: "silent" });
  const broker = await connectBroker({ servers: [url], dial, requestTimeoutMs: 5_000, log });
  closing.push(() => broker.close());
  const get = createDirectGet(broker, { timeoutMs: 5_000 });
  closing.push(() => get.close());
  await declare(broker, chatSpecs, 1);
  chat = createChat(broker, get, { timeoutMs: 5_000 });
  const groupIdsOf = async (userId: string) =>
    [...members].filter(([, userIds]) => userIds.has(userId)).map(([groupId]) => groupId);
  deps = { chat, groupIdsOf };
});
afterAll(async () => {
  for (const close of closing.reverse()) await close();
});

let made = 0;
/** An id that no other test uses. */
const newId = (kind: string) => `${kind}-${++made}`;

function caller(userId: string, isAdmin = false): Caller {
  return { userId, platformId: 5, isAdmin, issuedAtMs: 0, expiresAtMs: Number.MAX_SAFE_INTEGER };
}
const admin = caller("imAdmin", true);

/** Stores a chat copy, as a send with sendMsg = true would, and resolves to its conversation's id. */
async function send(to: { sendUserId?: string; recvUserId?: string; recvGroupId?: string }): Promise<string> {
  const notification = create(NotificationSchema, {
    serverMsgId: newId("server"),
    clientMsgId: newId("client"),
    sendTime: BigInt(Date.now()),
    sendUserId: "imAdmin",
    key: "order.paid",
    ...to,
  });
  const parties = toParties(notification);
  const { conversationId } = await chat.append({ conversationId: toConversationId(parties), parties, notification });
  return conversationId;
}

function newGroup(...userIds: string[]): string {
  const groupId = newId("group");
  members.set(groupId, new Set(userIds));
  return groupId;
}

async function pull(who: Caller, conversationId: string, range: { begin?: bigint; end?: bigint; num?: number } = {}) {
  const { messages, isEnd } = await pullMessages(
    deps,
    who,
    create(PullMessagesRequestSchema, { conversationId, ...range }),
  );
  return { places: messages.map((message) => Number(message.conversationSequence)), isEnd };
}

function mark(who: Caller, conversationId: string, hasReadSeq = 0n): Promise<void> {
  return markConversationAsRead(deps, who, create(MarkConversationAsReadRequestSchema, { conversationId, hasReadSeq }));
}

async function refusalOf(work: Promise<unknown>) {
  return toErrorFacts(
    await work.then(
      () => undefined,
      (error: unknown) => error,
    ),
  );
}

describe("hole 4 of OpenIM, a foreign conversation", () => {
  test("is refused to whoever names it, with the words for one that does not exist", async () => {
    const [alice, mallory] = [newId("alice"), newId("mallory")];
    const own = await send({ recvUserId: mallory });
    const foreign = [await send({ recvUserId: alice }), await send({ recvGroupId: newGroup(alice) })];
    const unknown = [`si_${alice}_nobody`, "si_a_b", `si_${mallory}_zz`, "sg_none", "n_imAdmin_x", "alice", "si_", "*"];
    const refusals = await Promise.all(
      [...foreign, ...unknown].flatMap((conversationId) => [
        refusalOf(pull(caller(mallory), conversationId)),
        refusalOf(mark(caller(mallory), conversationId)),
      ]),
    );
    for (const refusal of refusals) {
      expect(refusal).toEqual({
        errCode: 1002,
        errMsg: "NoPermissionError",
        errDlt: "the conversation is not the caller's",
      });
    }
    expect(await pull(caller(mallory), own)).toEqual({ places: [1], isEnd: true });
    expect(await getConversations(caller(mallory))).toMatchObject([{ conversationId: own }]);
  });

  test("is not reached through an id with `_`, whose parts could be other users", async () => {
    const x = newId("a");
    const conversationId = await send({ sendUserId: `${x}_b`, recvUserId: "c" });
    // The same id could be that of these two, who have no conversation.
    expect(toConversationId({ userIds: [x, "b_c"] })).toBe(conversationId);
    for (const userId of [x, "b_c", "b", `${x}_b_c`]) {
      expect(await refusalOf(pull(caller(userId), conversationId))).toMatchObject({ errCode: 1002 });
      expect(await getConversations(caller(userId))).toEqual([]);
    }
    for (const userId of [`${x}_b`, "c"])
      expect(await pull(caller(userId), conversationId)).toMatchObject({ places: [1] });
    await send({ sendUserId: x, recvUserId: "b_c" });
    await send({ sendUserId: x, recvUserId: "b_c" });
    for (const userId of [x, "b_c"])
      expect(await pull(caller(userId), conversationId)).toMatchObject({ places: [1, 2] });
    expect(await pull(caller("c"), conversationId)).toMatchObject({ places: [1] });
  });

  test("is open to an admin for reading, not for marking as read", async () => {
    const [alice, bob] = [newId("alice"), newId("bob")];
    const ids = [await send({ sendUserId: bob, recvUserId: alice }), await send({ recvGroupId: newGroup(alice) })];
    for (const conversationId of ids) {
      expect(await pull(admin, conversationId)).toEqual({ places: [1], isEnd: true });
      expect(await refusalOf(mark(admin, conversationId))).toMatchObject({ errCode: 1002 });
    }
    expect(await refusalOf(pull(admin, "si_a_b"))).toMatchObject({ errCode: 1002 });
    expect(await refusalOf(pull(admin, `sg_${newId("none")}`))).toMatchObject({ errCode: 1002 });
  });
});

describe("a group's conversation", () => {
  test("is a member's as long as it is one", async () => {
    const groupId = newGroup("alice");
    const conversationId = await send({ recvGroupId: groupId });
    expect(await pull(caller("alice"), conversationId)).toMatchObject({ places: [1] });
    members.get(groupId)?.delete("alice");
    expect(await refusalOf(pull(caller("alice"), conversationId))).toMatchObject({ errCode: 1002 });
    expect(await refusalOf(mark(caller("alice"), conversationId))).toMatchObject({ errCode: 1002 });
    const listed = await getConversations(caller("alice"));
    expect(listed.map((conversation) => conversation.conversationId)).not.toContain(conversationId);
  });

  test("is empty before its first copy, and then not listed", async () => {
    const member = newId("member");
    const conversationId = `sg_${newGroup(member)}`;
    expect(await pull(caller(member), conversationId)).toEqual({ places: [], isEnd: true });
    await mark(caller(member), conversationId);
    expect(await getConversations(caller(member))).toEqual([]);
    expect(await refusalOf(mark(caller(member), conversationId, 1n))).toMatchObject({ errCode: 1001 });
  });
});

describe("pull", () => {
  test("reads from the first place, 100 copies, unless told otherwise", async () => {
    const userId = newId("user");
    const [conversationId = ""] = await Promise.all(Array.from({ length: 120 }, () => send({ recvUserId: userId })));
    const places = (first: number, last: number) => Array.from({ length: last - first + 1 }, (_, n) => first + n);
    const read = (range?: { begin?: bigint; end?: bigint; num?: number }) =>
      pull(caller(userId), conversationId, range);
    expect(await read()).toEqual({ places: places(1, 100), isEnd: false });
    expect(await read({ begin: 101n })).toEqual({ places: places(101, 120), isEnd: true });
    expect(await read({ num: 1_000 })).toEqual({ places: places(1, 120), isEnd: true });
    expect(await read({ begin: 5n, end: 7n })).toEqual({ places: [5, 6, 7], isEnd: true });
    expect(await read({ begin: 5n, end: 7n, num: 2 })).toEqual({ places: [5, 6], isEnd: false });
    expect(await read({ begin: 7n, end: 5n })).toEqual({ places: [], isEnd: true });
    expect(await read({ begin: 121n })).toEqual({ places: [], isEnd: true });
    expect(await read({ begin: 2n ** 63n - 1n, end: 2n ** 63n - 1n })).toEqual({ places: [], isEnd: true });
  });

  test.each([
    [{ begin: -1n }, "begin must be a place, from 1"],
    [{ end: -1n }, "end must be a place, from 1"],
    [{ num: -1 }, "num must be 1 to 1000"],
    [{ num: 1_001 }, "num must be 1 to 1000"],
    [{ conversationId: "" }, "conversationID must be 1 to 2052 bytes of UTF-8 without control characters"],
    [{ conversationId: "sg_\n" }, "conversationID must be 1 to 2052 bytes of UTF-8 without control characters"],
  ])("refuses %o with 1001", async (change, errDlt) => {
    const request = create(PullMessagesRequestSchema, { conversationId: "si_a_b", ...change });
    expect(await refusalOf(pullMessages(deps, caller("a"), request))).toMatchObject({ errCode: 1001, errDlt });
  });
});

describe("mark as read", () => {
  test("moves the caller's place only, to the newest copy unless told otherwise, and never back", async () => {
    const [alice, bob] = [newId("alice"), newId("bob")];
    const conversationId = await send({ sendUserId: alice, recvUserId: bob });
    for (const sendUserId of [alice, bob, alice, alice]) {
      await send({ sendUserId, recvUserId: sendUserId === alice ? bob : alice });
    }
    const view = async (userId: string) => (await getConversations(caller(userId)))[0];
    // Each has read up to its own newest copy.
    expect(await view(bob)).toMatchObject({ conversationId, maxSeq: 5, hasReadSeq: 3, unreadCount: 2 });
    expect(await view(alice)).toMatchObject({ maxSeq: 5, hasReadSeq: 5, unreadCount: 0 });
    await mark(caller(bob), conversationId, 4n);
    expect(await view(bob)).toMatchObject({ hasReadSeq: 4, unreadCount: 1 });
    await mark(caller(bob), conversationId);
    expect(await view(bob)).toMatchObject({ hasReadSeq: 5, unreadCount: 0 });
    await mark(caller(bob), conversationId, 1n);
    expect(await view(bob)).toMatchObject({ hasReadSeq: 5, unreadCount: 0 });
    expect(await view(alice)).toMatchObject({ hasReadSeq: 5, unreadCount: 0 });
  });

  test("refuses a place below 1 or above the newest copy with 1001", async () => {
    const userId = newId("user");
    const conversationId = await send({ recvUserId: userId });
    for (const place of [-1n, 2n, 2n ** 63n - 1n]) {
      expect(await refusalOf(mark(caller(userId), conversationId, place))).toMatchObject({ errCode: 1001 });
    }
    expect(await getConversations(caller(userId))).toMatchObject([{ hasReadSeq: 0, unreadCount: 1 }]);
  });
});

test("the conversations of a caller are those with users and of its groups, the newest first", async () => {
  const userId = newId("user");
  const first = await send({ recvUserId: userId });
  const group = await send({ recvGroupId: newGroup(userId, "other") });
  const third = await send({ sendUserId: userId, recvUserId: newId("peer") });
  await send({ recvGroupId: newGroup("other") });
  const ids = async () => (await getConversations(caller(userId))).map(({ conversationId }) => conversationId);
  expect(await ids()).toEqual([third, group, first]);
  await send({ recvUserId: userId });
  expect(await ids()).toEqual([first, third, group]);
});
