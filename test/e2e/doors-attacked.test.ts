// What no honest device does, at every door: it is told the right code, and others at the door notice nothing.

import { once } from "node:events";
import http2 from "node:http2";
import { connect } from "node:net";
import { gzipSync } from "node:zlib";
import { create, toBinary } from "@bufbuild/protobuf";
import { describe, expect, onTestFinished, test } from "vitest";
import { ReceiveRequestSchema, SubscribeRequestSchema } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import type { Door, DoorDevice } from "../helpers/door.ts";
import { createDoorUsers } from "../helpers/door-users.ts";
import { ownDoors } from "../helpers/doors.ts";
import { foreignDoors } from "../helpers/foreign-doors.ts";
import { data, frame, frameType, ping, preface, settings, settingsAck } from "../helpers/http2-frames.ts";
import { createRawPeer } from "../helpers/http2-peer.ts";
import { useServer } from "../helpers/server.ts";
import { clientFrame, openRawWebSocket, openWebSocket, upgradeLines } from "../helpers/websocket.ts";

const server = useServer();
const { amongOthers } = createDoorUsers(() => server);

/** Does it as this device; resolves to how the service answers. */
type Attack = (device: DoorDevice) => Promise<string>;

const service = "/mustreach.delivery.v1.DeliveryService";
const subscribe = toBinary(SubscribeRequestSchema, create(SubscribeRequestSchema, { deviceId: "phone" }));
const begin = toBinary(
  ReceiveRequestSchema,
  create(ReceiveRequestSchema, { request: { case: "subscribe", value: { deviceId: "phone" } } }),
);
const garbage = Buffer.from("hello, I am no protobuf");
const bomb = gzipSync(Buffer.alloc(64 * 1_048_576));

/** A message with gRPC's or Connect's prefix; of another length than it says, if given. */
function prefixed(message: Uint8Array, flags = 0, length = message.length): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt8(flags);
  prefix.writeUInt32BE(length, 1);
  return Buffer.concat([prefix, message]);
}

/** What is no message, with gRPC's status for it. */
const malformed: readonly [what: string, body: Buffer, status: number][] = [
  ["bytes that are no message", prefixed(garbage), 3],
  ["a message of 4 GiB, as it says", prefixed(garbage, 0, 0xffff_ffff), 8],
  ["a message that is cut short", prefixed(subscribe, 0, subscribe.length + 9), 3],
  ["a prefix that is cut short", Buffer.of(0, 0, 0), 3],
  ["a message that is gzipped, unannounced", prefixed(gzipSync(subscribe), 1), 13],
];

/** The status where a body is read as a whole: a message of 4 GiB is not there, and so is cut off. */
const ofWhole = (status: number) => (status === 8 ? 3 : status);
const inWords = (status: number) => (status === 13 ? "internal" : "invalid_argument");

/** Calls over gRPC; the status, also of a stream that began. */
const callGrpc =
  (method: string, body: Uint8Array, more: Record<string, string> = {}): Attack =>
  async ({ url, token }) => {
    const session = http2.connect(url);
    onTestFinished(() => session.destroy());
    const headers = { ":method": "POST", ":path": `${service}/${method}`, "content-type": "application/grpc", token };
    const stream = session.request({ ...headers, te: "trailers", ...more });
    let status = "none";
    const read = (fields: http2.IncomingHttpHeaders) => {
      status = String(fields["grpc-status"] ?? status);
    };
    stream
      .on("response", read)
      .on("trailers", read)
      .on("error", () => {});
    stream.resume();
    stream.end(body);
    await once(stream, "close");
    return `grpc-status ${status}`;
  };

