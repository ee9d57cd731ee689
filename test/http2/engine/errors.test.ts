import { describe, expect, test } from "vitest";
import { createEngine } from "../../../src/http2/engine/engine.ts";
import { maxGaps } from "../../../src/http2/engine/floods.ts";
import { errorCode } from "../../../src/http2/frames/frames.ts";
import { encodeFields } from "../../../src/http2/hpack/encode.ts";
import {
  frame,
  frameType,
  get,
  post,
  preface,
  reset,
  settings,
  settingsAck,
  toFrames,
} from "../../helpers/http2-frames.ts";
import { until, useConnection, useProtocol } from "../../helpers/http2-server.ts";

const { protocolError, flowControlError, frameSizeError, streamClosed, compressionError } = errorCode;
const begin = Buffer.concat([preface, settings, settingsAck]);
const ping = frame(frameType.ping, 0, 0, Buffer.from("are you?"));
const uint32 = (value: number) => Buffer.of(value >>> 24, value >>> 16, value >>> 8, value);
const setting = (id: number, value: number) => frame(4, 0, 0, Buffer.concat([Buffer.of(0, id), uint32(value)]));
const windowUpdate = (stream: number, increment: number) => frame(8, 0, stream, uint32(increment));
const data = (stream: number, bytes: Buffer | string = "", flags = 0) => frame(0, flags, stream, Buffer.from(bytes));
/** HEADERS of these fields, or of these pieces of a block. */
const headers = (stream: number, flags: number, ...fields: string[]) =>
  frame(1, flags, stream, Buffer.from(encodeFields(fields)));
const request = [":method", "POST", ":scheme", "http", ":path", "/", ":authority", "x"];
const continuation = (stream: number, flags: number, block = Buffer.alloc(0)) => frame(9, flags, stream, block);

/** Answers when the request has ended, unless its path asks for something else. */
async function useEngine() {
  return useProtocol(createEngine, (exchange) => ({
    onEnd: () => exchange.answer([":status", "200"], Buffer.from("answer")),
  }));
}

/** Sends bytes after the preface and SETTINGS, and gets what comes back until the last PING is answered or all is over. */
async function exchangeFrames(port: number, ...bytes: Buffer[]) {
  const client = await useConnection(port);
  client.socket.write(Buffer.concat([...bytes, ping]));
  const isDone = () => toFrames(client.received()).some(({ type, flags }) => type === frameType.ping && flags === 1);
  await Promise.race([client.closed, until(() => expect(isDone()).toBe(true))]);
  return toFrames(client.received());
}

/** Requests that leave out every other stream. */
const gaps = (count: number) => Array.from({ length: count + 1 }, (_, i) => get(4 * i + 1));

