import { createHmac } from "node:crypto";
import { type DescMethodUnary, fromJson, type JsonObject, type Message } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient, type Transport } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport } from "@connectrpc/connect-node";
import { credentials, Client as GrpcClient, Metadata, type ServiceError } from "@grpc/grpc-js";
import { afterEach, beforeAll, describe, expect, test } from "vitest";
import { toErrorFacts } from "../../src/errors.ts";
import { ErrorInfoSchema } from "../../src/gen/google/rpc/error_details_pb.ts";
import { AuthService } from "../../src/gen/mustreach/auth/v1/auth_pb.ts";
import { DeliveryService } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { MsgService } from "../../src/gen/mustreach/msg/v1/msg_pb.ts";
import { useServer } from "../helpers/server.ts";

const secret = "the-token-secret-of-this-test-file";
const server = useServer({ TOKEN_SECRET: secret, ACCESS_LOG: "all" });

/** What can be called, at its REST path and as an RPC. */
const calls = {
  send: { path: "/msg/send_business_notification", method: MsgService.method.sendBusinessNotification },
  getAdminToken: { path: "/auth/get_admin_token", method: AuthService.method.getAdminToken },
  getUserToken: { path: "/auth/get_user_token", method: AuthService.method.getUserToken },
  parseToken: { path: "/auth/parse_token", method: AuthService.method.parseToken },
  forceLogout: { path: "/auth/force_logout", method: AuthService.method.forceLogout },
} satisfies Record<string, { path: string; method: DescMethodUnary }>;

/** A body of each that is accepted from an admin. */
const good: Record<keyof typeof calls, JsonObject> = {
  send: { sendUserID: "imAdmin", recvUserID: "alice", key: "order.paid", data: "{}", reliabilityLevel: 2 },
  getAdminToken: { secret, userID: "imAdmin" },
  getUserToken: { userID: "alice", platformID: 5 },
  parseToken: { token: "" },
  forceLogout: { userID: "nobody", platformID: 5 },
};

/** The envelope of an error. */
interface Answer {
  readonly errCode: number;
  readonly errMsg: string;
  readonly errDlt: string;
}

// --- the error table ------------------------------------------------------------------------------------------------

/** What each code is called, and its code in gRPC and Connect. */
const codes: Readonly<Record<number, readonly [errMsg: string, code: Code]>> = {
  1001: ["ArgsError", Code.InvalidArgument],
  1002: ["NoPermissionError", Code.PermissionDenied],
  1003: ["DuplicateKeyError", Code.AlreadyExists],
  1004: ["RecordNotFoundError", Code.NotFound],
  1204: ["DismissedAlreadyError", Code.FailedPrecondition],
  1501: ["TokenExpiredError", Code.Unauthenticated],
  1503: ["TokenMalformedError", Code.Unauthenticated],
  1504: ["TokenNotValidYetError", Code.Unauthenticated],
  1505: ["TokenUnknownError", Code.Unauthenticated],
  1506: ["TokenKickedError", Code.Unauthenticated],
  1601: ["ConnOverMaxNumLimit", Code.ResourceExhausted],
  90004: ["NetworkError", Code.Unavailable],
};

/** A wrong input, and what it is answered. */
type Row = readonly [what: string, errCode: number, errDlt: string | RegExp, change: JsonObject];

const noRecipient = "recvUserID and recvGroupID cannot be empty at the same time";
const twoRecipients = "recvUserID and recvGroupID cannot be set at the same time";
const long = "x".repeat(1_025);
const data256KiB = "x".repeat(262_144);