/** Calls over HTTP/1.1, for the doors that have the status in the body. */
const callHttp1 =
  (type: string, body: Uint8Array, more: Record<string, string> = {}): Attack =>
  async ({ url, token }) => {
    const headers = { "content-type": type, token, ...more };
    const response = await fetch(`${url}${service}/Subscribe`, { method: "POST", headers, body: Buffer.from(body) });
    const text = await response.text();
    const [, web, code] = /grpc-status: ?(\d+)|"code":"(\w+)"/.exec(text) ?? [];
    return code ?? `grpc-status ${web ?? response.headers.get("grpc-status")}`;
  };

/** Sends frames of HTTP/2 by hand, until the service ends the connection: with which code. */
const breakHttp2 =
  (...frames: Buffer[]): Attack =>
  async () => {
    const socket = connect(server.port, "127.0.0.1");
    onTestFinished(() => void socket.destroy());
    const peer = createRawPeer(socket);
    peer.send(preface, settings, settingsAck, ...frames);
    const goaway = (await peer.closed).findLast(({ type }) => type === frameType.goaway);
    return `GOAWAY ${goaway?.payload.readUInt32BE(4)}`;
  };

/** ENHANCE_YOUR_CALM; node:http2 says INTERNAL_ERROR. */
const pingFlood = process.env.MUSTREACH_HTTP2 === "node" ? "GOAWAY 2" : "GOAWAY 11";

const onHttp2: readonly [what: string, attack: Attack, told: string][] = [
  ["a flood of pings", breakHttp2(...Array.from({ length: 5_000 }, (_, at) => ping(String(at)))), pingFlood],
  ["a frame of 16 MB", breakHttp2(Buffer.of(0xff, 0xff, 0xff, frameType.data, 0, 0, 0, 0, 1)), "GOAWAY 6"],
  ["data of no stream", breakHttp2(data(0, garbage)), "GOAWAY 1"],
  [
    "a header block that is none",
    breakHttp2(frame(frameType.headers, 5, 1, Buffer.of(0xff, 0xff, 0xff, 0xff, 0xff))),
    "GOAWAY 9",
  ],
];

/** Writes bytes over HTTP/1.1, and reads the status line; of what is cut off, nothing. */
const writeHttp1 =
  (toText: (device: DoorDevice) => string): Attack =>
  async (device) => {
    const socket = connect(server.port, "127.0.0.1");
    onTestFinished(() => void socket.destroy());
    const chunks: Buffer[] = [];
    socket.on("error", () => {}).on("data", (chunk) => chunks.push(chunk));
    socket.write(toText(device));
    await new Promise((resolve) => socket.once("close", resolve));
    return Buffer.concat(chunks).toString().slice(9, 12);
  };

/** Asks for /events, or acknowledges; the status and the code. */
const ask =
  (path: string, init: RequestInit = {}): Attack =>
  async ({ url, token }) => {
    const response = await fetch(`${url}${path}`, {
      ...init,
      headers: { token, operationID: "test", ...init.headers },
    });
    const { errCode } = (await response.json()) as { errCode: number };
    return `${response.status} ${errCode}`;
  };

/** Sends messages over a WebSocket of a client; with which code it is closed. */
const say =
  (toUrl: (device: DoorDevice) => string, ...messages: (string | Buffer)[]): Attack =>
  async (device) => {
    const { ws, next } = await openWebSocket(toUrl(device), [], { token: device.token });
    onTestFinished(() => ws.terminate());
    for (const message of messages) ws.send(message);
    for (;;) {
      const message = await next();
      if (typeof message !== "string" && "code" in message) return String(message.code);
    }
  };

/** Sends frames over a WebSocket by hand; with which code it is closed. */
const breakWebSocket =
  (toPath: (device: DoorDevice) => string, ...frames: Buffer[]): Attack =>
  async (device) => {
    const { socket, next } = await openRawWebSocket(server.port, toPath(device), [`token: ${device.token}`]);
    onTestFinished(() => void socket.destroy());
    for (const each of frames) socket.write(each);
    for (;;) {
      const answer = await next();
      if (answer === undefined) return "cut off";
      if (answer.opcode === 8) return String(answer.payload.readUInt16BE());
    }
  };

