import { execFile } from "node:child_process";
import { createHmac } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { beforeAll, describe, expect, test, vi } from "vitest";
import { useDevices } from "../helpers/device.ts";
import { useServer } from "../helpers/server.ts";

const secret = "the-token-secret-of-this-test-file";
const server = useServer({ TOKEN_SECRET: secret, ACCESS_LOG: "all" });
const openDevice = useDevices();
const path = "/msg/send_business_notification";
let admin: string;

beforeAll(async () => {
  admin = await server.adminToken();
});

/** Runs curl as it is installed. */
async function curl(...args: string[]) {
  const format = "\n%{http_code} %{content_type}";
  const { stdout } = await promisify(execFile)("curl", ["-sS", "--max-time", "20", "-w", format, ...args]);
  const end = stdout.lastIndexOf("\n");
  const [, status, contentType] = /^(\d+) (.*)$/.exec(stdout.slice(end + 1)) ?? [];
  return { status: Number(status), contentType, body: stdout.slice(0, end) };
}

interface PostOptions {
  readonly to?: string;
  readonly token?: string;
  readonly headers?: Record<string, string>;
}

/** Posts with an admin's token and an operation id. */
async function post(body: object | string, { to = path, token = admin, headers = {} }: PostOptions = {}) {
  const response = await fetch(`${server.url}${to}`, {
    method: "POST",
    headers: { operationID: "op-1", ...(token === "" ? {} : { token }), ...headers },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });
  const text = await response.text();
  return { status: response.status, headers: response.headers, text, json: JSON.parse(text) };
}

const good = { sendUserID: "imAdmin", recvUserID: "alice", key: "order.paid", data: "{}" };

/** A token as an OpenIM server mints it: Go's claims, whole seconds, and `iat` five seconds ago. */
function mintAsOpenIm(userId: string, platformId: number): string {
  const encode = (json: string) => Buffer.from(json).toString("base64url");
  const now = Math.floor(Date.now() / 1_000);
  const claims = `{"UserID":${JSON.stringify(userId)},"PlatformID":${platformId},"exp":${now + 7_776_000},"iat":${now - 5}}`;
  const input = `${encode('{"alg":"HS256","typ":"JWT"}')}.${encode(claims)}`;
  return `${input}.${createHmac("sha256", secret).update(input).digest("base64url")}`;
}

/** The request parameters example of OpenIM's documentation, as it stands there. */
const documentedExample = `{
  "sendUserID": "openIMAdmin",
  "recvUserID": "2839678182",
  "recvGroupID": "",
  "key": "xxx",
  "data": "xxxxxx",
  "sendMsg": false,
  "reliabilityLevel": 1
}`;

/** The success response example, with ids and time of its own. */
const documentedResponse =
  /^\{"errCode":0,"errMsg":"","errDlt":"","data":\{"serverMsgID":"[0-9a-f]{32}","clientMsgID":"[0-9a-f]{32}","sendTime":\d{13}\}\}$/;

describe("the documented example, pasted into curl", () => {
  const headers = () => ["-H", "operationID: 1646445464564", "-H", `token: ${admin}`];

  test.each<[what: string, args: string[]]>([
    ["as it stands", ["-d", documentedExample]],
    ["as JSON", ["-H", "Content-Type: application/json", "-d", documentedExample]],
    ["as JSON with a charset", ["-H", "Content-Type: application/json; charset=utf-8", "-d", documentedExample]],
    ["over HTTP/2", ["--http2-prior-knowledge", "-d", documentedExample]],
    ["with an upgrade to HTTP/2 offered", ["--http2", "-d", documentedExample]],
    ["in chunks", ["-H", "Transfer-Encoding: chunked", "-d", documentedExample]],
    ["at level 2", ["-d", documentedExample.replace('"reliabilityLevel": 1', '"reliabilityLevel": 2')]],
    ["without what is optional", ["-d", '{"sendUserID":"a","recvUserID":"b","key":"k","data":"d"}']],
  ])("%s is answered with the documented response", async (_, args) => {
    const beganMs = Date.now();
    const { status, contentType, body } = await curl("-X", "POST", `${server.url}${path}`, ...headers(), ...args);
    expect({ status, contentType }).toEqual({ status: 200, contentType: "application/json" });
    expect(body).toMatch(documentedResponse);
    const { sendTime } = JSON.parse(body).data;
    expect(sendTime).toBeGreaterThanOrEqual(beganMs);
    expect(sendTime).toBeLessThanOrEqual(Date.now());
  });

  test("reaches the device that it is for", async () => {
    const device = openDevice(server.url, await server.userToken("2839678182"));
    const session = await device.subscribe();
    await curl("-X", "POST", `${server.url}${path}`, ...headers(), "-d", documentedExample);
    expect(await session.take(1)).toMatchObject([
      { sendUserId: "openIMAdmin", recvUserId: "2839678182", recvGroupId: "", key: "xxx", data: "xxxxxx" },
    ]);
  });
});

