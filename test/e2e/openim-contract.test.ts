import { beforeAll, describe, expect, test } from "vitest";
import { testSecret, useServer } from "../helpers/server.ts";

/**
 * What a back end that was written for OpenIM gets here, call by call: the status, the errCode, and what the answer is
 * made of. Where it is not what OpenIM's server answers, the row says so, and docs/migrating-from-openim.md why.
 */
const server = useServer({ HEARTBEAT: "1s", PARTITIONS: "2" });

/** Who calls: with whose token. */
type Who = "admin" | "ann" | "bob" | "nobody";

interface Call {
  readonly what: string;
  readonly path: string;
  readonly as?: Who;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: unknown;
  /** Default 200. */
  readonly status?: number;
  /** Default 0. */
  readonly errCode?: number;
  /** The whole of `data`; undefined where there is none. */
  readonly data?: unknown;
}

const tokens = new Map<Who, string>();
beforeAll(async () => {
  tokens.set("admin", await server.adminToken());
  for (const who of ["ann", "bob"] as const) tokens.set(who, await server.userToken(who));
  await must("/group/create_group", {
    ownerUserID: "ann",
    memberUserIDs: ["bob"],
    groupInfo: { groupID: "quiet", groupName: "Quiet", groupType: 2 },
  });
  for (const data of ["1", "2", "3"]) await send({ sendUserID: "ann", recvUserID: "bob", data });
});

async function call({ path, as = "admin", headers, body }: Pick<Call, "path" | "as" | "headers" | "body">) {
  return server.post(path, body, tokens.get(as), headers);
}

async function must(path: string, body: object): Promise<unknown> {
  const { json } = await call({ path, body });
  expect(json).toMatchObject({ errCode: 0, errMsg: "", errDlt: "" });
  return json.data;
}

const send = (body: object) =>
  must("/msg/send_business_notification", { key: "order.paid", sendMsg: true, reliabilityLevel: 2, ...body });

function check(calls: readonly Call[]): void {
  test.each(calls)("$path: $what", async ({ status = 200, errCode = 0, data, ...request }) => {
    const answer = await call(request);
    expect([answer.status, answer.json.errCode]).toEqual([status, errCode]);
    expect(Object.keys(answer.json)).toEqual(["errCode", "errMsg", "errDlt", ...(data === undefined ? [] : ["data"])]);
    expect(answer.json.data).toEqual(data);
    expect(answer.headers.get("content-type")).toBe("application/json");
    // What a caller reads of a failure is there, and nothing of a success.
    expect([answer.json.errMsg !== "", answer.json.errDlt !== ""]).toEqual([errCode !== 0, errCode !== 0]);
  });
}

/** A row of get_all_conversations, all keys of OpenIM's in its order. */
function conversation(ownerUserID: string, conversationID: string, peer: { userID?: string; groupID?: string }) {
  return {
    ownerUserID,
    conversationID,
    recvMsgOpt: 0,
    conversationType: peer.groupID === undefined ? 1 : 3,
    userID: peer.userID ?? "",
    groupID: peer.groupID ?? "",
    isPinned: false,
    attachedInfo: "",
    isPrivateChat: false,
    groupAtType: 0,
    ex: "",
    burnDuration: 0,
    minSeq: 0,
    maxSeq: 0,
    msgDestructTime: 0,
    latestMsgDestructTime: 0,
    isMsgDestruct: false,
  };
}

const group = (owner: string) => conversation(owner, "sg_quiet", { groupID: "quiet" });
const ofBob = { conversations: [conversation("bob", "si_ann_bob", { userID: "ann" }), group("bob")] };

