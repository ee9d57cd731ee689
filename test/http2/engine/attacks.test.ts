import { once } from "node:events";
import { setImmediate as nextTurn } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import type { Exchange } from "../../../src/http2/exchange.ts";
import { createDecoder } from "../../../src/http2/hpack/decoder.ts";
import { endCode, exact, expectCalm, flood, isGoaway, isResetOf, ofType, ok, useAttack } from "../../helpers/attack.ts";
import { toInteger } from "../../helpers/hpack.ts";
import {
  data,
  errorCode,
  flag,
  frame,
  frameType,
  get,
  headers,
  ping,
  post,
  preface,
  setting,
  settings,
  settingsAck,
  settingsOf,
  toUint32,
  windowUpdate,
} from "../../helpers/http2-frames.ts";
import type { RawPeer } from "../../helpers/http2-peer.ts";
import { until } from "../../helpers/http2-server.ts";

const id = (at: number) => 2 * at + 1;
/** GET http://x/ without a trace in the table. */
const target = Buffer.of(0x82, 0x86, 0x84, 0x01, 1, 0x78);
const isPingAck = ({ type, flags }: { type: number; flags: number }) => type === frameType.ping && flags === flag.ack;
const continuation = (stream: number, payload: Uint8Array, flags = 0) =>
  frame(frameType.continuation, flags, stream, payload);

/** Answers with so many bytes. */
const answerOf = (size: number) => (exchange: Exchange) => ({
  onEnd: () => exchange.answer(ok, Buffer.alloc(size, "x")),
});

/** What has come as body on a stream, in bytes. */
function bodyBytes(peer: RawPeer, stream: number): number {
  return ofType(peer, frameType.data)
    .filter((each) => each.stream === stream)
    .reduce((sum, { payload }) => sum + payload.length, 0);
}

