import { type DescField, type DescMessage, fromJson, type JsonValue, ScalarType } from "@bufbuild/protobuf";
import { createValidator } from "@bufbuild/protovalidate";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { beforeAll, expect, test } from "vitest";
import { errorTable } from "../../src/errors.ts";
import {
  DeliveryService,
  type ReceiveRequest,
  ReceiveRequestSchema,
} from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { ReportService, WatchReportsRequestSchema } from "../../src/gen/mustreach/msg/v1/report_pb.ts";
import type { JsonSchema } from "../../src/openapi/json-schema.ts";
import { alternativesOf, limitsOf } from "../../src/openapi/limits.ts";
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
  "/msg/pull_msg_by_seq": { userID: "alice", seqRanges: [conversation] },
  "/msg/mark_conversation_as_read": { userID: "alice", ...conversation, hasReadSeq: 1 },
  "/msg/get_conversations_has_read_and_max_seq": { userID: "alice" },
  "/user/user_register": { users: [{ userID: "bob" }] },
  "/user/get_users_online_status": { userIDs: ["bob"] },
  "/user/get_users_info": { userIDs: ["bob"] },
  "/msg/pull_reports": {},
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
  /** The request. */
  readonly input: DescMessage;
  /** The keys that lead to the field. */
  readonly keys: readonly string[];
  readonly limits: JsonSchema;
}

function findLimited(path: string, input: DescMessage, desc = input, keys: readonly string[] = []): Limited[] {
  return desc.fields.flatMap((field: DescField) => {
    const own = [...keys, field.jsonName];
    const limits = limitsOf(field);
    const inner = field.fieldKind === "message" ? findLimited(path, input, field.message, own) : [];
    return [...(Object.keys(limits).length === 0 ? [] : [{ path, input, keys: own, limits }]), ...inner];
  });
}

const limited = listRestRoutes().flatMap(({ path, method }) => findLimited(path, method.input));

/** What anybody checks who goes by the annotations. */
const validator = createValidator();
const isValid = (desc: DescMessage, json: object) =>
  validator.validate(desc, fromJson(desc, json as JsonValue, { ignoreUnknownFields: true })).kind === "valid";

/** A body with another value in one place. */
function replace(body: object, [key = "", ...keys]: readonly string[], value: unknown): object {
  const inner: unknown = Reflect.get(body, key);
  return { ...body, [key]: keys.length === 0 ? value : replace(Object(inner ?? {}), keys, value) };
}

/** Values just outside the limits; `sample` is an item within, of a list. */
function outside(limits: JsonSchema, sample: unknown): unknown[] {
  const { minimum, maximum, minLength, maxLength, pattern, minItems, maxItems, items, uniqueItems } = limits;

  const values: unknown[] = [];
  if (minimum !== undefined) values.push(minimum - 1);
  if (maximum !== undefined) values.push(maximum + 1);
  if (minLength === 1) values.push("");
  if (maxLength !== undefined) values.push("x".repeat(maxLength + 1));
  if (pattern !== undefined) values.push("a\nb");
  if (minItems === 1) values.push([]);
  if (uniqueItems) values.push(["twice", "twice"]);
  if (maxItems !== undefined) values.push(Array.from({ length: maxItems + 1 }, (_, i) => another(sample, `u${i}`)));
  if (items !== undefined) values.push(...outside(items, "").map((item) => [item]));
  return values;
}

/** An item like another, with an id of its own. */
function another(sample: unknown, id: string): unknown {
  return typeof sample === "object" ? { ...sample, userID: id, conversationID: id } : id;
}

test("the limits of all fields are looked at", () => {
  expect(Object.keys(bodies).toSorted()).toEqual([...new Set(limited.map(({ path }) => path))].toSorted());
});

test.each(limited.map((one) => [`${one.path} ${one.keys.join(".")}`, one] as const))(
  "%s refuses what is outside its limits, and for that",
  async (_, { path, input, keys, limits }) => {
    const body = bodies[path] ?? {};
    const [sample] = [Reflect.get(body, keys[0] ?? "")].flat();
    for (const value of outside(limits, sample)) {
      const wrong = replace(body, keys, value);
      expect(isValid(input, wrong)).toBe(false);
      const { json } = await server.post(path, wrong, admin);
      const label = `${JSON.stringify(value).slice(0, 40)}: ${json.errDlt}`;
      expect([json.errCode, label]).toEqual([errorTable.ArgsError.errCode, label]);
    }
  },
);