describe("conversations: a user's own, and any for an admin", () => {
  const path = "/conversation/get_all_conversations";
  check([
    { path, what: "an admin asks for a user", body: { ownerUserID: "bob" }, data: ofBob },
    { path, what: "a user asks for itself", as: "bob", body: { ownerUserID: "bob" }, data: ofBob },
    { path, what: "a key in another case", as: "bob", body: { OwnerUserId: "bob" }, data: ofBob },
    { path, what: "a user asks for another", as: "ann", body: { ownerUserID: "bob" }, errCode: 1002 },
    { path, what: "nobody named", body: {}, errCode: 1001 },
    { path, what: "an empty name", body: { ownerUserID: "" }, errCode: 1001 },
    { path, what: "a number for a name", body: { ownerUserID: 7 }, errCode: 1001 },
    { path, what: "no JSON", body: "{", errCode: 1001 },
    { path, what: "no token", as: "nobody", body: { ownerUserID: "bob" }, errCode: 1001 },
    // OpenIM: null.
    { path, what: "a user without any", body: { ownerUserID: "eve" }, data: { conversations: [] } },
  ]);

  test("a row has OpenIM's keys in their order", async () => {
    const { json } = await call({ path, body: { ownerUserID: "bob" } });
    const rows = json.data?.conversations as object[];
    expect(rows.map((row) => Object.keys(row))).toEqual(ofBob.conversations.map((row) => Object.keys(row)));
  });
});

/** A chat copy as OpenIM's MsgData: what was sent is in `content`, in base64. */
function message(seq: number) {
  const detail = JSON.stringify({ key: "order.paid", data: String(seq) });
  return {
    sendID: "ann",
    recvID: "bob",
    groupID: "",
    clientMsgID: expect.stringMatching(/^[0-9a-f]{32}$/),
    serverMsgID: expect.any(String),
    senderPlatformID: 0,
    senderNickname: "",
    senderFaceURL: "",
    sessionType: 1,
    msgFrom: 200,
    contentType: 2001,
    content: Buffer.from(JSON.stringify({ detail })).toString("base64"),
    seq,
    sendTime: expect.any(Number),
    createTime: expect.any(Number),
    status: 2,
    isRead: false,
    atUserIDList: [],
    attachedInfo: "",
    ex: "",
  };
}

const pulled = (seqs: number[], isEnd: boolean) => ({
  msgs: { si_ann_bob: { Msgs: seqs.map(message), isEnd, endSeq: seqs.at(-1) } },
});
const range = (begin: number, end: number, num: number, conversationID = "si_ann_bob") => ({
  userID: "bob",
  seqRanges: [{ conversationID, begin, end, num }],
});

describe("copies by their place", () => {
  const path = "/msg/pull_msg_by_seq";
  check([
    { path, what: "an admin for a user", body: range(1, 3, 10), data: pulled([1, 2, 3], true) },
    { path, what: "a user its own", as: "bob", body: range(1, 3, 10), data: pulled([1, 2, 3], true) },
    { path, what: "the newest num of a range", body: range(1, 3, 2), data: pulled([2, 3], true) },
    { path, what: "more of them follow", body: range(1, 2, 10), data: pulled([1, 2], false) },
    { path, what: "beyond the newest", body: range(2, 99, 10), data: pulled([2, 3], true) },
    { path, what: "backwards, with more before", body: { ...range(2, 3, 9), order: 1 }, data: pulled([2, 3], false) },
    { path, what: "backwards, to the first", body: { ...range(1, 2, 9), order: 1 }, data: pulled([1, 2], true) },
    // OpenIM: nothing.
    { path, what: "no num", body: range(1, 3, 0), data: pulled([1, 2, 3], true) },
    { path, what: "nothing there", body: range(9, 99, 10), data: {} },
    { path, what: "an unknown conversation", body: range(1, 9, 9, "si_bob_eve"), data: {} },
    { path, what: "what must reach", body: range(1, 9, 9, "n_ann_bob"), data: {} },
    { path, what: "a group's without any", body: range(1, 9, 9, "sg_quiet"), data: {} },
    { path, what: "no ranges", body: { userID: "bob" }, data: {} },
    { path, what: "what is not the user's", body: { ...range(1, 3, 10), userID: "eve" }, data: {} },
    { path, what: "another user's", as: "ann", body: range(1, 3, 10), errCode: 1002 },
    { path, what: "nobody named", body: { seqRanges: range(1, 3, 10).seqRanges }, errCode: 1001 },
    { path, what: "another order", body: { ...range(1, 3, 10), order: 2 }, errCode: 1001 },
    { path, what: "a conversation twice", body: twice(), errCode: 1001 },
    { path, what: "too many ranges", body: many(101), errCode: 1001 },
    { path, what: "as many as may be", body: many(100), data: {} },
  ]);

  function twice() {
    const { seqRanges } = range(1, 3, 10);
    return { userID: "bob", seqRanges: [...seqRanges, ...seqRanges] };
  }

  function many(count: number) {
    const seqRanges = Array.from({ length: count }, (_, i) => ({
      conversationID: `sg_${i}`,
      begin: 1,
      end: 9,
      num: 9,
    }));
    return { userID: "bob", seqRanges };
  }

  test("an answer that is full says of the rest that it was not looked at", async () => {
    const data = "x".repeat(200_000);
    const senders = Array.from({ length: 10 }, (_, i) => `bulk${i}`);
    for (const sendUserID of senders) {
      for (let i = 0; i < 6; i++) await send({ sendUserID, recvUserID: "zed", data, reliabilityLevel: 1 });
    }
    const seqRanges = senders.map((sender) => ({ conversationID: `si_${sender}_zed`, begin: 1, end: 6, num: 6 }));
    const { json } = await call({ path, body: { userID: "zed", seqRanges } });
    const msgs = json.data?.msgs as Record<string, { Msgs: unknown[]; isEnd: boolean; endSeq: number }>;
    const found = Object.values(msgs).map(({ Msgs, isEnd, endSeq }) => [Msgs.length, isEnd, endSeq]);
    expect(found).toHaveLength(10);
    expect(found.at(0)).toEqual([6, true, 6]);
    expect(found.at(-1)).toEqual([0, false, 0]);
  });
});