describe("header blocks", () => {
  test.each<[what: string, piece: Buffer]>([
    ["of the largest size", Buffer.alloc(16_384, 0x82)],
    ["of a byte", Buffer.of(0x82)],
    ["of nothing", Buffer.alloc(0)],
  ])("CONTINUATION flood, without an end, %s", async (_, piece) => {
    const { peer, start, attacked, askHonestly } = await useAttack();
    start(headers(1, target, flag.endStream));
    const [sent] = await Promise.all([flood(peer, () => continuation(1, piece), 5_000), askHonestly()]);
    await expectCalm(peer);
    expect(sent).toBeLessThan(5_000);
    expect(attacked()).toEqual([]);
    await askHonestly();
  });

  test("CONTINUATION flood that ends: a block that is too long, and one of too many pieces", async () => {
    const { connectRaw, attacked, askHonestly } = await useAttack();
    for (const [pieces, size] of [[3, 16_000] as const, [100, 1] as const]) {
      const { peer } = await connectRaw();
      const block = Array.from({ length: pieces }, () => continuation(1, Buffer.alloc(size, 0x82)));
      peer.send(preface, settings, headers(1, target, flag.endStream), ...block);
      peer.send(continuation(1, Buffer.alloc(0), flag.endHeaders));
      await expectCalm(peer);
    }
    expect(attacked()).toEqual([]);
    await askHonestly();
  });

  test("a block that is interrupted", async () => {
    const { connectRaw, attacked } = await useAttack();
    const between = [ping("x"), get(3), data(1, Buffer.from("x")), settings, continuation(3, target), frame(99, 0, 1)];
    for (const interruption of between) {
      const { peer } = await connectRaw();
      peer.send(preface, settings, headers(1, target, 0), interruption);
      expect(await endCode(peer)).toBe(errorCode.protocol);
    }
    expect(attacked()).toEqual([]);
  });

  test("HPACK bomb: a list over the limit does not reach the service, however small its block", async () => {
    const { peer, start, attacked, askHonestly } = await useAttack({ bounds: { ...exact, resets: 1_000 } });
    start();
    const entry = Buffer.concat([Buffer.of(0x40, 1, 0x62), toInteger(0, 7, 4_000), Buffer.alloc(4_000, "x")]);
    // A request that is served sets the entry, and the later ones say it 10,000 times: 40 MB each.
    peer.send(headers(1, Buffer.concat([target, entry]), flag.endHeaders | flag.endStream));
    const bomb = Buffer.concat([target, Buffer.alloc(10_000, 0xbe)]);
    await Promise.all([
      flood(peer, (at) => headers(id(at + 1), bomb, flag.endHeaders | flag.endStream), 200),
      askHonestly(),
    ]);
    expect(await peer.frame(isResetOf(id(200), errorCode.enhanceYourCalm))).toBeDefined();
    expect(attacked()).toHaveLength(1);
    // The table is still in step.
    peer.send(headers(id(201), Buffer.concat([target, Buffer.of(0xbe)]), flag.endHeaders | flag.endStream));
    await until(() => expect(attacked()).toHaveLength(2));
    expect(attacked()[1]?.exchange.headers.b).toHaveLength(4_000);
    await askHonestly();
  });

  test("a list over the limit is answered 431 until the limit is acknowledged, then reset", async () => {
    const { peer, attacked } = await useAttack({ limits: { maxHeaderBytes: 1_000 } });
    const large = (stream: number) =>
      headers(
        stream,
        Buffer.concat([target, Buffer.of(0x00, 1, 0x62), toInteger(0, 7, 1_000), Buffer.alloc(1_000, "x")]),
        flag.endHeaders | flag.endStream,
      );
    peer.send(preface, settings, large(1), large(3));
    const decoder = createDecoder({ maxTableSize: 4_096, maxListSize: 4_096 });
    for (const stream of [1, 3]) {
      const answer = await peer.frame((each) => each.type === frameType.headers && each.stream === stream);
      expect(decoder.decode(answer?.payload ?? Buffer.alloc(0)).list.slice(0, 2)).toEqual([":status", "431"]);
      expect(answer?.flags).toBe(flag.endHeaders | flag.endStream);
    }
    peer.send(settingsAck, large(5));
    await peer.frame(isResetOf(5, errorCode.enhanceYourCalm));
    expect(attacked()).toEqual([]);
  });

  test("table sizes that flap in blocks and in SETTINGS: answered, and told once", async () => {
    const { peer, start, attacked } = await useAttack({ react: answerOf(1) });
    start();
    const entry = Buffer.of(0x40, 1, 0x62, 1, 0x63);
    const block = Buffer.concat([
      Buffer.of(0x20, 0x3f, 0xe1, 0x1f),
      target,
      ...Array.from({ length: 50 }, () => entry),
    ]);
    for (let at = 0; at < 20; at++) {
      peer.send(settingsOf([setting.headerTableSize, at % 2 ? 4_096 : 0]));
      peer.send(headers(id(at), block, flag.endHeaders | flag.endStream));
    }
    await peer.frame((each) => each.type === frameType.data && each.stream === id(19));
    expect(attacked()).toHaveLength(20);
    expect(ofType(peer, frameType.settings).filter(({ flags }) => flags === flag.ack)).toHaveLength(21);
    const told = ofType(peer, frameType.headers).filter(({ payload }) => payload[0] === 0x20);
    expect(told.map(({ stream }) => stream)).toEqual([1]);
  });

  test.each<[what: string, block: Buffer]>([
    ["an index without an entry", Buffer.of(0xff, 0x00)],
    ["three table sizes", Buffer.of(0x20, 0x20, 0x20)],
    ["a table over the limit", Buffer.of(0x3f, 0xe2, 0x1f)],
    ["an integer without end", Buffer.alloc(16_000, 0xff)],
  ])("compression that is wrong ends the connection: %s", async (_, block) => {
    const { peer, start, attacked } = await useAttack();
    start(headers(1, block));
    expect(await endCode(peer)).toBe(errorCode.compression);
    expect(attacked()).toEqual([]);
  });
});