describe("errors of a connection end it with GOAWAY", () => {
  test.each<[what: string, code: number, ...bytes: Buffer[]]>([
    ["3.4 no preface", protocolError, Buffer.from("GET / HTTP/1.1\r\nHost: x\r\n\r\n")],
    ["3.4 no SETTINGS first", protocolError, preface, get(1)],
    ["3.4 DATA first", protocolError, preface, data(1)],
    ["4.2 a frame beyond MAX_FRAME_SIZE", frameSizeError, begin, post(1), data(1, Buffer.alloc(16_385))],
    ["4.3 a block that is none", compressionError, begin, frame(1, 5, 1, Buffer.of(0x80))],
    ["4.3 a block that is interrupted", protocolError, begin, headers(1, 1, ...request), ping],
    ["4.3 by DATA of its own", protocolError, begin, headers(1, 0, ...request), data(1, "x")],
    ["4.3 by that of another", protocolError, begin, headers(1, 0, ...request), continuation(3, 4)],
    ["5.1 DATA on an idle stream", protocolError, begin, data(1, "x")],
    ["5.1 RST_STREAM on an idle stream", protocolError, begin, reset(1)],
    ["5.1 WINDOW_UPDATE on an idle stream", protocolError, begin, windowUpdate(1, 1)],
    ["5.1 DATA on a closed stream", streamClosed, begin, get(1), ping, reset(1), data(1, "x")],
    ["5.1 HEADERS on a closed stream", streamClosed, begin, post(1), reset(1), get(1)],
    ["5.1.1 an even stream", protocolError, begin, get(2)],
    ["5.1.1 a smaller stream", protocolError, begin, get(5), get(3)],
    ["5.1.1 the smallest stream", protocolError, begin, get(7), get(1)],
    ["5.1.1 one of the last gaps", protocolError, begin, ...gaps(maxGaps), get(3)],
    ["5.1.1 an older gap, which is forgotten", streamClosed, begin, ...gaps(maxGaps + 1), get(3)],
    ["6.1 DATA on no stream", protocolError, begin, data(0, "x")],
    ["6.1 DATA of padding alone", protocolError, begin, post(1), data(1, Buffer.of(2, 0), 8)],
    ["6.2 HEADERS on no stream", protocolError, begin, get(0)],
    ["6.2 HEADERS of padding alone", protocolError, begin, frame(1, 0xd, 1, Buffer.of(9, 0x82))],
    ["6.2 HEADERS of half a priority", protocolError, begin, frame(1, 0x25, 1, Buffer.of(0, 0, 0))],
    ["6.3 PRIORITY on no stream", protocolError, begin, frame(2, 0, 0, Buffer.alloc(5))],
    ["6.3 PRIORITY of 4 bytes on an idle stream", frameSizeError, begin, frame(2, 0, 1, Buffer.alloc(4))],
    ["6.4 RST_STREAM on no stream", protocolError, begin, reset(0)],
    ["6.4 RST_STREAM of 3 bytes", frameSizeError, begin, post(1), frame(3, 0, 1, Buffer.alloc(3))],
    ["6.5 SETTINGS on a stream", protocolError, begin, frame(4, 0, 1)],
    ["6.5 SETTINGS of 5 bytes", frameSizeError, begin, frame(4, 0, 0, Buffer.alloc(5))],
    ["6.5 SETTINGS that acknowledge with more", frameSizeError, begin, frame(4, 1, 0, Buffer.alloc(6))],
    ["6.5.2 ENABLE_PUSH of 2", protocolError, begin, setting(2, 2)],
    ["6.5.2 INITIAL_WINDOW_SIZE of 2^31", flowControlError, begin, setting(4, 2 ** 31)],
    ["6.5.2 MAX_FRAME_SIZE of 16,383", protocolError, begin, setting(5, 16_383)],
    ["6.5.2 MAX_FRAME_SIZE of 2^24", protocolError, begin, setting(5, 2 ** 24)],
    ["6.6 PUSH_PROMISE", protocolError, begin, post(1), frame(5, 4, 1, Buffer.alloc(4))],
    ["6.7 PING on a stream", protocolError, begin, frame(6, 0, 1, Buffer.alloc(8))],
    ["6.7 PING of 7 bytes", frameSizeError, begin, frame(6, 0, 0, Buffer.alloc(7))],
    ["6.8 GOAWAY on a stream", protocolError, begin, frame(7, 0, 1, Buffer.alloc(8))],
    ["6.8 GOAWAY of 7 bytes", frameSizeError, begin, frame(7, 0, 0, Buffer.alloc(7))],
    ["6.9 WINDOW_UPDATE of 3 bytes", frameSizeError, begin, frame(8, 0, 0, Buffer.alloc(3))],
    ["6.9 WINDOW_UPDATE of 0", protocolError, begin, windowUpdate(0, 0)],
    ["6.9.1 a window beyond 2^31-1", flowControlError, begin, windowUpdate(0, 2 ** 31 - 1)],
    [
      "6.9.2 a window of a stream, by SETTINGS",
      flowControlError,
      begin,
      post(1),
      windowUpdate(1, 1),
      setting(4, 2 ** 31 - 1),
    ],
    ["6.10 CONTINUATION of nothing", protocolError, begin, post(1), continuation(1, 4)],
    ["6.10 CONTINUATION after END_HEADERS", protocolError, begin, get(1), continuation(1, 4)],
  ])("%s", async (_, code, ...bytes) => {
    const { port, exchange, exchanges, url } = await useEngine();
    const client = await useConnection(port);
    client.socket.write(Buffer.concat(bytes));
    await client.closed;
    const [goaway] = toFrames(client.received()).filter(({ type }) => type === frameType.goaway);
    expect(goaway?.payload.readUInt32BE(4)).toBe(code);
    // Those that it had opened are told, and others go on.
    const opened = exchanges.length;
    for (const { closes } of exchanges) expect(closes).toHaveLength(1);
    const other = await useConnection(port);
    other.socket.write(Buffer.concat([begin, get(1)]));
    await until(() => expect(other.received().includes("answer")).toBe(true));
    expect((await exchange(opened)).exchange.headers[":authority"]).toBe("x");
    expect(url).toContain(String(port));
  });
});

