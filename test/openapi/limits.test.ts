import { type DescField, type DescMessage, ScalarType } from "@bufbuild/protobuf";
import { beforeAll, expect, test } from "vitest";
import { errorTable } from "../../src/errors.ts";
import type { JsonSchema } from "../../src/openapi/json-schema.ts";
import { alternatives, fieldLimits } from "../../src/openapi/limits.ts";
import { listRestRoutes } from "../../src/openapi/services.ts";
import { testSecret, useServer } from "../helpers/server.ts";

const server = useServer();
let admin: string;

beforeAll(async () => {
  admin = await server.adminToken();
});

const send = { sendUserID: "imAdmin", recvUserID: "alice", key: "k", data: "d", reliabilityLevel: 2 };
const group = { groupID: "unknown" };
const conversation = { conversationID: "si_alice_bob" };

/** Bodies in which nothing is wrong. */
const bodies: Readonly<Record<string, object>> = {
  "/msg/send_business_notification": send,
  "/msg/batch_send_business_notification": { notifications: [send] },
  "/msg/get_delivery_status": { clientMsgID: "unknown" },
  "/msg/recall_business_notification": { clientMsgID: "unknown" },
  "/msg/pull_messages": conversation,
  "/auth/get_user_token": { userID: "bob", platformID: 5 },
  "/auth/force_logout": { userID: "bob", platformID: 5 },
  "/msg/mark_as_read": { conversationID: "si_alice_imAdmin", hasReadSeq: 1 },
  "/conversation/get_all_conversations": { ownerUserID: "alice" },
  "/msg/pull_msg_by_seq": { userID: "alice", seqRanges: [] },
  "/msg/mark_conversation_as_read": { userID: "alice", ...conversation, hasReadSeq: 1 },
  "/msg/get_conversations_has_read_and_max_seq": { userID: "alice" },
  "/user/user_register": { users: [{ userID: "bob" }] },
  "/user/get_users_online_status": { userIDs: ["bob"] },
  "/auth/get_admin_token": { secret: testSecret, userID: "imAdmin" },
  "/auth/parse_token": { token: "none" },
  "/ack": { sequence: 1 },
  "/delivery/list_dead_letters": {},
  "/delivery/replay_dead_letters": { escalationIDs: ["a"] },
  "/group/create_group": { ownerUserID: "bob", groupInfo: { groupName: "Crew", groupType: 2 } },
  "/group/dismiss_group": group,
  "/group/invite_user_to_group": { ...group, invitedUserIDs: ["bob"] },
  "/group/kick_group": { ...group, kickedUserIDs: ["bob"] },
  "/group/transfer_group": { ...group, oldOwnerUserID: "alice", newOwnerUserID: "bob" },
  "/group/get_groups_info": { groupIDs: ["crew"] },
  "/group/get_group_members_info": { ...group, userIDs: ["bob"] },
  "/group/get_group_member_list": { ...group, pagination: {} },
  "/group/get_joined_group_list": { fromUserID: "bob", pagination: {} },
};

interface Limited {
  readonly path: string;
  /** The keys that lead to the field. */
  readonly keys: readonly string[];
  readonly limits: JsonSchema;
}

function findLimited(path: string, desc: DescMessage, keys: readonly string[] = []): Limited[] {
  return desc.fields.flatMap((field: DescField) => {
    const own = [...keys, field.jsonName];
    const limits = fieldLimits[`${desc.typeName}.${field.name}`];
    const inner = field.fieldKind === "message" ? findLimited(path, field.message, own) : [];
    return [...(limits === undefined ? [] : [{ path, keys: own, limits }]), ...inner];
  });
}

const limited = listRestRoutes().flatMap(({ path, method }) => findLimited(path, method.input));

/** A body with another value in one place. */
function replace(body: object, [key = "", ...keys]: readonly string[], value: unknown): object {
  const inner: unknown = Reflect.get(body, key);
  return { ...body, [key]: keys.length === 0 ? value : replace(Object(inner ?? {}), keys, value) };
}

/** Values just outside the limits. */
function outside({
  minimum,
  maximum,
  minLength,
  maxLength,
  pattern,
  minItems,
  maxItems,
  items,
}: JsonSchema): unknown[] {
  const values: unknown[] = [];
  if (minimum !== undefined) values.push(minimum - 1);
  if (maximum !== undefined) values.push(maximum + 1);
  if (minLength === 1) values.push("");
  if (maxLength !== undefined) values.push("x".repeat(maxLength + 1));
  if (pattern !== undefined) values.push("a\nb");
  if (minItems === 1) values.push([]);
  if (maxItems !== undefined) values.push(Array.from({ length: maxItems + 1 }, (_, i) => `u${i}`));
  if (items !== undefined) values.push(...outside(items).map((item) => [item]));
  return values;
}

test("the limits of all fields are looked at", () => {
  expect(Object.keys(bodies).toSorted()).toEqual([...new Set(limited.map(({ path }) => path))].toSorted());
});

test.each(limited.map((one) => [`${one.path} ${one.keys.join(".")}`, one] as const))(
  "%s refuses what is outside its limits, and for that",
  async (_, { path, keys, limits }) => {
    const body = bodies[path] ?? {};
    for (const value of outside(limits)) {
      const { json } = await server.post(path, replace(body, keys, value), admin);
      const label = `${JSON.stringify(value).slice(0, 40)}: ${json.errDlt}`;
      expect([json.errCode, label]).toEqual([errorTable.ArgsError.errCode, label]);
    }
  },
);

test.each(Object.entries(alternatives))("of the alternatives of %s exactly one is given", async (name, fields) => {
  const { path, method } = listRestRoutes().find((one) => one.method.input.typeName === name) ?? expect.fail(name);
  const values = method.input.fields
    .filter((field) => fields.includes(field.name))
    .map((field) => [field.jsonName, field.fieldKind === "list" ? ["a"] : field.scalar === ScalarType.BOOL || "a"]);
  expect(values).toHaveLength(fields.length);
  const others = Object.entries(bodies[path] ?? {}).filter(([key]) => values.every(([jsonName]) => key !== jsonName));
  const errorsOf = async (given: unknown[][]) => {
    const { json } = await server.post(path, Object.fromEntries([...others, ...given]), admin);
    return json.errCode === errorTable.ArgsError.errCode ? json.errDlt : "";
  };
  const refused = /exactly one of|at the same time|either|cannot be set with/;
  expect(await errorsOf([])).toMatch(refused);
  expect(await errorsOf(values)).toMatch(refused);
  for (const one of values) expect(await errorsOf([one])).not.toMatch(refused);
});

test.each(Object.entries(bodies))("%s takes what is within", async (path, body) => {
  const { json } = await server.post(path, body, admin);
  // Nobody has a sequence, and there is no webhook.
  const known = ["/ack", "/delivery/replay_dead_letters"].includes(path);
  expect([json.errCode === errorTable.ArgsError.errCode, json.errDlt]).toEqual([known, json.errDlt]);
  for (const { keys, limits } of limited.filter((one) => one.path === path)) {
    if (limits.maxLength === undefined || limits.maxLength > 1_024) continue;
    const { json } = await server.post(path, replace(body, keys, "x".repeat(limits.maxLength)), admin);
    expect(json.errDlt).not.toMatch(/must be 1 to \d+ bytes/);
  }
});