describe("windows", () => {
  test("zero-window stall: what waits is bounded by streams, and is dropped in the end", async () => {
    const streams = 10;
    const { peer, start, attacked, askHonestly } = await useAttack({
      react: answerOf(100_000),
      limits: { maxConcurrentStreams: streams },
      bounds: { ...exact, resets: 1_000, stallTimeoutMs: 200 },
    });
    start(settingsOf([setting.initialWindowSize, 0]));
    await Promise.all([flood(peer, (at) => get(id(at)), 100), askHonestly()]);
    for (let at = 0; at < streams; at++) await peer.frame(isResetOf(id(at), errorCode.cancel));
    expect(attacked().length).toBeLessThanOrEqual(2 * streams);
    expect(ofType(peer, frameType.data)).toEqual([]);
    await until(() => {
      for (const { closes } of attacked()) expect(closes).toEqual([false]);
    });
    await askHonestly();
  });

  test("answers that are not taken: more of them than a connection may hold end it", async () => {
    const { peer, start, attacked, askHonestly } = await useAttack({
      react: answerOf(100_000),
      bounds: { ...exact, maxWaitingBytes: 2_000_000 },
    });
    start(settingsOf([setting.initialWindowSize, 0]));
    await Promise.all([flood(peer, (at) => get(id(at)), 500), askHonestly()]);
    await expectCalm(peer);
    expect(attacked().length).toBeLessThanOrEqual(21);
    for (const { closes } of attacked()) expect(closes).toEqual([false]);
    await askHonestly();
  });

  test("answers that are not taken on any connection: the one with the most of them ends, and makes room", async () => {
    const { peer, start, connectRaw, askHonestly } = await useAttack({
      react: answerOf(100_000),
      bounds: { ...exact, maxWaitingTotalBytes: 1_000_000 },
    });
    const noWindow = settingsOf([setting.initialWindowSize, 0]);
    const take = (count: number) => Array.from({ length: count }, (_, at) => get(id(at)));
    start(noWindow, ...take(3));
    await peer.frame(({ type }) => type === frameType.headers);
    for (let round = 0; round < 3; round++) {
      const { peer: another } = await connectRaw();
      another.send(preface, settings, settingsAck, noWindow, ...take(6), ping("six"));
      await another.frame(isPingAck);
      expect(another.isClosed).toBe(false);
      another.send(get(id(6)), get(id(7)));
      await expectCalm(another);
    }
    peer.send(ping("there"));
    await peer.frame(isPingAck);
    await askHonestly();
  });

  test("a window that shrinks below zero has to be filled again first", async () => {
    const { peer, start } = await useAttack({ react: answerOf(100_000) });
    start(get(1));
    await until(() => expect(bodyBytes(peer, 1)).toBe(65_535));
    peer.send(
      windowUpdate(0, 1_000_000),
      settingsOf([setting.initialWindowSize, 0]),
      windowUpdate(1, 65_535),
      ping("a"),
    );
    await peer.frame(isPingAck);
    expect(bodyBytes(peer, 1)).toBe(65_535);
    peer.send(windowUpdate(1, 10));
    await until(() => expect(bodyBytes(peer, 1)).toBe(65_545));
    peer.send(settingsOf([setting.initialWindowSize, 65_535]));
    await until(() => expect(bodyBytes(peer, 1)).toBe(100_000));
  });

  test.each<[what: string, bytes: Buffer]>([
    ["of the connection, by WINDOW_UPDATE", windowUpdate(0, 0x7fff_ffff)],
    ["of a stream, by SETTINGS", settingsOf([setting.initialWindowSize, 0x7fff_ffff])],
    ["of any stream, by SETTINGS", settingsOf([setting.initialWindowSize, 0x8000_0000])],
  ])("a window that overflows ends the connection: %s", async (_, bytes) => {
    const { peer, start } = await useAttack();
    start(get(1), windowUpdate(1, 1), bytes);
    expect(await endCode(peer)).toBe(errorCode.flowControl);
  });

  test("data dribble: a window of a byte at a time ends in calm", async () => {
    const { peer, start, askHonestly } = await useAttack({ react: answerOf(100_000) });
    start(settingsOf([setting.initialWindowSize, 0]), get(1));
    await Promise.all([flood(peer, () => windowUpdate(1, 1), 5_000), askHonestly()]);
    await expectCalm(peer);
    expect(ofType(peer, frameType.data).length).toBeLessThanOrEqual(exact.emptyFrames + 20);
  });

  test("an honest reader of a large answer, who tells of each frame twice, gets all of it", async () => {
    const size = 5_000_000;
    const { peer, start } = await useAttack({ react: answerOf(size) });
    start(get(1));
    let seen = 0;
    let received = 0;
    while (received < size) {
      const next = await peer.frame((each) => each.type === frameType.data && peer.frames.indexOf(each) >= seen);
      if (next === undefined) break;
      for (const each of peer.frames.slice(seen)) {
        if (each.type !== frameType.data || each.payload.length === 0) continue;
        received += each.payload.length;
        peer.send(windowUpdate(0, each.payload.length), windowUpdate(1, each.payload.length));
      }
      seen = peer.frames.length;
    }
    expect(received).toBe(size);
    expect(peer.frames.some(isGoaway)).toBe(false);
  });

  test("a peer that reads nothing is not read either", async () => {
    const { socket, far, start, askHonestly, attacked } = await useAttack({
      bounds: { emptyFrames: 1_000_000_000 },
      react: answerOf(10),
    });
    socket.pause();
    start(get(1));
    await until(() => expect(attacked()).toHaveLength(1));
    const server = far();
    const pings = Buffer.concat(Array.from({ length: 10_000 }, () => ping("x")));
    // As long as the server takes them, which is until the buffers of the system are full of its answers.
    let isTaken = true;
    for (let sent = 0; sent < 1_000 && isTaken; sent++) {
      if (socket.write(pings)) continue;
      isTaken = await Promise.race([
        once(socket, "drain").then(() => true),
        stands(() => server?.bytesRead).then(() => false),
      ]);
    }
    expect(isTaken).toBe(false);
    expect(server?.writableLength).toBeLessThan(1_000_000);
    await askHonestly();
  });
});