/** Sends by an admin: a good body with this change, where `null` is absent. */
// biome-ignore format: a table is read by column
const wrongSends: Row[] = [
  // what is wrong                         errCode  errDlt                        change of the body
  ["no recipient",                            1001, noRecipient,                  { recvUserID: null }],
  ["an empty recipient",                      1001, noRecipient,                  { recvUserID: "", recvGroupID: "" }],
  ["two recipients",                          1001, twoRecipients,                { recvGroupID: "team" }],
  ["no sender",                               1001, /sendUserID/,                 { sendUserID: null }],
  ["an empty sender",                         1001, /sendUserID/,                 { sendUserID: "" }],
  ["a sender that is too long",               1001, /sendUserID.*1024 bytes/,     { sendUserID: long }],
  ["a control character in the sender",       1001, /sendUserID.*control/,        { sendUserID: "a\u0000b" }],
  ["a recipient that is too long",            1001, /recvUserID.*1024 bytes/,     { recvUserID: long }],
  ["a recipient that is so in UTF-8 only",    1001, /recvUserID.*1024 bytes/,     { recvUserID: "日".repeat(342) }],
  ["a line break in the recipient",           1001, /recvUserID.*control/,        { recvUserID: "alice\r\n" }],
  ["a NUL in the recipient",                  1001, /recvUserID.*control/,        { recvUserID: "alice\u0000" }],
  ["DEL in the recipient",                    1001, /recvUserID.*control/,        { recvUserID: "\u007f" }],
  ["a group id that is too long",             1001, /recvGroupID.*1024 bytes/,    { recvUserID: "", recvGroupID: long }],
  ["a control character in the group id",     1001, /recvGroupID.*control/,       { recvUserID: "", recvGroupID: "a\tb" }],
  ["no key",                                  1001, /key/,                        { key: null }],
  ["an empty key",                            1001, /key/,                        { key: "" }],
  ["a key that is too long",                  1001, /key.*1024 bytes/,            { key: long }],
  ["a control character in the key",          1001, /key.*control/,               { key: "order\u0001paid" }],
  ["no data",                                 1001, /data.*required/,             { data: null }],
  ["data of one byte too many",               1001, /data.*262145.*262144/,       { data: `${data256KiB}x` }],
  ["data that has them in UTF-8 only",        1001, /data.*262148.*262144/,       { data: "😀".repeat(65_537) }],
  ["reliabilityLevel 3",                      1001, /reliabilityLevel/,           { reliabilityLevel: 3 }],
  ["reliabilityLevel -1",                     1001, /reliabilityLevel/,           { reliabilityLevel: -1 }],
  ["reliabilityLevel 99",                     1001, /reliabilityLevel/,           { reliabilityLevel: 99 }],
  ["a clientMsgID that is too long",          1001, /clientMsgID.*256 bytes/,     { clientMsgID: "x".repeat(257) }],
  ["a control character in the clientMsgID",  1001, /clientMsgID.*control/,       { clientMsgID: "a\u0000" }],
  ["a ttl longer than the retention",         1001, /ttlSeconds.*604800/,         { ttlSeconds: 7 * 86_400 + 1 }],
  ["a negative ttl",                          1001, /ttlSeconds/,                 { ttlSeconds: -1 }],
  ["a ttl of what is not stored",             1001, /ttlSeconds.*Level 2/,        { reliabilityLevel: 1, ttlSeconds: 60 }],
  ["a sendAt before the epoch",               1001, /sendAt/,                     { sendAt: -1 }],
  ["a sendAt that is too far ahead",          1001, /sendAt/,                     { sendAt: Date.now() + 400 * 86_400_000 }],
  ["a sendAt of what is not stored",          1001, /sendAt.*Level 2/,            { reliabilityLevel: 1, sendAt: 1 }],
  ["a negative escalation delay",             1001, /escalationDelaySeconds/,     { escalationDelaySeconds: -1 }],
  ["an escalation delay beyond a day",        1001, /escalationDelaySeconds/,     { escalationDelaySeconds: 86_401 }],
  ["an id used for another body",             1003, /clientMsgID/,                { clientMsgID: "used", data: "another" }],
  ["an id used for another recipient",        1003, /clientMsgID/,                { clientMsgID: "used", recvUserID: "mallory" }],
  ["a group that does not exist",             1004, /group/,                      { recvUserID: "", recvGroupID: "nobody" }],
  ["a group of a wildcard",                   1004, /group/,                      { recvUserID: "", recvGroupID: "*" }],
  ["a group that was dismissed",              1204, /group/,                      { recvUserID: "", recvGroupID: "dismissed" }],
];