describe("the response", () => {
  test("carries what is not documented in headers", async () => {
    expect((await post({ ...good, reliabilityLevel: 2 })).headers.get("mustreach-durability")).toBe("FSYNCED");
    expect((await post({ ...good, reliabilityLevel: 1 })).headers.get("mustreach-durability")).toBe("NONE");
  });

  test("gives the caller's own clientMsgID back", async () => {
    expect((await post({ ...good, clientMsgID: "order-77" })).json.data.clientMsgID).toBe("order-77");
  });

  test("of an error is HTTP 200 with the envelope, and without data", async () => {
    const { status, headers, text } = await post({ ...good, recvUserID: "", recvGroupID: "nobody" });
    expect(status).toBe(200);
    expect(headers.get("content-type")).toBe("application/json");
    expect(text).toMatch(/^\{"errCode":1004,"errMsg":"RecordNotFoundError","errDlt":"[^"]+"\}$/);
  });

  test("repeats the operationID, whether it is good or bad news", async () => {
    for (const operationID of ["1646445464564", "a b/c=d", "日本".normalize()]) {
      const sent = Buffer.from(operationID).toString("latin1");
      const headers = { operationID: sent };
      expect((await post(good, { headers })).headers.get("operationid")).toBe(sent);
      expect((await post({}, { headers })).headers.get("operationid")).toBe(sent);
      expect((await post(good, { headers, token: "x" })).headers.get("operationid")).toBe(sent);
    }
  });

  test("and its log line have the same operationID", async () => {
    await post(good, { headers: { operationID: "find-me" } });
    // Here and elsewhere: the line is written once the answer is.
    await vi.waitFor(() =>
      expect(server.log).toContainEqual(expect.objectContaining({ operationID: "find-me", msg: "call answered" })),
    );
  });
});

describe("the body", () => {
  test("may have null and empty for what is optional, and unknown keys", async () => {
    const body = { ...good, recvGroupID: null, sendMsg: null, reliabilityLevel: null, offlinePushInfo: { title: "t" } };
    expect((await post(body)).json.errCode).toBe(0);
  });

  test("may have data of the largest size with every character escaped", async () => {
    const { json } = await post(JSON.stringify({ ...good, data: "#" }).replace("#", "\\u0000".repeat(262_144)));
    expect(json.errCode).toBe(0);
  });

  test("that is too large is 413, and curl can read why", async () => {
    const file = join(server.dataDir, "large.json");
    await writeFile(file, JSON.stringify({ ...good, data: "x".repeat(9_000_000) }));
    const request = ["-X", "POST", `${server.url}${path}`, "-H", "operationID: 1", "-H", `token: ${admin}`];
    for (const more of [[], ["-H", "Expect:"], ["-H", "Transfer-Encoding: chunked"], ["--http2-prior-knowledge"]]) {
      const { status, contentType, body } = await curl(...request, "--data-binary", `@${file}`, ...more);
      expect({ status, contentType }).toEqual({ status: 413, contentType: "application/json" });
      expect(JSON.parse(body)).toEqual({ errCode: 1001, errMsg: "ArgsError", errDlt: expect.stringMatching(/bytes/) });
    }
  });

  test("that is large and not wanted is not waited for, and curl can read why", async () => {
    const file = join(server.dataDir, "large.json");
    await writeFile(file, JSON.stringify({ ...good, data: "x".repeat(9_000_000) }));
    const request = ["-X", "POST", `${server.url}${path}`, "-H", "operationID: 1", "-H", "token: x"];
    for (const more of [[], ["-H", "Expect:"], ["--http2-prior-knowledge"]]) {
      const { status, body } = await curl(...request, "--data-binary", `@${file}`, ...more);
      expect(status).toBe(200);
      expect(JSON.parse(body)).toMatchObject({ errCode: 1503 });
    }
  });

  test("leaves the connection usable whatever is wrong with it", async () => {
    const url = `${server.url}${path}`;
    const headers = ["-H", "operationID: 1", "-H", `token: ${admin}`];
    const part = (body: string) => ["-X", "POST", url, ...headers, "-d", body, "-o", "-", "-w", " %{num_connects}\n"];
    const { stdout } = await promisify(execFile)("curl", [
      "-sS",
      ...part("{"),
      "--next",
      "-sS",
      ...part(`{"data":"${"x".repeat(100_000)}"}`),
      "--next",
      "-sS",
      ...part(JSON.stringify(good)),
    ]);
    const answers = stdout.trim().split("\n");
    expect(answers.map((line) => line.split(" ").at(-1))).toEqual(["1", "0", "0"]);
    expect(answers.at(-1)).toContain('"errCode":0');
  });
});

describe("the checks come in OpenIM's order", () => {
  // biome-ignore format: a table is read by column
  const rows: [what: string, errDlt: RegExp, status: number, headers: Record<string, string>, body: string][] = [
    // what is checked          errDlt                            status  headers                                       body
    ["the operationID",         /^header must have operationID$/,    200, {},                                           "{"],
    ["that a token is there",   /^header must have token$/,          200, { operationID: "1" },                         "{"],
    ["that it is valid",        /JWT/,                               200, { operationID: "1", token: "x" },             "{"],
    ["that the body parses",    /JSON/,                              400, { operationID: "1", token: "a user's" },      "{"],
    ["that its arguments are",  /key/,                               200, { operationID: "1", token: "a user's" },      '{"sendUserID":"a","recvUserID":"b"}'],
    ["that it is an admin",     /^only app manager can send/,        200, { operationID: "1", token: "a user's" },      '{"sendUserID":"a","recvGroupID":"nobody","key":"k","data":""}'],
    ["that the group is there", /group/,                             200, { operationID: "1", token: "an admin's" },    '{"sendUserID":"a","recvGroupID":"nobody","key":"k","data":""}'],
  ];
  test.each(rows)("%s", async (_, errDlt, status, headers, body) => {
    const tokens: Record<string, string> = { "a user's": await server.userToken("alice"), "an admin's": admin };
    const token = tokens[headers.token ?? ""] ?? headers.token;
    const response = await fetch(`${server.url}${path}`, {
      method: "POST",
      headers: { ...headers, ...(token === undefined ? {} : { token }) },
      body,
    });
    expect(response.status).toBe(status);
    expect((await response.json()) as object).toMatchObject({ errDlt: expect.stringMatching(errDlt) });
  });
});

describe("a token is taken", () => {
  test.each<[what: string, headers: (token: string) => Record<string, string>]>([
    ["from the header token", (token) => ({ token })],
    ["from authorization", (token) => ({ authorization: `Bearer ${token}` })],
    ["whatever the case of the scheme", (token) => ({ authorization: `bearer ${token}` })],
    ["from authorization when token is empty", (token) => ({ token: "", authorization: `Bearer ${token}` })],
    ["from token rather than from authorization", (token) => ({ token, authorization: "Bearer x" })],
  ])("%s", async (_, headers) => {
    expect((await post(good, { token: "", headers: headers(admin) })).json).toMatchObject({ errCode: 0 });
  });

  test("when an OpenIM server with the same secret has minted it", async () => {
    for (const [userId, platformId] of [
      ["imAdmin", 10],
      ["openIMAdmin", 10],
      ["imAdmin", 5],
    ] as const) {
      expect((await post(good, { token: mintAsOpenIm(userId, platformId) })).json).toMatchObject({ errCode: 0 });
    }
    expect((await post(good, { token: mintAsOpenIm("alice", 10) })).json).toMatchObject({ errCode: 1002 });
  });
});

describe("/auth", () => {
  test("get_admin_token gives whoever knows the secret a token that sends", async () => {
    const to = "/auth/get_admin_token";
    const { text, json } = await post({ secret, userID: "imAdmin" }, { to, token: "" });
    expect(text).toMatch(
      /^\{"errCode":0,"errMsg":"","errDlt":"","data":\{"token":"[^"]+","expireTimeSeconds":7776000\}\}$/,
    );
    expect((await post(good, { token: json.data.token })).json.errCode).toBe(0);
  });

  test("get_user_token gives an admin a user's token, with which the user subscribes", async () => {
    const { text, json } = await post({ userID: "bob", platformID: 1 }, { to: "/auth/get_user_token" });
    expect(text).toMatch(
      /^\{"errCode":0,"errMsg":"","errDlt":"","data":\{"token":"[^"]+","expireTimeSeconds":7776000\}\}$/,
    );
    const session = await openDevice(server.url, json.data.token, "").subscribe();
    expect(session.ready.deviceId).toBe("iOS");
    await post({ ...good, recvUserID: "bob", data: "hello" });
    expect(await session.take(1)).toMatchObject([{ recvUserId: "bob", data: "hello" }]);
  });

  test("parse_token says what a token says, without one of the caller's", async () => {
    const token = mintAsOpenIm("日本 *", 5);
    const { text, json } = await post({ token }, { to: "/auth/parse_token", token: "" });
    expect(text).toMatch(/"data":\{"userID":"[^"]+","platformID":5,"expireTimeSeconds":\d{10}\}\}$/);
    expect(json.data.userID).toBe("日本 *");
    expect(json.data.expireTimeSeconds).toBe(
      JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString()).exp,
    );
  });

  test("force_logout answers without data, and at once neither the token nor the session is worth anything", async () => {
    const token = await server.userToken("carol", 5);
    const phone = await server.userToken("carol", 1);
    const session = await openDevice(server.url, token).subscribe();
    const { text } = await post({ userID: "carol", platformID: 5 }, { to: "/auth/force_logout" });
    expect(text).toBe('{"errCode":0,"errMsg":"","errDlt":""}');
    expect(await session.whenEnded()).toMatchObject({ errCode: 1506 });
    expect((await post({ token }, { to: "/auth/parse_token" })).json).toMatchObject({ errCode: 1506 });
    await expect(openDevice(server.url, token).subscribe()).rejects.toThrow("TokenKickedError");
    expect((await post({ token: phone }, { to: "/auth/parse_token" })).json).toMatchObject({ errCode: 0 });
    const fresh = await post({ userID: "carol", platformID: 5 }, { to: "/auth/get_user_token" });
    await openDevice(server.url, fresh.json.data.token).subscribe();
  });
});

describe("a browser", () => {
  test("is answered its preflight for any path, in OpenIM's words", async () => {
    for (const to of [
      path,
      "/auth/get_admin_token",
      "/nowhere",
      "/mustreach.msg.v1.MsgService/SendBusinessNotification",
    ]) {
      const response = await fetch(`${server.url}${to}`, {
        method: "OPTIONS",
        headers: { origin: "https://app.example" },
      });
      expect(response.status).toBe(200);
      expect(await response.text()).toBe('"Options Request!"');
    }
  });

  test("may read every answer from any origin", async () => {
    for (const [to, body] of [
      [path, JSON.stringify(good)],
      [path, "{"],
      ["/nowhere", ""],
      ["/mustreach.msg.v1.MsgService/SendBusinessNotification", "{}"],
    ] as const) {
      const { headers } = await fetch(`${server.url}${to}`, {
        method: "POST",
        headers: { operationID: "1", token: admin, "content-type": "application/json" },
        body,
      });
      expect(headers.get("access-control-allow-origin")).toBe("*");
      expect(headers.get("access-control-expose-headers")).toBe("*");
      expect(headers.get("access-control-allow-credentials")).toBe("false");
      expect(headers.get("access-control-max-age")).toBe("172800");
    }
  });
});

test.each([
  ["an unknown path", "POST", "/msg/send_business_notifications"],
  ["a path that goes on", "POST", `${path}/now`],
  ["a path of another case", "POST", path.toUpperCase()],
  ["the root", "POST", "/"],
  ["another verb at a path of ours", "GET", path],
  ["PUT at it", "PUT", path],
  ["a service that is not there", "POST", "/mustreach.msg.v1.NoService/Send"],
])("%s is a 404 in OpenIM's words", async (_, method, to) => {
  const response = await fetch(`${server.url}${to}`, {
    method,
    headers: { operationID: "1", token: admin, "content-type": "application/json" },
    ...(method === "GET" ? {} : { body: "{}" }),
  });
  expect(response.status).toBe(404);
  expect(response.headers.get("content-type")).toMatch(/^text\/plain/);
  expect(await response.text()).toBe("404 page not found");
});