describe("what has been read", () => {
  const path = "/msg/mark_conversation_as_read";
  const conversationID = "si_ann_bob";
  const seqs = (hasReadSeq: number) => ({
    seqs: { si_ann_bob: { maxSeq: 3, hasReadSeq, maxSeqTime: expect.any(Number) } },
    pinnedConversationIDs: [],
  });
  const asked: Pick<Call, "path" | "body"> = {
    path: "/msg/get_conversations_has_read_and_max_seq",
    body: { userID: "bob", conversationIDs: [conversationID] },
  };
  // One after the other: each sees what those before it have done.
  check([
    { ...asked, what: "nothing yet", data: seqs(0) },
    { path, what: "a user its own", as: "bob", body: { userID: "bob", conversationID, hasReadSeq: 1, seqs: [1] } },
    { ...asked, what: "as marked", as: "bob", data: seqs(1) },
    { path, what: "an admin for a user", body: { userID: "bob", conversationID, hasReadSeq: 2 } },
    { path, what: "never back", body: { userID: "bob", conversationID, hasReadSeq: 1 } },
    { ...asked, what: "as marked by the admin", data: seqs(2) },
    { path, what: "another user's", as: "ann", body: { userID: "bob", conversationID, hasReadSeq: 3 }, errCode: 1002 },
    { path, what: "nobody named", body: { conversationID, hasReadSeq: 3 }, errCode: 1001 },
    { path, what: "no conversation", body: { userID: "bob", hasReadSeq: 3 }, errCode: 1001 },
    { path, what: "no place", body: { userID: "bob", conversationID }, errCode: 1001 },
    { path, what: "not the user's", body: { userID: "eve", conversationID, hasReadSeq: 1 }, errCode: 1004 },
    { path, what: "unknown", body: { userID: "bob", conversationID: "sg_none", hasReadSeq: 1 }, errCode: 1004 },
    { path, what: "of a group without any", body: { userID: "bob", conversationID: "sg_quiet", hasReadSeq: 1 } },
    // OpenIM keeps 99, and counts from there; here what comes next is unread.
    { path, what: "above the newest", body: { userID: "bob", conversationID, hasReadSeq: 99 } },
    { ...asked, what: "the newest", data: seqs(3) },
    { ...asked, what: "another user's", as: "ann", errCode: 1002 },
    { ...asked, what: "all of the user's", body: { userID: "bob" }, data: seqs(3) },
    { ...asked, what: "nobody named", body: {}, errCode: 1001 },
    // Maps are left out when they are empty, lists are not.
    { ...asked, what: "none", body: { userID: "eve" }, data: { pinnedConversationIDs: [] } },
  ]);
});