/** Calls of AuthService by an admin: a good body with this change. */
// biome-ignore format: a table is read by column
const wrongAuthCalls: (readonly [call: keyof typeof calls, ...Row])[] = [
  // call             what is wrong                      errCode  errDlt                  change of the body
  ["getAdminToken",   "a wrong secret",                     1002, /secret/,               { secret: "openIM123" }],
  ["getAdminToken",   "no secret",                          1002, /secret/,               { secret: null }],
  ["getAdminToken",   "a user that is not an admin",        1001, /userID.*admin/,        { userID: "alice" }],
  ["getAdminToken",   "no user",                            1001, /userID/,               { userID: null }],
  ["getUserToken",    "no user",                            1001, /userID/,               { userID: "" }],
  ["getUserToken",    "a user id that is too long",         1001, /userID.*1024 bytes/,   { userID: long }],
  ["getUserToken",    "a NUL in the user id",               1001, /userID.*control/,      { userID: "a\u0000" }],
  ["getUserToken",    "no platform",                        1001, /platformID/,           { platformID: null }],
  ["getUserToken",    "an unknown platform",                1001, /platformID/,           { platformID: 12 }],
  ["getUserToken",    "the platform of admins",             1002, /platformID/,           { platformID: 10 }],
  ["getUserToken",    "an admin's user id",                 1002, /userID/,               { userID: "openIMAdmin" }],
  ["parseToken",      "no token",                           1001, /token/,                { token: "" }],
  ["parseToken",      "no JWT",                             1503, /JWT/,                  { token: "abc" }],
  ["forceLogout",     "no user",                            1001, /userID/,               { userID: "" }],
  ["forceLogout",     "platform 0",                         1001, /platformID/,           { platformID: 0 }],
  ["forceLogout",     "platform 12",                        1001, /platformID/,           { platformID: 12 }],
];

const now = Math.floor(Date.now() / 1_000);
const claims = { UserID: "imAdmin", PlatformID: 10, exp: now + 3_600, iat: now - 5 };
const hs256 = { alg: "HS256", typ: "JWT" };

/** Calls with this token. */
// biome-ignore format: a table is read by column
const wrongTokens: (readonly [what: string, errCode: number, errDlt: string | RegExp, token: string])[] = [
  // what is wrong                         errCode  errDlt                        token
  ["an empty token",                          1001, "header must have token",     ""],
  ["an expired one",                          1501, /expired/,                    sign(hs256, { ...claims, exp: now - 1 })],
  ["no JWT",                                  1503, /JWT/,                        "eyJhbxxxx3Xs"],
  ["two parts of a JWT",                      1503, /JWT/,                        withoutSignature(sign(hs256, claims))],
  ["a JWT that is too long",                  1503, /8 KiB/,                      sign(hs256, { ...claims, more: "x".repeat(8_192) })],
  ["no UserID",                               1503, /UserID/,                     sign(hs256, { ...claims, UserID: undefined })],
  ["a NUL in the UserID",                     1503, /UserID/,                     sign(hs256, { ...claims, UserID: "imAdmin\u0000" })],
  ["no exp",                                  1503, /exp/,                        sign(hs256, { ...claims, exp: undefined })],
  ["one that is not valid yet",               1504, /not valid yet/,              sign(hs256, { ...claims, nbf: now + 3_600 })],
  ["one from the future",                     1504, /future/,                     sign(hs256, { ...claims, iat: now + 3_600 })],
  ["a signature by another secret",           1505, /signature/,                  sign(hs256, claims, "openIM123")],
  ["that, and expired",                       1505, /signature/,                  sign(hs256, { ...claims, exp: now - 1 }, "openIM123")],
  ["an empty signature",                      1505, /signature/,                  `${withoutSignature(sign(hs256, claims))}.`],
  ["alg none",                                1505, /algorithm/,                  `${withoutSignature(sign({ alg: "none" }, claims))}.`],
  ["alg HS512",                               1505, /algorithm/,                  sign({ alg: "HS512" }, claims)],
  ["alg RS256 without a JWKS",                1505, /algorithm/,                  sign({ alg: "RS256" }, claims)],
];

/** Bodies that do not fit the method, over REST. */
// biome-ignore format: a table is read by column
const wrongBodies: [what: string, body: string][] = [
  ["nothing",                         ""],
  ["no JSON",                         "hello"],
  ["JSON that is cut off",            '{"sendUserID":'],
  ["a list",                          "[]"],
  ["null",                            "null"],
  ["a number as data",                bodyWith({ data: 77 })],
  ["an object as data",               bodyWith({ data: { id: 77 } })],
  ["a number as recvUserID",          bodyWith({ recvUserID: 2839678182 })],
  ["a text as reliabilityLevel",      bodyWith({ reliabilityLevel: "2" })],
  ["a fraction as reliabilityLevel",  bodyWith({ reliabilityLevel: 2.5 })],
  ["a text as sendMsg",               bodyWith({ sendMsg: "true" })],
];

