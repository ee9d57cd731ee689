// The gateway for OpenIM's SDKs when things go wrong: tokens, handshakes, what no SDK sends, restarts and outages.

import { randomBytes } from "node:crypto";
import { once } from "node:events";
import net from "node:net";
import { gunzipSync, gzipSync } from "node:zlib";
import { create, toBinary } from "@bufbuild/protobuf";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { createTokenMinter } from "../../src/auth/mint-token.ts";
import { PullMessagesBySeqsRequestSchema } from "../../src/gen/mustreach/openim/v1/gateway_pb.ts";
import { maxInflatedBytes, maxRequestBytes } from "../../src/openim/wire/frames.ts";
import { readGob } from "../../src/openim/wire/gob-reader.ts";
import { compileGobWriter } from "../../src/openim/wire/gob-writer.ts";
import { openSender, sendMany, useDevices } from "../helpers/device.ts";
import type { OpenimApp } from "../helpers/openim-app.ts";
import { type GoDisk, startGoApp } from "../helpers/openim-go.ts";
import { startJsApp } from "../helpers/openim-js.ts";
import { startTestServer, testSecret, useServer } from "../helpers/server.ts";
import { type Closed, openWebSocket, type TestSocket } from "../helpers/websocket.ts";

const server = useServer();
const openDevice = useDevices();
const soon = { timeout: 25_000, interval: 20 };

let users = 0;
const newUserId = () => `user-${++users}`;
const numbers = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => `${from + i}`);
const got = (app: OpenimApp) => app.received().map(({ data }) => data);
const until = (app: OpenimApp, expected: readonly string[]) => expect.poll(() => got(app), soon).toEqual(expected);

async function send(
  to: string,
  data: string,
  level: 1 | 2 = 2,
  of: Pick<typeof server, "post" | "adminToken"> = server,
) {
  const body = { sendUserID: "imAdmin", recvUserID: to, key: "test", data, reliabilityLevel: level };
  const { json } = await of.post("/msg/send_business_notification", body, await of.adminToken());
  expect(json).toMatchObject({ errCode: 0 });
  return String(json.data?.serverMsgID);
}

/** Waits until it is stored that a device has handled one. */
async function untilHandled(serverMsgID: string): Promise<void> {
  const admin = await server.adminToken();
  await vi.waitFor(async () => {
    const { json } = await server.post("/msg/get_delivery_status", { serverMsgID }, admin);
    expect(json.data).toMatchObject({ counts: { delivered: 1 } });
  }, soon);
}