const withAlternatives = listRestRoutes().filter(({ method }) => alternativesOf(method.input).length > 0);

test.each(withAlternatives)("of the alternatives of $path exactly one is given", async ({ path, method }) => {
  const fields = alternativesOf(method.input);
  const values = method.input.fields
    .filter((field) => fields.includes(field.name))
    .map((field) => [field.jsonName, field.fieldKind === "list" ? ["a"] : field.scalar === ScalarType.BOOL || "a"]);
  expect(values).toHaveLength(fields.length);
  const others = Object.entries(bodies[path] ?? {}).filter(([key]) => values.every(([jsonName]) => key !== jsonName));
  const errorsOf = async (given: unknown[][]) => {
    const body = Object.fromEntries([...others, ...given]);
    expect(isValid(method.input, body)).toBe(given.length === 1);
    const { json } = await server.post(path, body, admin);
    return json.errCode === errorTable.ArgsError.errCode ? json.errDlt : "";
  };
  const refused = /exactly one of|at the same time|either|cannot be set with/;
  expect(await errorsOf([])).toMatch(refused);
  expect(await errorsOf(values)).toMatch(refused);
  for (const one of values) expect(await errorsOf([one])).not.toMatch(refused);
});

test.each(Object.entries(bodies))("%s takes what is within", async (path, body) => {
  const { json } = await server.post(path, body, admin);
  const { method } = listRestRoutes().find((route) => route.path === path) ?? expect.fail(path);
  expect(isValid(method.input, body)).toBe(true);
  // Nobody has a sequence, and there is no webhook.
  const known = ["/ack", "/delivery/replay_dead_letters"].includes(path);
  expect([json.errCode === errorTable.ArgsError.errCode, json.errDlt]).toEqual([known, json.errDlt]);
  for (const { keys, limits } of limited.filter((one) => one.path === path)) {
    if (limits.maxLength === undefined || limits.maxLength > 1_024) continue;
    const { json } = await server.post(path, replace(body, keys, "x".repeat(limits.maxLength)), admin);
    expect(json.errDlt).not.toMatch(/must be 1 to \d+ bytes/);
  }
});

/** What a device says with each of its messages, and nothing is wrong in it. */
const says: Readonly<Record<string, object>> = {
  subscribe: {},
  acknowledge: { sequence: 1 },
  changeWindow: {},
  pause: {},
};

test.each(
  ReceiveRequestSchema.fields
    .flatMap(({ jsonName, message = expect.fail(jsonName) }) => findLimited(jsonName, message))
    .map((one) => [`${one.path}.${one.keys.join(".")}`, one] as const),
)("a device's %s is refused outside its limits, too", async (_, { path, keys, limits }) => {
  const delivery = createClient(DeliveryService, createGrpcTransport({ baseUrl: server.url }));
  const headers = { token: await server.userToken("carol") };
  for (const value of outside(limits, "")) {
    const json = { [path]: replace(says[path] ?? {}, keys, value) as JsonValue };
    const last = fromJson(ReceiveRequestSchema, json);
    expect(isValid(ReceiveRequestSchema, json)).toBe(false);
    const requests = async function* (): AsyncGenerator<ReceiveRequest> {
      if (path !== "subscribe") yield fromJson(ReceiveRequestSchema, { subscribe: { deviceId: "phone" } });
      yield last;
    };
    expect(await failureOf(delivery.receive(requests(), { headers }))).toBe(Code.InvalidArgument);
    if (last.request.case !== "subscribe") continue;
    expect(await failureOf(delivery.subscribe(last.request.value, { headers }))).toBe(Code.InvalidArgument);
  }
});

test("so is who watches reports", async () => {
  const reports = createClient(ReportService, createGrpcTransport({ baseUrl: server.url }));
  const watched = findLimited("", WatchReportsRequestSchema);
  expect(watched).not.toEqual([]);
  for (const { keys, limits } of watched) {
    for (const value of outside(limits, "")) {
      const request = fromJson(WatchReportsRequestSchema, replace({}, keys, value) as JsonValue);
      expect(await failureOf(reports.watchReports(request, { headers: { token: admin } }))).toBe(Code.InvalidArgument);
    }
  }
});

async function failureOf(stream: AsyncIterable<unknown>): Promise<Code | undefined> {
  try {
    for await (const _ of stream);
    return undefined;
  } catch (error) {
    return ConnectError.from(error).code;
  }
}