/** Subscribe requests of a user. */
// biome-ignore format: a table is read by column
const wrongSubscribes: Row[] = [
  // what is wrong                         errCode  errDlt                        SubscribeRequest
  ["a device id that is too long",            1001, /device_id.*256 bytes/,       { deviceId: "x".repeat(257) }],
  ["a control character in the device id",    1001, /device_id.*control/,         { deviceId: "a\u0000" }],
  ["a negative window",                       1001, /window.*1000/,               { window: -1 }],
  ["a window that is too large",              1001, /window.*1000/,               { window: 1_001 }],
  ["an unknown start",                        1001, /start/,                      { start: 4 }],
  ["a negative start",                        1001, /start/,                      { start: -1 }],
];

/** Ack requests of a user. */
// biome-ignore format: a table is read by column
const wrongAcks: Row[] = [
  // what is wrong                         errCode  errDlt                        AckRequest
  ["no sequence",                             1001, /sequence/,                   { deviceId: "phone" }],
  ["sequence 0",                              1001, /sequence/,                   { deviceId: "phone", sequence: "0" }],
  ["one that was never assigned",             1001, /never assigned/,             { deviceId: "phone", sequence: "1000000000" }],
  ["the largest there is",                    1001, /never assigned/,             { deviceId: "phone", sequence: "18446744073709551615" }],
  ["a device id that is too long",            1001, /device_id.*256 bytes/,       { deviceId: "x".repeat(257), sequence: "1" }],
  ["a control character in the device id",    1001, /device_id.*control/,         { deviceId: "a\nb", sequence: "1" }],
];

// --- how it is run --------------------------------------------------------------------------------------------------

let grpc: Transport;
let admin: string;

beforeAll(async () => {
  grpc = createGrpcTransport({ baseUrl: server.url });
  admin = await server.adminToken();
  await rest("send", { ...good.send, clientMsgID: "used" }, { token: admin });
  const groupInfo = { groupID: "dismissed", groupName: "", groupType: 2 };
  for (const [path, body] of [
    ["/group/create_group", { ownerUserID: "owner", groupInfo }],
    ["/group/dismiss_group", { groupID: "dismissed" }],
  ] as const) {
    expect((await server.post(path, body, admin)).json).toMatchObject({ errCode: 0 });
  }
});

/** A JWT, signed by hand with HMAC-SHA256 whatever its header says. */
function sign(header: object, payload: object, key = secret): string {
  const encode = (part: object) => Buffer.from(JSON.stringify(part)).toString("base64url");
  const input = `${encode(header)}.${encode(payload)}`;
  return `${input}.${createHmac("sha256", key).update(input).digest("base64url")}`;
}

/** The tokens of a request. */
function tokensOf({ token, authorization }: Record<string, string>, body: JsonObject | string): string[] {
  const inBody = typeof body === "string" ? /eyJ[\w.-]+/.exec(body)?.[0] : body.token;
  return [token ?? "", authorization ?? "", typeof inBody === "string" ? inBody : ""];
}

/** A header and a payload. */
function withoutSignature(token: string): string {
  return token.split(".").slice(0, 2).join(".");
}

function bodyWith(by: JsonObject): string {
  return JSON.stringify({ ...good.send, ...by });
}

/** The body without what is null in the change. */
function change(body: JsonObject, by: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries({ ...body, ...by }).filter(([, value]) => value !== null));
}

async function rest(call: keyof typeof calls, body: JsonObject | string, headers: Record<string, string> = {}) {
  const response = await fetch(`${server.url}${calls[call].path}`, {
    method: "POST",
    headers: { operationID: "1646445464564", ...headers },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });
  const text = await response.text();
  requireClean(text + JSON.stringify([...response.headers]), tokensOf(headers, body));
  expect(response.headers.get("content-type")).toBe("application/json");
  const answer: Answer = JSON.parse(text);
  if (answer.errCode !== 0) expect(Object.keys(answer)).toEqual(["errCode", "errMsg", "errDlt"]);
  return { status: response.status, answer };
}

