import { describe, expect, test } from "vitest";
import { createEngine } from "../../../src/http2/engine/engine.ts";
import type { Bounds } from "../../../src/http2/engine/limits.ts";
import { errorCode } from "../../../src/http2/frames/frames.ts";
import type { ProtocolOptions } from "../../../src/http2/protocol.ts";
import { frame, frameType, get, post, preface, settings, settingsAck, toFrames } from "../../helpers/http2-frames.ts";
import { until, useConnection, useProtocol } from "../../helpers/http2-server.ts";

const begin = Buffer.concat([preface, settings, settingsAck]);
const withBounds = (bounds: Partial<Bounds>) => (options: ProtocolOptions) => createEngine({ ...options, bounds });
const ok = [":status", "200"];

/** The last streams that GOAWAYs have named. */
const lastStreams = (received: Buffer): number[] =>
  toFrames(received)
    .filter(({ type }) => type === frameType.goaway)
    .map(({ payload }) => payload.readUInt32BE());
const pingsOf = (received: Buffer) =>
  toFrames(received).filter(({ type, flags }) => type === frameType.ping && flags === 0);

describe("drain", () => {
  test("takes what was on its way, names the last stream after a round trip, and refuses what comes later", async () => {
    const { port, protocol, exchange, exchanges } = await useProtocol(withBounds({ drainGraceMs: 60_000 }), () => ({}));
    const client = await useConnection(port);
    client.socket.write(Buffer.concat([begin, get(1)]));
    const first = await exchange(0);
    protocol.drain();
    await until(() => expect(pingsOf(client.received())).toHaveLength(1));
    expect(lastStreams(client.received())).toEqual([2 ** 31 - 1]);
    const [ping] = pingsOf(client.received());
    client.socket.write(Buffer.concat([get(3), frame(frameType.ping, 1, 0, ping?.payload)]));
    await until(() => expect(lastStreams(client.received())).toEqual([2 ** 31 - 1, 3]));
    client.socket.write(get(5));
    await until(() => {
      const refused = toFrames(client.received()).filter(({ type }) => type === frameType.reset);
      expect(refused).toMatchObject([{ stream: 5, payload: Buffer.of(0, 0, 0, errorCode.refusedStream) }]);
    });
    first.exchange.answer(ok, Buffer.from("first"));
    (await exchange(1)).exchange.answer(ok, Buffer.from("second"));
    await client.closed;
    expect(client.received().toString("latin1")).toMatch(/first.*second/s);
    expect(exchanges.map(({ closes }) => closes)).toEqual([[true], [true]]);
  });

  test("waits drainGraceMs for a peer that does not answer", async () => {
    const { port, protocol } = await useProtocol(withBounds({ drainGraceMs: 20 }), () => ({}));
    const client = await useConnection(port);
    client.socket.write(begin);
    await until(() => expect(toFrames(client.received()).length).toBeGreaterThan(2));
    protocol.drain();
    protocol.drain();
    await client.closed;
    expect(lastStreams(client.received())).toEqual([2 ** 31 - 1, 0]);
  });

  test("by the peer: its requests are answered, then it is closed", async () => {
    const { port, exchange } = await useProtocol(createEngine, () => ({}));
    const client = await useConnection(port);
    client.socket.write(Buffer.concat([begin, post(1), frame(frameType.goaway, 0, 0, Buffer.alloc(8))]));
    const { exchange: last } = await exchange();
    await until(() => expect(lastStreams(client.received())).toEqual([1]));
    last.answer(ok, Buffer.from("last"));
    await client.closed;
    expect(client.received().includes("last")).toBe(true);
  });

  test("waits lingerMs for a peer that keeps its side open", async () => {
    const { port, protocol, sockets } = await useProtocol(withBounds({ lingerMs: 20 }), () => ({}));
    const client = await useConnection(port, { allowHalfOpen: true });
    client.socket.write(Buffer.concat([begin, frame(frameType.goaway, 0, 0, Buffer.alloc(8))]));
    await until(() => expect(lastStreams(client.received())).toEqual([0]));
    await until(() => expect(sockets.size).toBe(0));
    protocol.drain();
    expect(lastStreams(client.received())).toEqual([0]);
  });
});

describe("a connection that does not begin", () => {
  test.each<[what: string, bytes: Buffer]>([
    ["with its preface", preface.subarray(0, 20)],
    ["with SETTINGS", preface],
    ["with the rest of a header block", Buffer.concat([begin, frame(1, 0, 1, Buffer.of(0x82))])],
  ])("%s is destroyed after prefaceTimeoutMs", async (_, bytes) => {
    const { port, exchanges } = await useProtocol(withBounds({ prefaceTimeoutMs: 60 }), () => ({}));
    const client = await useConnection(port);
    client.socket.write(bytes);
    await client.closed;
    expect(lastStreams(client.received())).toEqual([]);
    expect(exchanges).toEqual([]);
  });

  test("and one that does is not", async () => {
    const { port, sockets, exchange } = await useProtocol(withBounds({ prefaceTimeoutMs: 20 }), () => ({}));
    const slow = await useConnection(port);
    const good = await useConnection(port);
    good.socket.write(Buffer.concat([begin, get(1)]));
    slow.socket.write(preface);
    await slow.closed;
    expect(sockets.size).toBe(1);
    (await exchange()).exchange.answer(ok, Buffer.from("there"));
    await until(() => expect(good.received().includes("there")).toBe(true));
  });
});