describe("a handshake", () => {
  /** What is in the query of each SDK, but for what a test changes. */
  async function toQuery(change: Record<string, string> = {}, userId = newUserId()): Promise<string> {
    const query = {
      sendID: userId,
      token: await server.userToken(userId),
      platformID: "5",
      operationID: "op",
      ...change,
    };
    return new URLSearchParams({ ...query, isBackground: "false" }).toString();
  }

  const expired = async (userId: string) => {
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() - 10_000 });
    const mint = createTokenMinter({ secret: testSecret, ttlMs: 5_000 });
    const { token } = await mint({ userId, platformId: 5 }).finally(() => vi.useRealTimers());
    return token;
  };

  test.each<[what: string, change: Record<string, string>, errCode: number, errMsg: string]>([
    ["without a token", { token: "" }, 1001, "ArgsError"],
    ["without a user", { sendID: "" }, 1001, "ArgsError"],
    ["without a platform", { platformID: "" }, 1001, "ArgsError"],
    ["with a platform that there is not", { platformID: "12" }, 1001, "ArgsError"],
    ["with an SDK that there is not", { sdkType: "rust" }, 1001, "ArgsError"],
    ["with a compression that there is not", { compression: "zstd" }, 1001, "ArgsError"],
    ["with an operation id that is too long", { operationID: "o".repeat(257) }, 1001, "ArgsError"],
    ["with what is no token", { token: "nonsense" }, 1503, "TokenMalformedError"],
    ["with the token of another user", { sendID: "somebody" }, 1502, "TokenInvalidError"],
    ["with the token of another platform", { platformID: "1" }, 1502, "TokenInvalidError"],
  ])("%s is answered over HTTP, or by the first message", async (_, change, errCode, errMsg) => {
    const query = await toQuery(change);
    const envelope = { errCode, errMsg, errDlt: expect.any(String) };
    const refused = await requestUpgrade(`/?${query}`);
    expect(refused.status).toBe(200);
    expect(refused.headers).toMatch(/^content-type: application\/json\r?$/im);
    expect(JSON.parse(refused.body)).toEqual(envelope);
    expect(refused.body).not.toContain("eyJ");

    const socket = await openWebSocket(`${server.url}/?${query}&isMsgResp=true`);
    expect(JSON.parse(String(await socket.next()))).toEqual(envelope);
    expect(await socket.next()).toMatchObject({ code: 1008 });
  });

  test("with a token that has expired is told so", async () => {
    const userId = newUserId();
    const query = await toQuery({ token: await expired(userId) }, userId);
    expect(JSON.parse((await requestUpgrade(`/?${query}`)).body)).toMatchObject({ errCode: 1501 });
  });

  test("is answered first with an empty envelope when that is asked for, and not otherwise", async () => {
    const asked = await openWebSocket(`${server.url}/?${await toQuery({ sdkType: "js", isMsgResp: "true" })}`);
    expect(await asked.next()).toBe('{"errCode":0,"errMsg":"","errDlt":""}');
    const go = await openWebSocket(`${server.url}/msg_gateway?${await toQuery({ compression: "gzip" })}`);
    go.ws.send(gzipSync(writeRequest(1_001)));
    expect(await go.next()).toBeInstanceOf(Buffer);
    for (const { ws } of [asked, go]) ws.terminate();
  });

  test("may have values that are not encoded, as the SDKs have them", async () => {
    const userId = "爱丽丝+=😀100%";
    const token = await server.userToken(userId);
    // As new WebSocket() and the Go core's library write it.
    const sendID = encodeURIComponent(userId).replace("%2B", "+").replace("%3D", "=").replace("%25", "%");
    const { status } = await requestUpgrade(
      `/?sendID=${sendID}&token=${token}&platformID=5&operationID=op&sdkType=js&isMsgResp=true`,
    );
    expect(status).toBe(101);
  });

  test("by an app with the JavaScript SDK with a bad token makes it say so", async () => {
    const userId = newUserId();
    const bad = startJsApp(server.url, userId, "nonsense");
    expect(await bad.saw("OnUserTokenInvalid")).toMatchObject({ errCode: 1503 });
    const late = startJsApp(server.url, userId, await expired(userId));
    expect(await late.saw("OnUserTokenExpired")).toMatchObject({ errCode: 1501 });
  });

  test("by a device with the Go core with a bad token makes it say so, and stop", async () => {
    const userId = newUserId();
    await startGoApp(server.url, userId, "nonsense").saw("OnUserTokenInvalid");
    await startGoApp(server.url, userId, await expired(userId), 5).saw("OnUserTokenExpired");
  });
});

const writeGob = compileGobWriter("GeneralWsReq", {
  ReqIdentifier: "int",
  SendID: "string",
  OperationID: "string",
  MsgIncr: "string",
  Data: "bytes",
});

const writeRequest = (kind: number, data: Uint8Array = new Uint8Array(), sendId = "") =>
  writeGob({ ReqIdentifier: kind, SendID: sendId, OperationID: `op-${kind}`, MsgIncr: `id-${kind}`, Data: data });

const toJson = (kind: number, data = "", sendID = "") =>
  Buffer.from(JSON.stringify({ reqIdentifier: kind, sendID, operationID: `op-${kind}`, msgIncr: `id-${kind}`, data }));

/** A connection of either kind, past its handshake. */
async function connect(kind: "js" | "go", userId = newUserId()) {
  const token = await server.userToken(userId, 1);
  const kindOf = kind === "js" ? "sdkType=js&isMsgResp=true" : "compression=gzip";
  const socket = await openWebSocket(
    `${server.url}/?sendID=${userId}&token=${token}&platformID=1&operationID=op&${kindOf}`,
  );
  onTestFinished(() => socket.ws.terminate());
  if (kind === "js") expect(await socket.next()).toContain('"errCode":0');
  const ask = async (request: Uint8Array): Promise<Record<string, unknown>> => {
    socket.ws.send(kind === "js" ? request : gzipSync(request));
    for (;;) {
      const message = await socket.next();
      if (!Buffer.isBuffer(message)) throw new Error(`expected an answer, got ${JSON.stringify(message)}`);
      const answer = kind === "js" ? JSON.parse(message.toString()) : Object.fromEntries(readGob(gunzipSync(message)));
      // What is told unasked has none.
      if (answer.msgIncr || answer.MsgIncr) return answer;
    }
  };
  return { ...socket, ask, userId };
}