describe("bodies", () => {
  test("of a byte a frame, which nobody reads, are kept as bytes", async () => {
    let pieces = 0;
    const { peer, start, exchange, askHonestly } = await useAttack({
      react: (exchange) => {
        exchange.pause();
        return { onData: () => void pieces++ };
      },
    });
    start(post(1));
    const { exchange: paused, body } = await exchange(1);
    const size = 50_000;
    const one = Buffer.concat(Array.from({ length: 100 }, () => data(1, Buffer.from("x"))));
    await Promise.all([flood(peer, () => one, size / 100), askHonestly()]);
    peer.send(ping("all"));
    await peer.frame(isPingAck);
    expect(body()).toBe("");
    paused.resume();
    await until(() => expect(body()).toHaveLength(size));
    expect(pieces).toBeLessThan(size / 1_000);
  });

  test("a slow one is cut off, when it is not answered", async () => {
    const { peer, start, attacked, askHonestly } = await useAttack({ limits: { requestTimeoutMs: 100 } });
    start(post(1));
    await until(() => expect(attacked()).toHaveLength(1));
    const dripping = setInterval(() => peer.send(data(1, Buffer.from("x"))), 10);
    await peer.frame(isResetOf(1, errorCode.cancel));
    clearInterval(dripping);
    expect(attacked()[0]?.closes).toEqual([false]);
    await askHonestly();
  });

  test("padding counts for the windows", async () => {
    const { peer, start, attacked } = await useAttack({ bounds: { ...exact, streamWindowBytes: 256 } });
    start(post(1), data(1, Buffer.alloc(257, 0).fill(255, 0, 1), flag.padded));
    await peer.frame(isResetOf(1, errorCode.flowControl));
    expect(attacked()[0]?.closes).toEqual([false]);
    peer.send(post(3), data(3, Buffer.alloc(256, "x").fill(254, 0, 1), flag.padded));
    await until(() => expect(attacked()[1]?.body()).toBe("x"));
  });

  test.each<[what: string, bytes: Buffer]>([
    ["DATA", data(1, Buffer.of(5, 1, 2, 3), flag.padded)],
    ["DATA of nothing", data(1, Buffer.alloc(0), flag.padded)],
    ["HEADERS", headers(3, Buffer.of(7, ...target), flag.endHeaders | flag.padded)],
    ["HEADERS of nothing", headers(3, Buffer.alloc(0), flag.endHeaders | flag.padded)],
  ])("more padding than payload: %s", async (_, bytes) => {
    const { peer, start } = await useAttack();
    start(post(1), bytes);
    expect(await endCode(peer)).toBeOneOf([errorCode.protocol, errorCode.frameSize]);
  });

  test.each([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 200])("a frame of type %i that is too long", async (type) => {
    const { peer, start, attacked } = await useAttack();
    start(post(1), frame(type, 0, 1, Buffer.alloc(16_385)));
    expect(await endCode(peer)).toBe(errorCode.frameSize);
    expect(attacked().length).toBeLessThanOrEqual(1);
  });
});

