import { setImmediate as nextTurn } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { createEngine } from "../../../src/http2/engine/engine.ts";
import { type Bounds, defaultBounds } from "../../../src/http2/engine/limits.ts";
import { errorCode } from "../../../src/http2/frames/frames.ts";
import type { ProtocolOptions } from "../../../src/http2/protocol.ts";
import { frame, frameType, get, post, preface, settings, settingsAck, toFrames } from "../../helpers/http2-frames.ts";
import { until, useConnection, useProtocol } from "../../helpers/http2-server.ts";

const begin = Buffer.concat([preface, settings, settingsAck]);
const uint32 = (value: number) => Buffer.of(value >>> 24, value >>> 16, value >>> 8, value);
const initialWindow = (value: number) => frame(4, 0, 0, Buffer.concat([Buffer.of(0, 4), uint32(value)]));
const windowUpdate = (stream: number, increment: number) => frame(8, 0, stream, uint32(increment));
const body = (stream: number, size: number) =>
  Array.from({ length: Math.ceil(size / 16_384) }, (_, i) =>
    frame(0, 0, stream, Buffer.alloc(Math.min(16_384, size - i * 16_384))),
  );
const withBounds = (bounds: Partial<Bounds>) => (options: ProtocolOptions) => createEngine({ ...options, bounds });
const ok = [":status", "200"];

/** How much of an answer has come over a connection, and what else. */
function inspect(received: Buffer, stream: number) {
  const frames = toFrames(received);
  const of = frames.filter((each) => each.stream === stream);
  const data = of.filter(({ type }) => type === frameType.data);
  return {
    bytes: data.reduce((sum, { payload }) => sum + payload.length, 0),
    longest: Math.max(0, ...data.map(({ payload }) => payload.length)),
    isWhole: of.some(({ flags }) => (flags & 1) !== 0),
    granted: of
      .filter(({ type }) => type === frameType.windowUpdate)
      .reduce((sum, { payload }) => sum + payload.readUInt32BE(), 0),
    resets: of.filter(({ type }) => type === frameType.reset).map(({ payload }) => payload.readUInt32BE()),
    goaways: frames.filter(({ type }) => type === frameType.goaway).map(({ payload }) => payload.readUInt32BE(4)),
    frames: frames.length,
  };
}

describe("an answer waits for", () => {
  test("the window of its stream, and goes on when it is opened or made larger", async () => {
    const { port } = await useProtocol(createEngine, (exchange) => {
      exchange.answer(ok, Buffer.alloc(100), ["a", "b"]);
      return {};
    });
    const client = await useConnection(port);
    client.socket.write(Buffer.concat([preface, initialWindow(10), settingsAck, get(1)]));
    await until(() => expect(inspect(client.received(), 1).bytes).toBe(10));
    client.socket.write(windowUpdate(1, 20));
    await until(() => expect(inspect(client.received(), 1).bytes).toBe(30));
    client.socket.write(initialWindow(5));
    client.socket.write(windowUpdate(1, 5));
    client.socket.write(initialWindow(45));
    await until(() => expect(inspect(client.received(), 1).bytes).toBe(70));
    expect(inspect(client.received(), 1).isWhole).toBe(false);
    client.socket.write(windowUpdate(1, 30));
    await until(() => expect(inspect(client.received(), 1)).toMatchObject({ bytes: 100, isWhole: true }));
  });

  test("the window of the connection, which streams share in turns", async () => {
    const { port } = await useProtocol(createEngine, (exchange) => {
      exchange.answer(ok, Buffer.alloc(300_000));
      return {};
    });
    const client = await useConnection(port);
    const bytes = (stream: number) => inspect(client.received(), stream).bytes;
    client.socket.write(Buffer.concat([preface, initialWindow(1_000_000), settingsAck, get(1), get(3)]));
    await until(() => expect(bytes(1) + bytes(3)).toBe(65_535));
    client.socket.write(windowUpdate(0, 200_000));
    await until(() => expect(bytes(1) + bytes(3)).toBe(265_535));
    expect(Math.abs(bytes(1) - bytes(3))).toBeLessThanOrEqual(65_535);
    client.socket.write(windowUpdate(0, 334_465));
    await until(() => {
      for (const stream of [1, 3]) {
        expect(inspect(client.received(), stream)).toMatchObject({ bytes: 300_000, longest: 16_384, isWhole: true });
      }
    });
  });

  test("stallTimeoutMs at most", async () => {
    const { port, exchange } = await useProtocol(withBounds({ stallTimeoutMs: 100 }), (exchange) => {
      exchange.answer(ok, Buffer.alloc(100));
      return {};
    });
    const client = await useConnection(port);
    client.socket.write(Buffer.concat([preface, initialWindow(0), settingsAck, get(1)]));
    await until(() => expect(inspect(client.received(), 1).resets).toEqual([errorCode.cancel]));
    expect((await exchange()).closes).toEqual([false]);
  });
});