describe("users: any id is one", () => {
  const register = "/user/user_register";
  const online = "/user/get_users_online_status";
  const info = "/user/get_users_info";
  const user = (userID: string) => ({
    ...{ userID, nickname: userID, faceURL: "", ex: "", createTime: 0, appMangerLevel: 0, globalRecvMsgOpt: 0 },
  });
  const offline = (userID: string) => ({ userID, status: 0, detailPlatformStatus: [] });
  const ids = (count: number) => Array.from({ length: count }, (_, i) => `u${i}`);
  const users = (...userIDs: string[]) => ({
    users: userIDs.map((userID) => ({ userID, nickname: "N", faceURL: "f" })),
  });
  check([
    { path: register, what: "a new one", body: users("new") },
    // OpenIM: 1102.
    { path: register, what: "a known one", body: users("new") },
    { path: register, what: "as many as may be", body: users(...ids(1_000)) },
    { path: register, what: "too many", body: users(...ids(1_001)), errCode: 1001 },
    { path: register, what: "one twice", body: users("a", "a"), errCode: 1001 },
    { path: register, what: "none", body: {}, errCode: 1001 },
    { path: register, what: "an empty id", body: users(""), errCode: 1001 },
    { path: register, what: "no admin", as: "ann", body: users("new"), errCode: 1002 },
    {
      path: info,
      what: "any",
      as: "ann",
      body: { userIDs: ["ann", "x"] },
      data: { usersInfo: [user("ann"), user("x")] },
    },
    { path: info, what: "too many", body: { userIDs: ids(1_001) }, errCode: 1001 },
    { path: online, what: "offline", body: { userIDs: ["ann", "x"] }, data: [offline("ann"), offline("x")] },
    { path: online, what: "as many as may be", body: { userIDs: ids(1_000) }, data: ids(1_000).map(offline) },
    { path: online, what: "too many", body: { userIDs: ids(1_001) }, errCode: 1001 },
    { path: online, what: "none", body: {}, errCode: 1001 },
    { path: online, what: "no admin", as: "ann", body: { userIDs: ["ann"] }, errCode: 1002 },
    { path: online, what: "what does not bind", body: { userIDs: "ann" }, status: 400, errCode: 1001 },
    { path: register, what: "what does not bind", body: { users: "ann" }, errCode: 1001 },
  ]);
});