describe("errors of a stream reset it, and the connection goes on", () => {
  const malformed = (...fields: string[]) => headers(1, 5, ...fields);
  const tooMuch = [":method", "POST", ":scheme", "http", ":path", "/", "content-length", "3"];
  test.each<[what: string, code: number, ...bytes: Buffer[]]>([
    ["5.1 DATA when half-closed", streamClosed, post(1), data(1, "", 1), data(1, "x")],
    ["5.1 HEADERS when half-closed", streamClosed, post(1), data(1, "", 1), headers(1, 5, "a", "b")],
    [
      "5.3.1 a stream that depends on itself",
      protocolError,
      frame(1, 0x25, 1, Buffer.of(0, 0, 0, 1, 0, 0x82, 0x86, 0x84)),
    ],
    ["6.3 PRIORITY of 4 bytes", frameSizeError, post(1), frame(2, 0, 1, Buffer.alloc(4))],
    ["6.3 PRIORITY on itself", protocolError, post(1), frame(2, 0, 1, Buffer.of(0, 0, 0, 1, 0))],
    ["6.9 WINDOW_UPDATE of 0", protocolError, post(1), windowUpdate(1, 0)],
    ["6.9.1 a window beyond 2^31-1", flowControlError, post(1), windowUpdate(1, 2 ** 31 - 1)],
    ["8.1 trailers that do not end the request", protocolError, post(1), headers(1, 4, "a", "b")],
    ["8.1 trailers with a pseudo field", protocolError, post(1), headers(1, 5, ":path", "/")],
    ["8.1.1 less than content-length", protocolError, headers(1, 4, ...tooMuch), data(1, "ab", 1)],
    ["8.1.1 more than content-length", protocolError, headers(1, 4, ...tooMuch), data(1, "abcd")],
    ["8.1.1 content-length and no body", protocolError, headers(1, 5, ...tooMuch)],
    ["8.1.1 content-length, then trailers alone", protocolError, headers(1, 4, ...tooMuch), headers(1, 5, "a", "b")],
    ["8.1.1 two values of content-length", protocolError, malformed(...tooMuch, "content-length", "4")],
    ["8.1.1 content-length that is no number", protocolError, malformed(...request, "content-length", "+3")],
    ["8.2.1 upper case", protocolError, malformed(...request, "Aa", "b")],
    ["8.2.1 no name", protocolError, malformed(...request, "", "b")],
    ["8.2.1 a name with a space", protocolError, malformed(...request, "a b", "c")],
    ["8.2.1 a value that begins with a space", protocolError, malformed(...request, "a", " b")],
    ["8.2.1 a value with a control character", protocolError, malformed(...request, "a", "b\u0001")],
    ["8.2.2 connection", protocolError, malformed(...request, "connection", "keep-alive")],
    ["8.2.2 transfer-encoding", protocolError, malformed(...request, "transfer-encoding", "chunked")],
    ["8.2.2 te of other than trailers", protocolError, malformed(...request, "te", "gzip")],
    ["8.3 an unknown pseudo field", protocolError, malformed(...request, ":protocol", "websocket")],
    ["8.3 one of an answer", protocolError, malformed(...request, ":status", "200")],
    ["8.3 one after the others", protocolError, malformed(...request.slice(2), "a", "b", ":method", "GET")],
    ["8.3.1 the same twice", protocolError, malformed(...request, ":path", "/")],
    ["8.3.1 no method", protocolError, malformed(...request.slice(2))],
    ["8.3.1 no scheme", protocolError, malformed(":method", "GET", ":path", "/")],
    ["8.3.1 no path", protocolError, malformed(":method", "GET", ":scheme", "http")],
    ["8.3.1 an empty path", protocolError, malformed(":method", "GET", ":scheme", "http", ":path", "")],
    ["8.3.1 a path that is none", protocolError, malformed(":method", "GET", ":scheme", "http", ":path", "a")],
    ["8.3.1 * for other than OPTIONS", protocolError, malformed(":method", "GET", ":scheme", "http", ":path", "*")],
    ["8.3.1 user information", protocolError, malformed(...request.slice(0, 6), ":authority", "a@x")],
    ["8.3.1 another host", protocolError, malformed(...request, "host", "y")],
    ["8.3.1 two hosts", protocolError, malformed(...request, "host", "x", "host", "x")],
    ["8.5 CONNECT with a path", protocolError, malformed(":method", "CONNECT", ":authority", "x", ":path", "/")],
  ])("%s", async (_, code, ...bytes) => {
    const { port, exchanges } = await useEngine();
    const frames = await exchangeFrames(port, begin, ...bytes, get(9));
    const [first] = frames.filter(({ type, stream }) => type === frameType.reset && stream === 1);
    expect(first?.payload.readUInt32BE()).toBe(code);
    // What follows is not of the connection's error, and the next request is answered.
    expect(frames.some(({ type }) => type === frameType.goaway)).toBe(false);
    expect(frames.filter(({ stream }) => stream === 9)[0]).toMatchObject({ type: frameType.headers });
    for (const { exchange, closes } of exchanges.slice(0, -1)) {
      expect(closes).toHaveLength(1);
      expect(exchange.headers[":path"]).toBe("/");
    }
  });
});