async function rpc(call: keyof typeof calls, body: JsonObject, headers: Record<string, string> = {}) {
  const method: DescMethodUnary = calls[call].method;
  const message = fromJson(method.input, body) as Message;
  const thrown = await failureOf(grpc.unary(method, undefined, undefined, headers, message));
  return factsOf(thrown, tokensOf(headers, body));
}

async function failureOf(calling: Promise<unknown>): Promise<ConnectError> {
  return calling.then(
    () => expect.fail("it was accepted"),
    (error: unknown) => ConnectError.from(error),
  );
}

/** The error as an RPC caller reads it: from the ErrorInfo detail alone. */
function factsOf(error: ConnectError, sent: readonly string[] = []) {
  const [info, ...others] = error.findDetails(ErrorInfoSchema);
  expect(others).toEqual([]);
  expect(info, `ErrorInfo of ${error.message}`).toMatchObject({ domain: "mustreach" });
  const { errCode, errMsg, errDlt, ...more } = info?.metadata ?? {};
  expect(more).toEqual({});
  requireClean(`${error.rawMessage} ${JSON.stringify(info?.metadata)} ${JSON.stringify([...error.metadata])}`, sent);
  return { code: error.code, answer: { errCode: Number(errCode), errMsg, errDlt } };
}

/** An answer holds no stack, and no token or secret. */
function requireClean(text: string, tokens: readonly (string | undefined)[] = []): void {
  expect(text).not.toMatch(/\bat (\S+ \()?(file:|node:|\/)|node_modules|\.ts:\d|\/src\//);
  expect(text).not.toContain(secret);
  for (const part of tokens.flatMap((token) => (token ?? "").split("."))) {
    if (part.length >= 8) expect(text).not.toContain(part);
  }
}

/** The answer of a row, and its code over gRPC. */
function answerOf(errCode: number, errDlt: string | RegExp) {
  const [errMsg, code] = codes[errCode] ?? expect.fail(`${errCode} has no name`);
  return {
    code,
    answer: { errCode, errMsg, errDlt: typeof errDlt === "string" ? errDlt : expect.stringMatching(errDlt) },
  };
}

/** The answer to a bad token: without one it is 1001 in OpenIM's words, and over gRPC Unauthenticated as the others. */
function answerToToken(errCode: number, errDlt: string | RegExp) {
  return { ...answerOf(errCode, errDlt), code: Code.Unauthenticated };
}

describe("SendBusinessNotification over REST and gRPC alike", () => {
  test.each(wrongSends)("%s: %i", async (_what, errCode, errDlt, by) => {
    const { code, answer } = answerOf(errCode, errDlt);
    const body = change(good.send, by);
    expect((await rest("send", body, { token: admin })).answer).toEqual(answer);
    expect(await rpc("send", body, { token: admin })).toEqual({ code, answer });
  });

  test("a token that is not an admin's: 1002", async () => {
    const { code, answer } = answerOf(1002, "only app manager can send message");
    const token = await server.userToken("alice");
    expect(await rest("send", good.send, { token })).toEqual({ status: 200, answer });
    expect(await rpc("send", good.send, { token })).toEqual({ code, answer });
  });
});

describe("AuthService over REST and gRPC alike", () => {
  test.each(wrongAuthCalls)("%s with %s: %i", async (call, _what, errCode, errDlt, by) => {
    const { code, answer } = answerOf(errCode, errDlt);
    const body = change(good[call], by);
    expect(await rest(call, body, { token: admin })).toEqual({ status: 200, answer });
    expect(await rpc(call, body, { token: admin })).toEqual({ code, answer });
  });

  test.each(["getUserToken", "forceLogout"] as const)("%s by a user: 1002", async (call) => {
    const { code, answer } = answerOf(1002, /only an admin/);
    const token = await server.userToken("alice");
    expect(await rest(call, good[call], { token })).toEqual({ status: 200, answer });
    expect(await rpc(call, good[call], { token })).toEqual({ code, answer });
  });
});

describe("tokens over REST and gRPC alike", () => {
  test.each(wrongTokens)("%s: %i", async (_what, errCode, errDlt, token) => {
    const { code, answer } = answerToToken(errCode, errDlt);
    expect(await rest("send", good.send, { token })).toEqual({ status: 200, answer });
    expect(await rpc("send", good.send, { token })).toEqual({ code, answer });
    if (token === "") return;
    const authorization = `Bearer ${token}`;
    expect(await rest("send", good.send, { authorization })).toEqual({ status: 200, answer });
    expect(await rpc("send", good.send, { authorization })).toEqual({ code, answer });
    expect(await rest("parseToken", { token })).toEqual({ status: 200, answer });
    expect(await rpc("parseToken", { token })).toEqual({ code, answer });
  });

  test.each(["send", "getUserToken", "forceLogout"] as const)("none for %s: 1001", async (call) => {
    const { code, answer } = answerToToken(1001, "header must have token");
    expect(await rest(call, good[call])).toEqual({ status: 200, answer });
    expect(await rpc(call, good[call])).toEqual({ code, answer });
  });

  test("one of a user that was logged out: 1506", async () => {
    const { code, answer } = answerOf(1506, /revoked/);
    const token = await server.userToken("kicked", 5);
    await rest("forceLogout", { userID: "kicked", platformID: 5 }, { token: admin });
    expect(await rest("send", good.send, { token })).toEqual({ status: 200, answer });
    expect(await rpc("send", good.send, { token })).toEqual({ code, answer });
  });

  test("one that is no ASCII is a bad token, not a fault", async () => {
    expect((await rest("send", good.send, { token: "\u00e9\u00ff" })).answer.errCode).toBe(1503);
  });
});

describe("what does not decode is 1001", () => {
  test.each(wrongBodies)("over REST, with HTTP 400: %s", async (_, body) => {
    const { answer } = answerOf(1001, /./);
    expect(await rest("send", body, { token: admin })).toEqual({ status: 400, answer });
  });

  test("over REST under /auth/, with HTTP 200 as in OpenIM", async () => {
    expect(await rest("getUserToken", "{", { token: admin })).toMatchObject({ status: 200, answer: { errCode: 1001 } });
  });

  test("over REST, a body with a token in it is not repeated", async () => {
    const { answer } = await rest("parseToken", `{"token": ${sign(hs256, claims)}}`);
    expect(answer).toMatchObject({ errCode: 1001 });
  });

  test.each([
    ["a lone surrogate in the recipient", '{"sendUserID":"imAdmin","recvUserID":"a\\ud800","key":"k","data":""}'],
    ["a lone surrogate in the key", '{"sendUserID":"imAdmin","recvUserID":"alice","key":"\\udc00","data":""}'],
    ["a lone surrogate in data", '{"sendUserID":"imAdmin","recvUserID":"alice","key":"k","data":"\\ud800x"}'],
    ["a lone surrogate in the id", '{"sendUserID":"a","recvUserID":"b","key":"k","data":"","clientMsgID":"\\udfff"}'],
  ])("over REST and Connect's JSON: %s", async (_, body) => {
    expect((await rest("send", body, { token: admin })).answer).toMatchObject({ errCode: 1001, errMsg: "ArgsError" });
    const response = await fetch(`${server.url}/mustreach.msg.v1.MsgService/SendBusinessNotification`, {
      method: "POST",
      headers: { "content-type": "application/json", token: admin },
      body,
    });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ code: "invalid_argument" });
  });

  // Replaced by U+FFFD they would be another user's id.
  test.each([
    ["recipient", "recvUserID"],
    ["data", "data"],
  ])("over REST: bytes in the %s that are not UTF-8", async (_, field) => {
    const [before, after] = JSON.stringify({ ...good.send, [field]: "#" }).split("#");
    const response = await fetch(`${server.url}${calls.send.path}`, {
      method: "POST",
      headers: { operationID: "op", token: admin },
      body: Buffer.concat([Buffer.from(before ?? ""), Buffer.from([0xff]), Buffer.from(after ?? "")]),
    });
    expect({ status: response.status, answer: await response.json() }).toMatchObject({
      status: 400,
      answer: { errCode: 1001 },
    });
  });

  describe("over gRPC", () => {
    /** Sends bytes as they are. */
    async function sendBytes(bytes: Buffer): Promise<ServiceError> {
      const client = new GrpcClient(server.url.replace("http://", ""), credentials.createInsecure());
      const metadata = new Metadata();
      metadata.set("token", admin);
      try {
        return await new Promise((resolve, reject) => {
          const path = "/mustreach.msg.v1.MsgService/SendBusinessNotification";
          const same = (value: Buffer) => value;
          client.makeUnaryRequest(path, same, same, bytes, metadata, (error) =>
            error === null ? reject(new Error("it was accepted")) : resolve(error),
          );
        });
      } finally {
        client.close();
      }
    }

    /** `recv_user_id` (2) or `data` (5) of these bytes, after a sender and before a key. */
    const messageWith = (field: 2 | 5, bytes: number[]) =>
      Buffer.concat([
        Buffer.from([0x0a, 1, 0x61, (field << 3) | 2, bytes.length, ...bytes]),
        Buffer.from([0x22, 1, 0x6b]),
        field === 2 ? Buffer.from([0x2a, 1, 0x64]) : Buffer.from([0x12, 1, 0x62]),
      ]);

    const undecodable: [what: string, bytes: Buffer][] = [
      ["no message", Buffer.from("hello, I am no protobuf")],
      ["a message that is cut off", Buffer.from([0x0a, 100, 0x61])],
      ["a recipient that is not UTF-8", messageWith(2, [0xff])],
      ["a recipient with a lone surrogate", messageWith(2, [0xed, 0xa0, 0x80])],
      ["data that is not UTF-8", messageWith(5, [0xff])],
    ];
    test.each(undecodable)("%s is refused", async (_, bytes) => {
      const error = await sendBytes(bytes);
      requireClean(`${error.details} ${JSON.stringify(error.metadata.toJSON())}`, [admin]);
    });
  });
});