describe("groups", () => {
  const groupID = "orders";
  const texts = {
    notification: "Read this",
    introduction: "About orders",
    faceURL: "https://example.com/g.png",
    needVerification: 1,
    lookMemberInfo: 1,
    applyMemberFriend: 1,
  };
  /** All 17 keys of OpenIM's. */
  const info = (over: object = {}) => ({
    ...{ groupID, groupName: "Orders", ex: "x", groupType: 2, status: 0, memberCount: 3, ...texts },
    ...{ ownerUserID: "ann", creatorUserID: "imAdmin", createTime: expect.any(Number) },
    ...{ notificationUpdateTime: 0, notificationUserID: "", ...over },
  });
  /** All 12 keys of OpenIM's. */
  const member = (userID: string, roleLevel: number) => ({
    ...{ groupID, userID, roleLevel, joinTime: expect.any(Number) },
    ...{ nickname: "", faceURL: "", appMangerLevel: 0, joinSource: 0, operatorUserID: "", ex: "" },
    ...{ muteEndTime: 0, inviterUserID: "" },
  });
  const create = "/group/create_group";
  const groups = "/group/get_groups_info";
  const members = "/group/get_group_members_info";
  const list = "/group/get_group_member_list";
  const transfer = "/group/transfer_group";
  const joined = "/group/get_joined_group_list";
  const invite = "/group/invite_user_to_group";
  const kick = "/group/kick_group";
  const dismiss = "/group/dismiss_group";
  const orders = { groupID, groupName: "Orders", ex: "x", groupType: 2, ...texts };
  const owners = (oldOwnerUserID: string, newOwnerUserID: string) => ({ groupID, oldOwnerUserID, newOwnerUserID });
  const request = (over: object = {}) => ({
    ...{ ownerUserID: "ann", adminUserIDs: ["cem"], memberUserIDs: ["bob"] },
    groupInfo: { ...orders, ...over },
  });
  const page = (showNumber: number) => ({ groupID, pagination: { pageNumber: 1, showNumber } });
  const before = [member("ann", 100), member("cem", 60), member("bob", 20)];
  // One after the other: each sees what those before it have done.
  check([
    { path: create, what: "a user", as: "ann", body: request(), errCode: 1002 },
    { path: create, what: "another type", body: request({ groupType: 1 }), errCode: 1001 },
    { path: create, what: "too long a text", body: request({ introduction: "x".repeat(16_385) }), errCode: 1001 },
    { path: create, what: "too long a picture", body: request({ faceURL: "x".repeat(1_025) }), errCode: 1001 },
    { path: create, what: "what does not bind", body: { groupInfo: 7 }, errCode: 1001 },
    { path: create, what: "all that OpenIM keeps", body: request(), data: { groupInfo: info() } },
    { path: create, what: "an id that is taken", body: request(), errCode: 1202 },
    {
      path: groups,
      what: "what there is of them",
      body: { groupIDs: [groupID, "no"] },
      data: { groupInfos: [info()] },
    },
    { path: groups, what: "none", body: {}, errCode: 1001 },
    { path: groups, what: "too many", body: { groupIDs: Array(101).fill("g") }, errCode: 1001 },
    { path: groups, what: "a user", as: "ann", body: { groupIDs: [groupID] }, errCode: 1002 },
    {
      ...{ path: members, what: "those who are", body: { groupID, userIDs: ["eve", "bob", "ann"] } },
      data: { members: [member("bob", 20), member("ann", 100)] },
    },
    { path: members, what: "nobody named", body: { groupID }, errCode: 1001 },
    { path: members, what: "an unknown group", body: { groupID: "no", userIDs: ["ann"] }, errCode: 1004 },
    { path: members, what: "a user", as: "ann", body: { groupID, userIDs: ["ann"] }, errCode: 1002 },
    { path: list, what: "whole rows", body: page(5_000), data: { total: 3, members: before } },
    // OpenIM: any.
    { path: list, what: "too large a page", body: page(5_001), errCode: 1001 },
    // OpenIM: 1001.
    { path: list, what: "no page", body: { groupID }, data: { total: 3, members: before } },
    { path: joined, what: "a user its own", as: "bob", body: { fromUserID: "cem" }, errCode: 1002 },
    { path: joined, what: "an admin any", body: { fromUserID: "cem" }, data: { total: 1, groups: [info()] } },
    { path: transfer, what: "from who is not the owner", body: owners("bob", "cem"), errCode: 1001 },
    { path: transfer, what: "to a stranger", body: owners("ann", "eve"), errCode: 1001 },
    { path: transfer, what: "to oneself", body: owners("ann", "ann"), errCode: 1001 },
    { path: transfer, what: "nobody named", body: { groupID }, errCode: 1001 },
    { path: transfer, what: "an unknown group", body: { ...owners("ann", "bob"), groupID: "no" }, errCode: 1004 },
    { path: transfer, what: "a user", as: "ann", body: owners("ann", "bob"), errCode: 1002 },
    { path: transfer, what: "to a member", body: owners("ann", "bob") },
    { path: transfer, what: "again", body: owners("ann", "bob") },
    {
      ...{ path: list, what: "with the other owner", body: page(10) },
      data: { total: 3, members: [member("bob", 100), member("cem", 60), member("ann", 20)] },
    },
    {
      path: groups,
      what: "the owner",
      body: { groupIDs: [groupID] },
      data: { groupInfos: [info({ ownerUserID: "bob" })] },
    },
    {
      path: joined,
      what: "who was the owner",
      body: { fromUserID: "ann", pagination: page(1).pagination },
      data: expect.objectContaining({ total: 2 }),
    },
    { path: kick, what: "the owner", body: { groupID, kickedUserIDs: ["bob"] }, errCode: 1001 },
    { path: kick, what: "who was the owner", body: { groupID, kickedUserIDs: ["ann"] } },
    // OpenIM: 1101.
    { path: kick, what: "a stranger", body: { groupID, kickedUserIDs: ["ann"] } },
    { path: joined, what: "who was kicked", body: { fromUserID: "ann" }, data: expect.objectContaining({ total: 1 }) },
    { path: invite, what: "a new one", body: { groupID, invitedUserIDs: ["ann"], reason: "back" } },
    // OpenIM: 500 or 1003.
    { path: invite, what: "a member", body: { groupID, invitedUserIDs: ["ann"] } },
    { path: invite, what: "an unknown group", body: { groupID: "no", invitedUserIDs: ["ann"] }, errCode: 1004 },
    { path: dismiss, what: "a user", as: "ann", body: { groupID }, errCode: 1002 },
    { path: dismiss, what: "a group", body: { groupID } },
    { path: dismiss, what: "again", body: { groupID }, errCode: 1204 },
    { path: transfer, what: "a dismissed one", body: owners("bob", "cem"), errCode: 1204 },
    {
      path: groups,
      what: "a dismissed one",
      body: { groupIDs: [groupID] },
      data: { groupInfos: [info({ ownerUserID: "bob", status: 2 })] },
    },
    { path: members, what: "of a dismissed one", body: { groupID, userIDs: ["bob"] }, errCode: 1204 },
  ]);
});