describe("a request", () => {
  test.each([1_001, 1_002, 1_006, 2_004, 2_005])(
    "of the JavaScript SDK, %i, is answered without anything in it",
    async (kind) => {
      const { ask, userId } = await connect("js");
      const range = { conversationId: "n_other", begin: 1n, end: 9n };
      const pull = toBinary(
        PullMessagesBySeqsRequestSchema,
        create(PullMessagesBySeqsRequestSchema, { seqRanges: [range] }),
      );
      expect(await ask(toJson(kind, kind === 1_002 ? Buffer.from(pull).toString("base64") : "", userId))).toEqual({
        ...{ reqIdentifier: kind, errCode: 0, errMsg: "", msgIncr: `id-${kind}`, operationID: `op-${kind}`, data: "" },
      });
    },
  );

  test.each([1_001, 1_006, 2_004, 2_005])("of the Go core, %i, is answered without anything in it", async (kind) => {
    const { ask } = await connect("go");
    expect(await ask(writeRequest(kind))).toEqual({
      ...{ ReqIdentifier: kind, MsgIncr: `id-${kind}`, OperationID: `op-${kind}` },
    });
  });

  test("to log out is answered, and ends the connection", async () => {
    const { ask, next } = await connect("go");
    expect(await ask(writeRequest(2_003))).toMatchObject({ MsgIncr: "id-2003" });
    let last = await next();
    while (Buffer.isBuffer(last)) last = await next();
    expect(last).toMatchObject({ code: 1000 });
  });

  test.each([0, 1_003, 1_005, 1_007, 2_001, 2_002, -1, 2 ** 40])(
    "that is not known, %i, is answered with an error, and the connection is kept",
    async (kind) => {
      const js = await connect("js");
      expect(await js.ask(toJson(kind))).toMatchObject({ errCode: 1001, errMsg: "ArgsError", msgIncr: `id-${kind}` });
      expect(await js.ask(toJson(1_006))).toMatchObject({ errCode: 0 });
      const go = await connect("go");
      expect(await go.ask(writeRequest(kind))).toMatchObject({ ErrCode: 1001, MsgIncr: `id-${kind}` });
      expect(await go.ask(writeRequest(1_001))).not.toHaveProperty("ErrCode");
    },
  );

  test("in another's name is refused, and so is a pull that asks for nothing or is none", async () => {
    const { ask } = await connect("go");
    expect(await ask(writeRequest(1_001, new Uint8Array(), "bob"))).toMatchObject({ ErrCode: 1002 });
    expect(await ask(writeRequest(1_002))).toMatchObject({ ErrCode: 1001 });
    expect(await ask(writeRequest(1_002, new Uint8Array([255, 255])))).toMatchObject({ ErrCode: 1001 });
    expect(await ask(writeRequest(1_001))).not.toHaveProperty("ErrCode");
  });

  test("for another's conversation is answered with nothing", async () => {
    const { ask } = await connect("go");
    await send("victim", "secret");
    for (const conversationId of ["n_mustreach_victim", "n_imAdmin_victim", "si_imAdmin_victim"]) {
      const range = { conversationId, begin: 1n, end: 10_000_000n };
      const pull = create(PullMessagesBySeqsRequestSchema, { userId: "victim", seqRanges: [range] });
      const answer = await ask(writeRequest(1_002, toBinary(PullMessagesBySeqsRequestSchema, pull)));
      expect(answer).not.toHaveProperty("Data");
    }
  });

  test("a text ping is answered with a text pong, other text with nothing", async () => {
    const { ws, next } = await connect("js");
    for (const text of ["{", "null", "1", '{"type":"pong"}', '{"type":"ping"}']) ws.send(text);
    expect(await next()).toBe('{"type":"pong"}');
  });
});