describe("too large to be read is 1001", () => {
  const tooLarge = "x".repeat(9_000_000);

  test("over REST, with HTTP 413", async () => {
    const { status, answer } = await rest("send", { ...good.send, data: tooLarge }, { token: admin });
    expect(status).toBe(413);
    expect(answer).toMatchObject({ errCode: 1001, errMsg: "ArgsError", errDlt: expect.stringContaining("bytes") });
  });

  test("over gRPC", async () => {
    const method: DescMethodUnary = calls.send.method;
    const message = fromJson(method.input, { ...good.send, data: tooLarge }) as Message;
    const thrown = await failureOf(grpc.unary(method, undefined, undefined, { token: admin }, message));
    expect(toErrorFacts(thrown)).toMatchObject({ errCode: 1001, errMsg: "ArgsError" });
  });
});

describe("operationID", () => {
  test("absent or empty over REST: 1001", async () => {
    const { answer } = answerOf(1001, "header must have operationID");
    for (const operationID of ["", " "]) {
      expect(await rest("send", good.send, { token: admin, operationID })).toEqual({ status: 200, answer });
    }
    const response = await fetch(`${server.url}${calls.send.path}`, { method: "POST", headers: { token: admin } });
    expect(await response.json()).toEqual(answer);
  });

  test("too long over REST and gRPC: 1001", async () => {
    const { code, answer } = answerOf(1001, /operationID/);
    const headers = { token: admin, operationID: "x".repeat(257) };
    expect(await rest("send", good.send, headers)).toEqual({ status: 200, answer });
    expect(await rpc("send", good.send, headers)).toEqual({ code, answer });
  });
});