describe("tokens", () => {
  const user = "/auth/get_user_token";
  const admin = "/auth/get_admin_token";
  const parse = "/auth/parse_token";
  const logout = "/auth/force_logout";
  const minted = { token: expect.any(String), expireTimeSeconds: 7_776_000 };
  const secret = testSecret;
  check([
    { path: admin, what: "the secret", as: "nobody", body: { secret, userID: "imAdmin" }, data: minted },
    { path: admin, what: "another", as: "nobody", body: { secret: "no", userID: "imAdmin" }, errCode: 1002 },
    { path: admin, what: "who is no admin", as: "nobody", body: { secret, userID: "ann" }, errCode: 1001 },
    { path: user, what: "a platform", body: { userID: "ann", platformID: 1 }, data: minted },
    // OpenIM: 1004.
    { path: user, what: "anybody", body: { userID: "who", platformID: 11 }, data: minted },
    { path: user, what: "the admin's platform", body: { userID: "ann", platformID: 10 }, errCode: 1002 },
    { path: user, what: "an admin", body: { userID: "imAdmin", platformID: 1 }, errCode: 1002 },
    // OpenIM takes these.
    { path: user, what: "no platform", body: { userID: "ann" }, errCode: 1001 },
    { path: user, what: "a platform that is none", body: { userID: "ann", platformID: 99 }, errCode: 1001 },
    { path: user, what: "by a user", as: "ann", body: { userID: "ann", platformID: 1 }, errCode: 1002 },
    { path: parse, what: "none", as: "nobody", body: { token: "no" }, errCode: 1503 },
    { path: logout, what: "a user", body: { userID: "gone", platformID: 1 } },
    { path: logout, what: "a platform that is none", body: { userID: "gone", platformID: 99 }, errCode: 1001 },
  ]);

  test("parse_token answers what is in one, in whole seconds", async () => {
    const body = { token: tokens.get("bob") };
    const { json } = await call({ path: parse, as: "nobody", body });
    expect(json.data).toEqual({ userID: "bob", platformID: 5, expireTimeSeconds: expect.any(Number) });
    expect(Number.isInteger(json.data?.expireTimeSeconds)).toBe(true);
    const [, claims = ""] = String(body.token).split(".");
    expect(JSON.parse(Buffer.from(claims, "base64url").toString())).toMatchObject({
      UserID: "bob",
      PlatformID: 5,
      iat: expect.toSatisfy(Number.isInteger),
      exp: json.data?.expireTimeSeconds,
    });
  });
});