describe("what no SDK sends", () => {
  /** How the connection was closed. */
  async function closed({ next }: Pick<TestSocket, "next">): Promise<Closed> {
    for (;;) {
      const message = await next();
      if (typeof message === "object" && !Buffer.isBuffer(message)) return message;
    }
  }

  test.each<[what: string, kind: "js" | "go", bytes: () => Uint8Array, code: number]>([
    ["no JSON", "js", () => Buffer.from("{"), 1003],
    ["gob", "js", () => writeRequest(1_001), 1003],
    ["JSON", "go", () => toJson(1_001), 1003],
    ["gob that is not gzipped", "go", () => writeRequest(1_001), 1003],
    ["gzip of no gob", "go", () => gzipSync("gob"), 1003],
    ["a gob that is cut off", "go", () => gzipSync(writeRequest(1_001).subarray(0, -3)), 1003],
    ["what inflates to more than the bound", "go", () => gzipSync(Buffer.alloc(maxInflatedBytes + 1)), 1003],
    ["a bomb", "go", () => gzipSync(Buffer.alloc(40_000_000)), 1003],
    ["a frame that is too large", "js", () => Buffer.alloc(maxRequestBytes + 1, 32), 1009],
  ])("%s ends the connection of the SDK (%s), and nobody else's", async (_, kind, bytes, code) => {
    const userId = newUserId();
    const token = await server.userToken(userId, 5);
    const other = startGoApp(server.url, userId, token, 5);
    await other.saw("OnSyncServerFinish");
    const device = await openDevice(server.url, token).subscribe();
    const hostile = await connect(kind, userId);
    hostile.ws.send(bytes());
    expect(await closed(hostile)).toMatchObject({ code });
    await send(userId, "still here");
    expect(await device.take(1)).toMatchObject([{ data: "still here" }]);
    await until(other, ["still here"]);
    expect(other.events.map(({ event }) => event)).not.toContain("Closed");
    expect(server.log.filter(({ level }) => Number(level) >= 50)).toEqual([]);
  });

  test("a request of the largest size is taken", async () => {
    const { ask } = await connect("js");
    const text = toJson(1_006, "A".repeat(51_000));
    expect(maxRequestBytes - text.length).toBeLessThan(200);
    expect(await ask(text)).toMatchObject({ errCode: 0 });
  });

  test("a flood of requests ends with 1008", async () => {
    const flood = await connect("js");
    for (let i = 0; i < 1_000; i++) flood.ws.send(toJson(1_006));
    expect(await closed(flood)).toEqual({ code: 1008, reason: "too many messages" });
  });

  test("a pull from a number that the device was not given ends the connection, so that it is asked again", async () => {
    const userId = newUserId();
    await send(userId, "1");
    const disk: GoDisk = new Map();
    const token = await server.userToken(userId, 1);
    const app = startGoApp(server.url, userId, token, 1, disk);
    await until(app, ["1"]);
    const [[conversationId, number] = ["", 0]] = disk;
    expect(conversationId).toMatch(new RegExp(`^n_mustreach_${userId}_.+`));
    expect(number).toBeGreaterThan(0);
    const range = { conversationId, begin: 1n, end: BigInt(number) };
    const pull = create(PullMessagesBySeqsRequestSchema, { seqRanges: [range] });
    const answer = await app.ask(1_002, toBinary(PullMessagesBySeqsRequestSchema, pull));
    expect(answer.get("ErrCode")).toBe(1004);
    await app.saw("Closed");
    await send(userId, "2");
    await until(app, ["1", "2"]);
  });
});

describe("a device with the Go core", () => {
  async function install(userId = newUserId()) {
    const token = await server.userToken(userId, 2);
    const start = (disk: GoDisk) => startGoApp(server.url, userId, token, 2, disk);
    return { userId, start };
  }

  test("that was killed before its number was on its disk gets again what it has not recorded, and no more", async () => {
    const { userId, start } = await install();
    const disk: GoDisk = new Map();
    await Promise.all(numbers(1, 3).map((data) => send(userId, data)));
    const first = start(disk);
    await vi.waitFor(() => expect(got(first)).toHaveLength(3), soon);
    const recorded: GoDisk = new Map(disk);
    await untilHandled(await send(userId, "4"));
    expect(got(first)).toHaveLength(4);
    await first.kill();
    await until(start(recorded), ["4"]);
  });

  test("that was installed anew gets everything that is retained", async () => {
    const { userId, start } = await install();
    const sent = await send(userId, "1");
    const first = start(new Map());
    await until(first, ["1"]);
    await untilHandled(sent);
    await first.kill();
    await send(userId, "2");
    await until(start(new Map()), ["1", "2"]);
  });

  test("that gets many in a row asks for them together, and keeps its connection", async () => {
    const { userId, start } = await install();
    const app = start(new Map());
    await app.saw("OnSyncServerFinish");
    const sender = openSender(server.url, await server.adminToken());
    await sendMany(sender, userId, 600, String, 4);
    await vi.waitFor(() => expect(got(app)).toHaveLength(600), soon);
    expect(new Set(got(app)).size).toBe(600);
    expect(app.pulls()).toBeLessThan(300);
    expect(app.events.map(({ event }) => event)).not.toContain("Closed");
  });
});