const inFrames = (toPath: (device: DoorDevice) => string): readonly [string, Attack, string][] => [
  ["a flood of pings", breakWebSocket(toPath, ...Array.from({ length: 1_000 }, () => clientFrame(0x89))), "1008"],
  ["a frame without a mask", breakWebSocket(toPath, clientFrame(0x81, "{}", false)), "1002"],
  ["an opcode that there is not", breakWebSocket(toPath, clientFrame(0x83)), "1002"],
  ["text that is no UTF-8", breakWebSocket(toPath, clientFrame(0x81, Buffer.of(0xff))), "1007"],
  ["a frame of 2^63 bytes", breakWebSocket(toPath, Buffer.of(0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0)), "1009"],
  ["a frame of 1 GiB", breakWebSocket(toPath, Buffer.of(0x82, 0xff, 0, 0, 0, 0, 0x40, 0, 0, 0)), "1009"],
];

const wsPath = () => "/ws";
const toWs = ({ url }: DoorDevice) => `${url}/ws`;
const openimPath = (kind: string) => (device: DoorDevice) =>
  `/?sendID=${device.userId}&token=${device.token}&platformID=${device.platformId}&operationID=op${kind}`;
const jsPath = openimPath("&sdkType=js&isMsgResp=true");
const goPath = openimPath("&compression=gzip");
const toJs = (device: DoorDevice) => device.url + jsPath(device);
const toGo = (device: DoorDevice) => device.url + goPath(device);

const one = '{"reqIdentifier":1001}';

