import { beforeAll, expect, test } from "vitest";
import { errorTable } from "../../src/errors.ts";
import type { toAsyncApi } from "../../src/openapi/asyncapi.ts";
import type { JsonSchema } from "../../src/openapi/json-schema.ts";
import type { toOpenApi } from "../../src/openapi/openapi.ts";
import { useEvents } from "../helpers/events.ts";
import { type Compare, schemasOf } from "../helpers/schemas.ts";
import { testSecret, useServer } from "../helpers/server.ts";

const server = useServer();
const openEvents = useEvents();
let document: ReturnType<typeof toOpenApi>;
let compare: Compare;

beforeAll(async () => {
  document = await (await fetch(`${server.adminUrl}/openapi.json`)).json();
  compare = schemasOf(document);
});

const send = { sendUserID: "imAdmin", recvUserID: "alice", key: "k", data: "d", reliabilityLevel: 2, sendMsg: true };
const group = { groupID: "crew" };
const conversation = { conversationID: "si_alice_imAdmin" };
const alice = { userID: "alice" };

/** A body for each path, that is answered with a success; in this order, as a user of its own where it says so. */
const bodies: Readonly<Record<string, object | ((token: string) => object)>> = {
  "/auth/get_admin_token": { secret: testSecret, userID: "imAdmin" },
  "/auth/get_user_token": { ...alice, platformID: 5 },
  "/auth/parse_token": (token) => ({ token }),
  "/events/ticket": {},
  "/group/create_group": {
    ownerUserID: "alice",
    memberUserIDs: ["bob"],
    groupInfo: { ...group, groupName: "Crew", groupType: 2 },
  },
  "/group/invite_user_to_group": { ...group, invitedUserIDs: ["carol"] },
  "/group/get_groups_info": { groupIDs: ["crew"] },
  "/group/get_group_members_info": { ...group, userIDs: ["bob"] },
  "/group/get_group_member_list": { ...group, pagination: { pageNumber: 1, showNumber: 10 } },
  "/group/get_joined_group_list": { fromUserID: "bob", pagination: { pageNumber: 1, showNumber: 10 } },
  "/group/transfer_group": { ...group, oldOwnerUserID: "alice", newOwnerUserID: "bob" },
  "/group/kick_group": { ...group, kickedUserIDs: ["carol"] },
  "/group/dismiss_group": group,
  "/msg/send_business_notification": { ...send, clientMsgID: "one" },
  "/msg/batch_send_business_notification": { notifications: [send, { ...send, recvUserID: "imAdmin" }, { key: "k" }] },
  "/msg/get_delivery_status": { clientMsgID: "one" },
  "/msg/get_conversations": {},
  "/msg/pull_messages": conversation,
  "/msg/mark_as_read": { ...conversation, hasReadSeq: 1 },
  "/msg/recall_business_notification": { clientMsgID: "one" },
  "/msg/pull_msg_by_seq": { ...alice, seqRanges: [{ ...conversation, begin: 1, end: 9, num: 9 }] },
  "/msg/mark_conversation_as_read": { ...alice, ...conversation, hasReadSeq: 1 },
  "/msg/get_conversations_has_read_and_max_seq": { ...alice },
  "/conversation/get_all_conversations": { ownerUserID: "alice" },
  "/user/user_register": { users: [{ userID: "bob", nickname: "Bob" }] },
  "/user/get_users_online_status": { userIDs: ["alice"] },
  "/user/get_users_info": { userIDs: ["alice"] },
  "/delivery/list_dead_letters": {},
};

/** What cannot be answered with a success here, and with what it is. */
const refused: Readonly<Record<string, { readonly body: object; readonly errCode: number }>> = {
  // There is no webhook.
  "/delivery/replay_dead_letters": { body: { all: true }, errCode: 1001 },
};

/** The schema of what a path answers with a status. */
function answerSchema(path: string, status: number): JsonSchema {
  const responses: Record<number, { content: Record<"application/json", { schema: JsonSchema }> }> =
    document.paths[path]?.post.responses ?? expect.fail(`${path} is not in the document`);
  return responses[status]?.content["application/json"].schema ?? expect.fail(`${path} does not answer ${status}`);
}