describe.each([
  ["JavaScript", (url: string, user: string, token: string, disk: GoDisk) => disk && startJsApp(url, user, token)],
  ["Go", (url: string, user: string, token: string, disk: GoDisk) => startGoApp(url, user, token, 5, disk)],
])("an app with the SDK for %s", (_, start) => {
  test("survives a restart of the service, and gets each once", { timeout: 60_000 }, async () => {
    const dataDir = `${server.dataDir}-${newUserId()}`;
    let own = await startTestServer({}, dataDir);
    onTestFinished(() => own.stop());
    const token = await own.userToken("alice");
    const app = start(own.url, "alice", token, new Map());
    await app.saw("OnSyncServerFinish");
    await send("alice", "before 1", 2, own);
    await until(app, ["before 1"]);
    await send("alice", "before 2", 2, own);
    const { port } = own;
    await own.stop();
    own = await startTestServer({ PORT: String(port) }, dataDir);
    await send("alice", "after 1", 2, own);
    await until(app, ["before 1", "before 2", "after 1"]);
    await send("alice", "after 2", 2, own);
    await until(app, ["before 1", "before 2", "after 1", "after 2"]);
  });

  test("is told when its token expires while it is connected", { timeout: 60_000 }, async () => {
    const userId = newUserId();
    const mint = createTokenMinter({ secret: testSecret, ttlMs: 4_000 });
    const { token } = await mint({ userId, platformId: 5 });
    const app = start(server.url, userId, token, new Map());
    await app.saw("OnSyncServerFinish");
    await app.saw("OnUserTokenExpired");
    expect(app.events.map(({ event }) => event)).not.toContain("OnKickedOffline");
  });
});

test("a notification that is too large for the Go SDK is left out and logged, and what follows it comes", async () => {
  const own = await startTestServer({ MAX_DATA_BYTES: "2000000" });
  onTestFinished(() => own.stop());
  const large = randomBytes(1_000_000).toString("base64");
  for (const data of ["1", large, "3"]) await send("alice", data, 2, own);
  const go = startGoApp(own.url, "alice", await own.userToken("alice", 2));
  await until(go, ["1", "3"]);
  const js = startJsApp(own.url, "alice", await own.userToken("alice"));
  await vi.waitFor(() => expect(got(js)).toHaveLength(3), soon);
  expect(got(js)[1] === large).toBe(true);
  await send("alice", large, 1, own);
  await send("alice", "5", 1, own);
  await until(go, ["1", "3", "5"]);
  await vi.waitFor(() => expect(got(js)).toHaveLength(5), soon);
  expect(own.log.filter(({ msg }) => /too large for OpenIM's Go SDK/.test(String(msg)))).toHaveLength(2);
});

/** Asks for a WebSocket, byte by byte. */
async function requestUpgrade(target: string): Promise<{ status: number; headers: string; body: string }> {
  const socket = net.connect(server.port, "127.0.0.1");
  onTestFinished(() => void socket.destroy());
  const key = "dGhlIHNhbXBsZSBub25jZQ==";
  const fields = `Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}`;
  socket.write(`GET ${target} HTTP/1.1\r\n${fields}\r\n\r\n`);
  let text = "";
  socket.setEncoding("utf8").on("data", (chunk) => {
    text += chunk;
  });
  await Promise.race([once(socket, "end"), vi.waitFor(() => expect(text).toContain("HTTP/1.1 101"), soon)]);
  const [headers = "", body = ""] = text.split("\r\n\r\n");
  return { status: Number(headers.split(" ")[1]), headers, body };
}