describe.each([
  ["gRPC", () => createGrpcTransport({ baseUrl: server.url })],
  ["Connect", () => createConnectTransport({ baseUrl: server.url, httpVersion: "1.1" })],
])("DeliveryService over %s", (name, connect) => {
  const open: AbortController[] = [];
  afterEach(() => {
    for (const stream of open.splice(0)) stream.abort();
  });

  const subscribe = (request: JsonObject, token: string) => {
    const stream = new AbortController();
    open.push(stream);
    const message = fromJson(DeliveryService.method.subscribe.input, request);
    const events = createClient(DeliveryService, connect()).subscribe(message, {
      headers: { token },
      signal: stream.signal,
    });
    return events[Symbol.asyncIterator]();
  };
  const ack = (request: JsonObject, token: string) => {
    const method = DeliveryService.method.ack;
    return connect().unary(method, undefined, undefined, { token }, fromJson(method.input, request));
  };

  test.each(wrongSubscribes)("Subscribe with %s: %i", async (_what, errCode, errDlt, request) => {
    const token = await server.userToken("alice");
    expect(factsOf(await failureOf(subscribe(request, token).next()))).toEqual(answerOf(errCode, errDlt));
  });

  test.each(wrongAcks)("Ack of %s: %i", async (_what, errCode, errDlt, request) => {
    expect(factsOf(await failureOf(ack(request, await server.userToken("alice"))))).toEqual(answerOf(errCode, errDlt));
  });

  test.each(wrongTokens)("a token: %s: %i", async (_what, errCode, errDlt, token) => {
    expect(factsOf(await failureOf(subscribe({}, token).next()), [token])).toEqual(answerToToken(errCode, errDlt));
    expect(factsOf(await failureOf(ack({ sequence: "1" }, token)), [token])).toEqual(answerToToken(errCode, errDlt));
  });

  test("a session whose user is logged out ends with 1506", async () => {
    const userID = `logged-out-${name}`;
    const events = subscribe({}, await server.userToken(userID, 5));
    expect((await events.next()).value?.event.case).toBe("ready");
    await rest("forceLogout", { userID, platformID: 5 }, { token: admin });
    expect(factsOf(await failureOf(events.next()))).toEqual(answerOf(1506, /revoked/));
  });
});