test("a client that grants each 2 KB of a large answer is no flood", async () => {
  const size = 4_000_000;
  const { port } = await useProtocol(createEngine, (exchange) => {
    exchange.answer(ok, Buffer.alloc(size));
    return {};
  });
  const client = await useConnection(port);
  let taken = 0;
  client.socket.on("data", (chunk: Buffer) => {
    taken += chunk.length;
    for (; taken >= 2_048; taken -= 2_048)
      client.socket.write(Buffer.concat([windowUpdate(0, 2_048), windowUpdate(1, 2_048)]));
  });
  client.socket.write(Buffer.concat([begin, get(1)]));
  const all = { bytes: size, isWhole: true, goaways: [] };
  await until(() => expect(inspect(client.received(), 1)).toMatchObject(all));
});

test("who writes is told when too much waits on its connection", async () => {
  const bounds = { waitingStreamBytes: 2_000, waitingConnectionBytes: 3_000 };
  const { port, exchange } = await useProtocol(withBounds(bounds), (exchange) => {
    exchange.respond(ok);
    return {};
  });
  const client = await useConnection(port);
  client.socket.write(Buffer.concat([preface, initialWindow(0), settingsAck, get(1), get(3), get(5)]));
  const [one, three, five] = await Promise.all([exchange(0), exchange(1), exchange(2)]);
  expect(one.exchange.write(Buffer.alloc(1_500))).toBe(true);
  expect(three.exchange.write(Buffer.alloc(2_001))).toBe(false);
  expect(five.exchange.write(Buffer.alloc(1))).toBe(false);
  client.socket.write(windowUpdate(1, 1_500));
  await until(() => expect(inspect(client.received(), 1).bytes).toBe(1_500));
  await nextTurn();
  expect([one.drains.length, three.drains.length, five.drains.length]).toEqual([0, 0, 0]);
  client.socket.write(windowUpdate(3, 1_000));
  await until(() => expect([one.drains.length, three.drains.length, five.drains.length]).toEqual([0, 0, 1]));
  client.socket.write(windowUpdate(3, 1));
  await until(() => expect(three.drains).toHaveLength(1));
});