describe("peers that take their time", () => {
  test("slow preface, slow SETTINGS, slow header block: cut off", async () => {
    const { connectRaw, attacked, askHonestly, sockets } = await useAttack({
      bounds: { ...exact, prefaceTimeoutMs: 100 },
    });
    const beginnings = [
      [preface.subarray(0, 3)],
      [preface, settings.subarray(0, 4)],
      [preface, settings, headers(1, target, flag.endStream)],
    ];
    const peers = await Promise.all(beginnings.map(() => connectRaw()));
    for (const [at, bytes] of beginnings.entries()) peers[at]?.peer.send(...bytes);
    await Promise.all([...peers.map(({ peer }) => peer.closed), askHonestly()]);
    expect(attacked()).toEqual([]);
    // That of the bystander, and one that has not begun.
    await until(() => expect(sockets.size).toBe(2));
  });

  test("a frame that drips ends with the idle limit", async () => {
    const { peer, start, attacked } = await useAttack({ limits: { idleTimeoutMs: 100 } });
    start(headers(1, Buffer.alloc(16_000)).subarray(0, 9));
    const dripping = setInterval(() => peer.send(Buffer.of(0)), 20);
    expect(await endCode(peer)).toBe(errorCode.noError);
    clearInterval(dripping);
    expect(attacked()).toEqual([]);
  });

  test("a peer that closes its side ends its exchanges", async () => {
    const { socket, start, attacked, sockets, askHonestly } = await useAttack();
    start(get(1), post(3));
    await until(() => expect(attacked()).toHaveLength(2));
    socket.end();
    await until(() => {
      for (const { closes } of attacked()) expect(closes).toEqual([false]);
      expect(sockets.size).toBe(1);
    });
    await askHonestly();
  });

  test("a peer that never acknowledges SETTINGS is served", async () => {
    const { peer, attacked } = await useAttack({ react: answerOf(3) });
    peer.send(preface, settings, ...Array.from({ length: 100 }, (_, at) => get(id(at))));
    await peer.frame((each) => each.type === frameType.data && each.stream === id(99));
    expect(attacked()).toHaveLength(100);
  });

  test("GOAWAY of the peer: what is open is answered, nothing new is taken", async () => {
    const answers: (() => void)[] = [];
    const { peer, start, attacked } = await useAttack({
      react: (exchange) => {
        answers.push(() => exchange.answer(ok, Buffer.from("last")));
        return {};
      },
    });
    start(get(1), frame(frameType.goaway, 0, 0, Buffer.concat([toUint32(0), toUint32(0)])), get(3));
    await peer.frame(isResetOf(3, errorCode.refusedStream));
    expect(attacked()).toHaveLength(1);
    answers[0]?.();
    expect(await endCode(peer)).toBe(errorCode.noError);
    expect(bodyBytes(peer, 1)).toBe(4);
    expect(attacked()[0]?.closes).toEqual([true]);
  });
});

/** Resolves when a value has not changed for a hundred turns with a pause each. */
async function stands(read: () => unknown): Promise<void> {
  let [before, same] = [read(), 0];
  while (same < 100) {
    await new Promise((resolve) => setTimeout(resolve, 2));
    await nextTurn();
    same = read() === before ? same + 1 : 0;
    before = read();
  }
}