describe("a broker that does not answer, and no room for another session", () => {
  const small = useServer({ SEND_TIMEOUT: "1s", MAX_SESSIONS: "1", PARTITIONS: "1" });
  const streams = new AbortController();
  const brokerPid = () => small.brokerPid() ?? expect.fail("there is no embedded broker");
  afterEach(() => {
    process.kill(brokerPid(), "SIGCONT");
    streams.abort();
  });

  test("a session too many is refused with 1601", async () => {
    const delivery = createClient(DeliveryService, createGrpcTransport({ baseUrl: small.url }));
    const open = async (user: string) =>
      delivery
        .subscribe({}, { headers: { token: await small.userToken(user) }, signal: streams.signal })
        [Symbol.asyncIterator]();
    const first = await open("alice");
    expect((await first.next()).value?.event.case).toBe("ready");
    expect(factsOf(await failureOf((await open("bob")).next()))).toEqual(answerOf(1601, /maximum of 1/));
  });

  test("a must-reach send is 90004 over REST and gRPC, and can be sent again under its id", async () => {
    const token = await small.adminToken();
    const body = { ...good.send, recvUserID: "dave", clientMsgID: "again" };
    const transport = createGrpcTransport({ baseUrl: small.url });
    const method: DescMethodUnary = calls.send.method;
    process.kill(brokerPid(), "SIGSTOP");
    const [overRest, overGrpc] = await Promise.all([
      small.post(calls.send.path, body, token),
      failureOf(transport.unary(method, undefined, undefined, { token }, fromJson(method.input, body) as Message)),
    ]);
    process.kill(brokerPid(), "SIGCONT");
    const { code, answer } = answerOf(90004, /broker/);
    expect({ status: overRest.status, answer: overRest.json }).toEqual({ status: 200, answer });
    expect(factsOf(overGrpc, [token])).toEqual({ code, answer });
    requireClean(JSON.stringify(overRest.json), [token]);
    const again = await small.post(calls.send.path, body, token);
    expect(again.json).toMatchObject({ errCode: 0 });
    expect((await small.post(calls.send.path, body, token)).json).toEqual(again.json);
  });
});

test("after all this no token or secret is in the log, and every refusal is logged with its operationID", async () => {
  const lines = server.log.map((line) => JSON.stringify(line));
  for (const [, , , token] of wrongTokens) {
    const signature = token.split(".")[2] ?? "";
    if (signature !== "") expect(lines.filter((line) => line.includes(signature))).toEqual([]);
  }
  expect(lines.filter((line) => line.includes(secret) || line.includes(admin))).toEqual([]);
  const refusals = server.log.filter(({ msg }) => msg === "call refused");
  expect(refusals.length).toBeGreaterThan(wrongSends.length);
  for (const refusal of refusals) expect(refusal).toMatchObject({ operationID: expect.stringMatching(/./) });
});