describe("a request is granted", () => {
  const { firstWindowBytes, streamWindowBytes, connectionWindowBytes } = defaultBounds;
  const ping = (fill: number) => frame(frameType.ping, 0, 0, Buffer.alloc(8, fill));
  const isAnswered = (received: Buffer, fill: number) =>
    toFrames(received).some(({ type, payload }) => type === frameType.ping && payload.equals(Buffer.alloc(8, fill)));

  test("what its receiver has taken, when that is half of the window, and nothing while it pauses", async () => {
    const { port, exchange } = await useProtocol(createEngine, () => ({}));
    const client = await useConnection(port);
    const granted = () => inspect(client.received(), 1).granted;
    const half = Math.ceil(firstWindowBytes / 2);
    client.socket.write(Buffer.concat([begin, post(1), ...body(1, half - 1), ping(1)]));
    await until(() => expect(isAnswered(client.received(), 1)).toBe(true));
    expect(granted()).toBe(0);
    client.socket.write(Buffer.concat(body(1, 1)));
    // The first window is small, and then it is the whole one.
    const widened = streamWindowBytes - (firstWindowBytes - half);
    await until(() => expect(granted()).toBe(widened));
    const { exchange: paused, body: taken } = await exchange();
    paused.pause();
    client.socket.write(Buffer.concat([...body(1, streamWindowBytes), ping(2)]));
    await until(() => expect(isAnswered(client.received(), 2)).toBe(true));
    expect(granted()).toBe(widened);
    expect(taken()).toHaveLength(half);
    paused.resume();
    await until(() => expect(granted()).toBe(widened + streamWindowBytes));
    expect(taken()).toHaveLength(half + streamWindowBytes);
  });

  test("not more than its window: beyond it, it is reset", async () => {
    const { port } = await useProtocol(createEngine, (exchange) => {
      exchange.pause();
      return {};
    });
    const client = await useConnection(port);
    client.socket.write(Buffer.concat([begin, post(1), ...body(1, firstWindowBytes), ...body(1, 1)]));
    await until(() => expect(inspect(client.received(), 1).resets).toEqual([errorCode.flowControlError]));
  });

  test("not more than what is left for the connection: beyond it, that is closed", async () => {
    const { port } = await useProtocol(createEngine, (exchange) => {
      exchange.pause();
      return {};
    });
    const client = await useConnection(port);
    const count = Math.floor(connectionWindowBytes / firstWindowBytes);
    const streams = Array.from({ length: count }, (_, i) => 2 * i + 1);
    client.socket.write(
      Buffer.concat([begin, ...streams.flatMap((each) => [post(each), ...body(each, firstWindowBytes)])]),
    );
    const last = 2 * count + 1;
    const left = connectionWindowBytes - count * firstWindowBytes;
    client.socket.write(Buffer.concat([post(last), ...body(last, left + 1)]));
    await client.closed;
    expect(inspect(client.received(), 0).goaways).toEqual([errorCode.flowControlError]);
  });

  test("what was kept for streams that are reset", async () => {
    const { port, exchange } = await useProtocol(createEngine, (exchange) => {
      exchange.pause();
      return {};
    });
    const client = await useConnection(port);
    client.socket.write(begin);
    const initiallyGranted = connectionWindowBytes - 65_535;
    const count = Math.ceil(connectionWindowBytes / 2 / firstWindowBytes);
    for (let i = 0; i < count; i++) {
      client.socket.write(Buffer.concat([post(2 * i + 1), ...body(2 * i + 1, firstWindowBytes), ping(i + 1)]));
      const { exchange: paused } = await exchange(i);
      await until(() => expect(isAnswered(client.received(), i + 1)).toBe(true));
      expect(inspect(client.received(), 0).granted).toBe(initiallyGranted);
      paused.reset(errorCode.cancel);
    }
    await until(() => expect(inspect(client.received(), 0).granted).toBe(initiallyGranted + count * firstWindowBytes));
  });
});

test("a peer that does not read is not read, and goes on when it does", async () => {
  const { port, sockets } = await useProtocol(createEngine, () => ({}));
  const client = await useConnection(port);
  client.socket.write(begin);
  await until(() => expect(toFrames(client.received()).length).toBeGreaterThan(2));
  client.socket.pause();
  // The acknowledgements of PINGs would be kept without end; DATA in between allows so many.
  const four = Array.from({ length: 4 }, () => frame(frameType.ping, 0, 0, Buffer.alloc(8)));
  const round = Buffer.concat(Array.from({ length: 1_000 }, () => [frame(0, 0, 1, Buffer.of(1)), ...four]).flat());
  const [served] = sockets;
  expect(served?.isPaused()).toBe(false);
  client.socket.write(post(1));
  for (let i = 0; i < 2_000 && !served?.isPaused(); i++) {
    client.socket.write(round);
    await nextTurn();
  }
  expect(served?.isPaused()).toBe(true);
  client.socket.resume();
  await until(() => expect(served?.isPaused()).toBe(false));
});