test("each path answers as the document says, and what each sends is what it says", async () => {
  const admin = await server.adminToken();
  // The sequence of the acknowledgement is that of what was sent.
  const others = Object.keys(document.paths).filter((path) => !(path in bodies) && !(path in refused));
  const paths = [...Object.keys(bodies), ...others.filter((path) => !["/ack", "/auth/force_logout"].includes(path))];
  for (const path of paths) {
    const body = bodies[path] ?? {};
    const content = typeof body === "function" ? body(admin) : body;
    const { status, json, headers } = await server.post(path, content, admin);
    expect({ path, status, errCode: json.errCode, errDlt: json.errDlt }).toEqual({
      ...{ path, status: 200, errCode: 0, errDlt: "" },
    });
    expect({ path, wrong: compare(answerSchema(path, 200), json) }).toEqual({ path, wrong: [] });
    const request = document.paths[path]?.post.requestBody.content["application/json"].schema ?? {};
    if (!JSON.stringify(content).includes('{"key":"k"}')) {
      expect({ path, wrong: compare(request, content) }).toEqual({ path, wrong: [] });
    }
    const declared = Object.keys(document.paths[path]?.post.responses[200].headers ?? {}).map((one) =>
      one.toLowerCase(),
    );
    const ours = [...headers.keys()].filter((name) => /^(?:mustreach-|operationid|retry-after)/.test(name));
    expect(declared).toEqual(expect.arrayContaining(ours));
  }
  for (const [path, { body, errCode }] of Object.entries(refused)) {
    const { json } = await server.post(path, body, admin);
    expect({ path, errCode: json.errCode }).toEqual({ path, errCode });
    expect(compare(answerSchema(path, 200), json)).toEqual([]);
  }
  const stream = await openEvents("1.1", server.url, "/events?start=all", { token: await server.userToken("alice") });
  const asyncApi: ReturnType<typeof toAsyncApi> = await (await fetch(`${server.adminUrl}/asyncapi.json`)).json();
  const compareEvent = schemasOf(asyncApi);
  const seen = new Set<string>();
  let place = "";
  while (!["ready", "notification", "message"].every((name) => seen.has(name))) {
    const event = (await stream.next()) ?? expect.fail("the stream ended");
    const { event: name = "" } = event;
    seen.add(name);
    place = event.id || place;
    const { payload } = Reflect.get(asyncApi.channels.events.messages, name) as { payload: object };
    expect({ event, wrong: compareEvent(payload, JSON.parse(event.data ?? "")) }).toEqual({ event, wrong: [] });
  }
  const [epoch = "", sequence] = place.split(".");
  const ack = await server.post("/ack", { sequence: Number(sequence), epoch }, await server.userToken("alice"));
  expect(ack.json.errCode).toBe(0);
  expect(compare(answerSchema("/ack", 200), ack.json)).toEqual([]);
  const logout = await server.post("/auth/force_logout", { ...alice, platformID: 5 }, admin);
  expect(compare(answerSchema("/auth/force_logout", 200), logout.json)).toEqual([]);
});

test("each path refuses as the document says: without a token where it asks for one, without a body, without an operation id", async () => {
  const admin = await server.adminToken();
  for (const [path, { post }] of Object.entries(document.paths)) {
    const anonymous = await server.post(path, {});
    if (post.security.length > 0) expect(anonymous.json.errCode, path).toBe(errorTable.ArgsError.errCode);
    const garbled = await server.post(path, "{", admin);
    const unnamed = await server.post(path, {}, admin, { operationID: "" });
    expect(unnamed.json.errCode, path).toBe(errorTable.ArgsError.errCode);
    for (const { status, json } of [anonymous, garbled, unnamed]) {
      expect({ path, wrong: compare(answerSchema(path, status), json) }).toEqual({ path, wrong: [] });
    }
  }
});