describe("what is allowed", () => {
  test.each<[what: string, ...bytes: Buffer[]]>([
    ["4.1 unknown flags and types", frame(0xbe, 0xff, 1, Buffer.from("?")), frame(1, 0xc5, 1, get(1).subarray(9))],
    [
      "4.3 a block in pieces",
      headers(1, 1, ...request.slice(0, 6)),
      continuation(1, 0),
      continuation(1, 4, Buffer.of(0x41, 1, 0x78)),
    ],
    [
      "5.1 PRIORITY on an idle and on a closed stream",
      frame(2, 0, 3, Buffer.alloc(5)),
      get(1),
      frame(2, 0, 1, Buffer.alloc(5)),
    ],
    ["5.1 WINDOW_UPDATE and RST_STREAM after the end", get(1), windowUpdate(1, 5), ping, reset(1)],
    ["6.1 padding", post(1), data(1, Buffer.of(3, 0x61, 0, 0, 0), 0x9)],
    [
      "6.2 padding and priority",
      frame(1, 0x2d, 1, Buffer.concat([Buffer.of(1, 0, 0, 0, 3, 0), get(1).subarray(9), Buffer.of(0)])),
    ],
    ["6.5.2 unknown settings", setting(0xff, 7), get(1)],
    [
      "6.9.2 a window that is smaller than what is under way",
      post(1),
      setting(4, 0),
      setting(4, 65_535),
      data(1, "", 1),
    ],
    ["8.1 trailers", post(1), data(1, "a"), headers(1, 5, "a", "b")],
    [
      "8.1.1 content-length as long as the body",
      headers(1, 4, ...request, "content-length", "3"),
      data(1, "a"),
      data(1, "bc", 1),
    ],
    ["8.2.2 te: trailers", headers(1, 5, ...request, "te", "trailers")],
    ["8.3.1 Host as the authority", headers(1, 5, ...request, "host", "X")],
    ["8.3.1 OPTIONS *", headers(1, 5, ":method", "OPTIONS", ":scheme", "http", ":path", "*")],
  ])("%s", async (_, ...bytes) => {
    const { port } = await useEngine();
    const frames = await exchangeFrames(port, begin, ...bytes);
    const of1 = frames.filter(({ stream }) => stream === 1);
    expect(of1.map(({ type }) => type)).toEqual([frameType.headers, frameType.data]);
    expect(of1[1]).toMatchObject({ flags: 1, payload: Buffer.from("answer") });
    expect(frames.some(({ type }) => type === frameType.goaway)).toBe(false);
  });

  test("CONNECT is answered 501", async () => {
    const { port, exchanges } = await useEngine();
    const frames = await exchangeFrames(port, begin, headers(1, 4, ":method", "CONNECT", ":authority", "x:80"));
    const of1 = frames.filter(({ stream }) => stream === 1);
    expect(of1.map(({ type }) => type)).toEqual([frameType.headers, frameType.reset]);
    expect(of1[0]?.payload.toString("latin1")).toContain("501");
    expect(of1[1]?.payload.readUInt32BE()).toBe(errorCode.noError);
    expect(exchanges).toEqual([]);
  });

  test("frames of a stream that was reset here, when they were on their way", async () => {
    const { port } = await useProtocol(createEngine, (exchange) => ({
      onData: () => exchange.reset(errorCode.cancel),
    }));
    const frames = await exchangeFrames(port, begin, post(1), data(1, "a"), data(1, "b"), headers(1, 5, "a", "b"));
    const of1 = frames.filter(({ stream }) => stream === 1);
    expect(of1).toMatchObject([{ type: frameType.reset, payload: Buffer.of(0, 0, 0, errorCode.cancel) }]);
    expect(frames.some(({ type }) => type === frameType.goaway)).toBe(false);
  });
});