/** By door, what is done there, and what is told. */
const attacks: Readonly<Record<string, readonly (readonly [what: string, attack: Attack, told: string])[]>> = {
  "gRPC Subscribe and Ack": [
    ...malformed.map(([what, body, status]) => [what, callGrpc("Subscribe", body), `grpc-status ${status}`] as const),
    ["no message", callGrpc("Subscribe", Buffer.alloc(0)), "grpc-status 12"],
    ["flags that there are not", callGrpc("Subscribe", prefixed(subscribe, 0x7c)), "grpc-status 13"],
    ["a gzip bomb", callGrpc("Subscribe", prefixed(bomb, 1), { "grpc-encoding": "gzip" }), "grpc-status 8"],
    ...onHttp2,
  ],
  "gRPC Receive": [
    ...malformed.map(([what, body, status]) => [what, callGrpc("Receive", body), `grpc-status ${status}`] as const),
    ["no message", callGrpc("Receive", Buffer.alloc(0)), "grpc-status 3"],
    [
      "what is no message, once it is open",
      callGrpc("Receive", Buffer.concat([prefixed(begin), prefixed(garbage)])),
      "grpc-status 3",
    ],
    ["a second subscribe", callGrpc("Receive", Buffer.concat([prefixed(begin), prefixed(begin)])), "grpc-status 3"],
  ],
  Connect: [
    ...malformed.map(
      ([what, body, status]) => [what, callHttp1("application/connect+proto", body), inWords(status)] as const,
    ),
    ["no message", callHttp1("application/connect+proto", Buffer.alloc(0)), "unimplemented"],
    ["JSON that is none", callHttp1("application/connect+json", prefixed(Buffer.from("{"))), "invalid_argument"],
    [
      "a gzip bomb",
      callHttp1("application/connect+proto", prefixed(bomb, 1), { "connect-content-encoding": "gzip" }),
      "unimplemented",
    ],
  ],
  "gRPC-Web": [
    ...malformed.map(
      ([what, body, status]) =>
        [what, callHttp1("application/grpc-web+proto", body), `grpc-status ${ofWhole(status)}`] as const,
    ),
    ["no message", callHttp1("application/grpc-web+proto", Buffer.alloc(0)), "grpc-status 12"],
  ],
  WebSocket: [
    ["what is no JSON", say(toWs, "{"), "4400"],
    ["a message of 20 KB", say(toWs, JSON.stringify({ token: "x".repeat(20_000) })), "1009"],
    ["JSON of 5,000 levels", say(toWs, `${"[".repeat(5_000)}${"]".repeat(5_000)}`), "4400"],
    ...inFrames(wsPath),
  ],
  SSE: [
    ["a window that is no number", ask("/events?deviceID=phone&window=x"), "400 1001"],
    ["an event id that nobody gave", ask("/events?deviceID=phone&lastEventId=x.y.z"), "400 1001"],
    ["a device's name of 4 KB", ask(`/events?deviceID=${"x".repeat(4_096)}`), "400 1001"],
    ["a name with control characters", ask("/events?deviceID=%00%0d%0a"), "400 1001"],
    ["an acknowledgement that is no JSON", ask("/ack", { method: "POST", body: "{" }), "200 1001"],
    [
      "an acknowledgement of what was never sent",
      ask("/ack", { method: "POST", body: '{"deviceID":"phone","sequence":999999}' }),
      "200 1001",
    ],
    [
      "header fields of 40 KB",
      writeHttp1(() => `GET /events HTTP/1.1\r\nHost: x\r\nx: ${"x".repeat(40_000)}\r\n\r\n`),
      "431",
    ],
    ["a header field without a colon", writeHttp1(() => "GET /events HTTP/1.1\r\nHost: x\r\nnonsense\r\n\r\n"), "400"],
    ["what is no HTTP", writeHttp1(() => "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), "400"],
  ],
  "OpenIM JavaScript frames": [
    ["what is no JSON", say(toJs, Buffer.from("{")), "1003"],
    ["a request of 60 KB", say(toJs, Buffer.alloc(60_000)), "1009"],
    [
      "a flood of requests",
      breakWebSocket(jsPath, ...Array.from({ length: 1_000 }, () => clientFrame(0x82, one))),
      "1008",
    ],
    ...inFrames(jsPath),
  ],
  "OpenIM Go frames": [
    ["what is no gzip", say(toGo, Buffer.from("{")), "1003"],
    ["what is no gob", say(toGo, gzipSync(garbage)), "1003"],
    ["a gzip bomb", say(toGo, gzipSync(Buffer.alloc(8 * 1_048_576))), "1003"],
    ["a request of 60 KB", say(toGo, Buffer.alloc(60_000)), "1009"],
    ...inFrames(goPath),
  ],
};

const doors = [...ownDoors, ...foreignDoors(() => Promise.reject(new Error("there is no broker to connect to")))];

describe.each(doors.filter(({ name }) => attacks[name] !== undefined))("by $name", (door: Door) => {
  test.each(attacks[door.name] ?? [])("%s is told so; others notice nothing", async (_, attack, told) => {
    const { device, expectOthersGo } = await amongOthers(door);
    expect(await attack(device)).toBe(told);
    await expectOthersGo();
  });

  test("connections that begin and say no more leave others as they were", async () => {
    const { device, expectOthersGo } = await amongOthers(door);
    const beginnings = [
      Buffer.alloc(0),
      Buffer.from("GET /ev"),
      Buffer.from(`${upgradeLines("/ws").join("\r\n")}\r\n`),
      preface.subarray(0, 10),
      Buffer.concat([preface, settings]),
      Buffer.from(`POST /ack HTTP/1.1\r\nHost: x\r\ntoken: ${device.token}\r\nContent-Length: 100\r\n\r\n{`),
    ];
    for (const beginning of [...beginnings, ...beginnings, ...beginnings]) {
      const socket = connect({ port: server.port, host: "127.0.0.1", allowHalfOpen: true });
      onTestFinished(() => void socket.destroy());
      socket.on("error", () => {});
      await once(socket, "connect");
      socket.write(beginning);
    }
    await expectOthersGo();
  });
});