describe("sends, and what comes before them", () => {
  const path = "/msg/send_business_notification";
  const body = { sendUserID: "imAdmin", recvUserID: "ann", key: "k", data: "d" };
  const accepted = {
    serverMsgID: expect.any(String),
    clientMsgID: expect.stringMatching(/^[0-9a-f]{32}$/),
    sendTime: expect.any(Number),
  };
  check([
    { path, what: "the documented body", body, data: accepted },
    {
      path,
      what: "names in any case",
      body: { SENDUSERID: "a", recvUserId: "b", KEY: "k", Data: "d" },
      data: accepted,
    },
    { path, what: "null for what is optional", body: { ...body, recvGroupID: null, sendMsg: null }, data: accepted },
    { path, what: "a level of 0", body: { ...body, reliabilityLevel: 0 }, data: accepted },
    { path, what: "a level of 2", body: { ...body, reliabilityLevel: 2 }, data: accepted },
    { path, what: "fields that are none", body: { ...body, other: 1 }, data: accepted },
    { path, what: "empty data", body: { ...body, data: "" }, data: accepted },
    // OpenIM takes these.
    { path, what: "a level of 3", body: { ...body, reliabilityLevel: 3 }, errCode: 1001 },
    { path, what: "no key", body: { ...body, key: undefined }, errCode: 1001 },
    { path, what: "no data", body: { ...body, data: undefined }, errCode: 1001 },
    { path, what: "a control character", body: { ...body, recvUserID: "a\u0007" }, errCode: 1001 },
    // As OpenIM.
    { path, what: "no receiver", body: { ...body, recvUserID: "" }, errCode: 1001 },
    { path, what: "two receivers", body: { ...body, recvGroupID: "quiet" }, errCode: 1001 },
    { path, what: "no sender", body: { ...body, sendUserID: undefined }, status: 400, errCode: 1001 },
    { path, what: "a level as a string", body: { ...body, reliabilityLevel: "2" }, status: 400, errCode: 1001 },
    { path, what: "no JSON", body: "no", status: 400, errCode: 1001 },
    { path, what: "an unknown group", body: { ...body, recvUserID: "", recvGroupID: "no" }, errCode: 1004 },
    { path, what: "a dismissed group", body: { ...body, recvUserID: "", recvGroupID: "orders" }, errCode: 1204 },
    { path, what: "no operationID, before all", body: "no", as: "nobody", headers: { operationID: "" }, errCode: 1001 },
    { path, what: "no token, before the body", body: "no", as: "nobody", errCode: 1001 },
    { path, what: "a token that is none", body, as: "nobody", headers: { token: "no" }, errCode: 1503 },
    { path, what: "a user, after the body", body, as: "ann", errCode: 1002 },
    { path, what: "a user with a bad body", body: { ...body, recvUserID: "" }, as: "ann", errCode: 1001 },
    // OpenIM: 400.
    { path, what: "a byte order mark", body: `\ufeff${JSON.stringify(body)}`, data: accepted },
    // OpenIM takes these.
    { path, what: "a second object", body: `${JSON.stringify(body)}{}`, status: 400, errCode: 1001 },
    {
      path,
      what: "a lone surrogate",
      body: '{"sendUserID":"a","recvUserID":"\\ud800","key":"k","data":"d"}',
      status: 400,
      errCode: 1001,
    },
    { path, what: "too long a key", body: { ...body, key: "k".repeat(1_025) }, errCode: 1001 },
    { path, what: "too much data", body: { ...body, data: "x".repeat(262_145) }, errCode: 1001 },
    { path, what: "as much data as may be", body: { ...body, data: "x".repeat(262_144) }, data: accepted },
    { path, what: "a level beyond all", body: { ...body, reliabilityLevel: 10 ** 12 }, status: 400, errCode: 1001 },
    { path, what: "a level of -1", body: { ...body, reliabilityLevel: -1 }, errCode: 1001 },
    { path, what: "too long an operationID", body, headers: { operationID: "o".repeat(257) }, errCode: 1001 },
    { path, what: "a header in another case", body, headers: { OPERATIONID: "o" }, data: accepted },
    { path, what: "any Content-Type", body, headers: { "content-type": "text/plain" }, data: accepted },
    { path: `${path}?a=b`, what: "a query", body, data: accepted },
    { path: "/auth/parse_token", what: "what does not bind", body: { token: 7 }, as: "nobody", errCode: 1001 },
  ]);

  test("a token may be a bearer's", async () => {
    const headers = { authorization: `Bearer ${tokens.get("admin")}` };
    expect((await call({ path, as: "nobody", headers, body })).json.data).toEqual(accepted);
  });

  test("a preflight is answered, and another method is not", async () => {
    const preflight = await fetch(`${server.url}${path}`, { method: "OPTIONS" });
    expect([preflight.status, await preflight.text()]).toEqual([200, '"Options Request!"']);
    const get = await fetch(`${server.url}${path}`);
    expect([get.status, get.headers.get("content-type")]).toEqual([404, expect.stringMatching(/^text\/plain/)]);
  });

  test.each(["/msg/send_msg", "/user/no", `${path}/`])("%s is not there", async (path) => {
    const response = await fetch(`${server.url}${path}`, {
      method: "POST",
      headers: { operationID: "op" },
      body: "{}",
    });
    expect([response.status, response.headers.get("content-type")]).toEqual([
      404,
      expect.stringMatching(/^text\/plain/),
    ]);
  });
});
