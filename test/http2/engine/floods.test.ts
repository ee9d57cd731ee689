import { describe, expect, test } from "vitest";
import { exact, expectCalm, flood, isResetOf, ofType, ok, useAttack } from "../../helpers/attack.ts";
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
  reset,
  setting,
  settingsAck,
  settingsOf,
  toUint32,
  windowUpdate,
} from "../../helpers/http2-frames.ts";

/** More than any limit of these tests allows. */
const many = 5_000;
const literal = (name: string, value: string) =>
  Buffer.concat([Buffer.of(0x00, name.length), Buffer.from(name), Buffer.of(value.length), Buffer.from(value)]);
/** POST http://x/ with one field more. */
const postWith = (stream: number, name: string, value: string) =>
  headers(stream, Buffer.concat([Buffer.of(0x83, 0x86, 0x84, 0x41, 1, 0x78), literal(name, value)]));
const unknownSettings = settingsOf(...Array.from({ length: 2_000 }, (_, at): [number, number] => [100 + at, at]));
const id = (at: number) => 2 * at + 1;

describe("streams that end before their time: a number of them, then GOAWAY", () => {
  const attacks: Readonly<Record<string, (stream: number) => Buffer>> = {
    "rapid reset": (stream) => Buffer.concat([get(stream), reset(stream)]),
    "rapid reset of unfinished requests": (stream) => Buffer.concat([post(stream), reset(stream)]),
    "MadeYouReset by WINDOW_UPDATE of 0": (stream) => Buffer.concat([get(stream), windowUpdate(stream, 0)]),
    "MadeYouReset by a window that overflows": (stream) =>
      Buffer.concat([get(stream), windowUpdate(stream, 0x7fff_ffff)]),
    "MadeYouReset by DATA after the end": (stream) => Buffer.concat([get(stream), data(stream, Buffer.from("x"))]),
    "MadeYouReset by HEADERS after the end": (stream) => Buffer.concat([get(stream), get(stream)]),
    "MadeYouReset by trailers that do not end": (stream) => Buffer.concat([post(stream), post(stream)]),
    "MadeYouReset by a PRIORITY on itself": (stream) =>
      Buffer.concat([
        get(stream),
        frame(frameType.priority, 0, stream, Buffer.concat([toUint32(stream), Buffer.of(1)])),
      ]),
    "MadeYouReset by a PRIORITY of another length": (stream) =>
      Buffer.concat([get(stream), frame(frameType.priority, 0, stream, Buffer.alloc(4))]),
    "MadeYouReset by more than content-length": (stream) =>
      Buffer.concat([postWith(stream, "content-length", "1"), data(stream, Buffer.from("xx"))]),
    "MadeYouReset by less than content-length": (stream) =>
      Buffer.concat([postWith(stream, "content-length", "2"), data(stream, Buffer.from("x"), flag.endStream)]),
    "malformed requests": (stream) => postWith(stream, "connection", "close"),
    "requests that depend on themselves": (stream) =>
      headers(
        stream,
        Buffer.concat([toUint32(stream), Buffer.of(1, 0x82, 0x86, 0x84, 0x41, 1, 0x78)]),
        flag.endHeaders | flag.endStream | flag.priority,
      ),
  };

  test.each(Object.entries(attacks))("%s", async (_, make) => {
    const { peer, start, attacked, askHonestly, log } = await useAttack();
    start();
    const [sent] = await Promise.all([flood(peer, (at) => make(id(at)), many), askHonestly()]);
    await expectCalm(peer);
    expect(sent).toBeLessThan(many);
    expect(attacked().length).toBeLessThanOrEqual(exact.resets + 1);
    for (const { closes } of attacked()) expect(closes).toEqual([false]);
    expect(ofType(peer, frameType.reset).length).toBeLessThanOrEqual(exact.resets + 1);
    await askHonestly();
    expect(log.error).not.toHaveBeenCalled();
  });

  test("by DATA beyond the window of the stream, again and again", async () => {
    const window = 1_000;
    const { peer, start, attacked } = await useAttack({ bounds: { ...exact, streamWindowBytes: window } });
    start();
    await flood(peer, (at) => Buffer.concat([post(id(at)), data(id(at), Buffer.alloc(window + 1))]), many);
    await expectCalm(peer);
    expect(attacked().length).toBeLessThanOrEqual(exact.resets + 1);
    expect(peer.frames.some(isResetOf(1, errorCode.flowControl))).toBe(true);
  });

  test("by streams beyond the limit: refused, then calm", async () => {
    const { peer, start, attacked, askHonestly } = await useAttack({ limits: { maxConcurrentStreams: 5 } });
    start();
    await Promise.all([flood(peer, (at) => get(id(at)), many), askHonestly()]);
    await expectCalm(peer);
    expect(attacked()).toHaveLength(5);
    const refused = ofType(peer, frameType.reset);
    expect(refused).toHaveLength(exact.resets + 1);
    for (const { payload } of refused) expect(payload.readUInt32BE()).toBe(errorCode.refusedStream);
  });

  test("the default allows a thousand, and ends ten thousand", async () => {
    const { peer, start, askHonestly } = await useAttack({ bounds: {} });
    start();
    await flood(peer, (at) => Buffer.concat([get(id(at)), reset(id(at))]), 1_000);
    expect(peer.isClosed).toBe(false);
    await Promise.all([
      flood(peer, (at) => Buffer.concat([get(id(1_000 + at)), reset(id(1_000 + at))]), 9_000),
      askHonestly(),
    ]);
    await expectCalm(peer);
  });
});

describe("frames that carry nothing: a number of them, then GOAWAY", () => {
  /** Each on a connection on which stream 1 is open, stream 3 was answered, and stream 5 was reset. */
  const attacks: Readonly<Record<string, (at: number) => Buffer>> = {
    PING: (at) => ping(String(at)),
    "PING acknowledgements": () => frame(frameType.ping, flag.ack, 0, Buffer.alloc(8)),
    SETTINGS: () => settingsOf(),
    "SETTINGS that change the windows": (at) => settingsOf([setting.initialWindowSize, at % 2 ? 65_535 : 100]),
    "SETTINGS of 2,000 unknown settings": () => unknownSettings,
    "SETTINGS acknowledgements": () => settingsAck,
    PRIORITY: (at) => frame(frameType.priority, 0, id(at), Buffer.of(0, 0, 0, 0, 16)),
    "empty DATA": () => data(1, Buffer.alloc(0)),
    "DATA of nothing but padding": () => data(1, Buffer.alloc(256, 0xff).fill(0, 1), flag.padded),
    "DATA of an empty padding": () => data(1, Buffer.of(0), flag.padded),
    "DATA on a stream that was reset": () => data(5, Buffer.from("x")),
    "HEADERS on a stream that was reset": () => post(5),
    "RST_STREAM of a stream that was reset": () => reset(5),
    "WINDOW_UPDATE of the connection": () => windowUpdate(0, 1),
    "WINDOW_UPDATE of a stream": () => windowUpdate(1, 1),
    "WINDOW_UPDATE of a closed stream": () => windowUpdate(3, 1),
    "unknown frames": (at) => frame(10 + (at % 200), at % 256, at % 7, Buffer.alloc(at % 50)),
    "unknown frames of the largest size": () => frame(0xfe, 0, 0, Buffer.alloc(16_384)),
    GOAWAY: () => frame(frameType.goaway, 0, 0, Buffer.alloc(8)),
  };

  test.each(Object.entries(attacks))("%s", async (_, make) => {
    const { peer, start, attacked, askHonestly, log } = await useAttack({
      react: (exchange) => ({
        onEnd: () => exchange.answer(ok, Buffer.from("x")),
        onData: () => exchange.reset(errorCode.cancel),
      }),
    });
    start(post(1), get(3), post(5), data(5, Buffer.from("x")));
    await peer.frame(isResetOf(5, errorCode.cancel));
    expect(attacked()).toHaveLength(3);
    const before = peer.frames.length;
    const [sent] = await Promise.all([flood(peer, make, many), askHonestly()]);
    await expectCalm(peer);
    expect(sent).toBeLessThan(many);
    expect(attacked()).toHaveLength(3);
    // At most an answer for each frame of the budget, and for what has earned more: three requests, and a DATA frame.
    expect(peer.frames.length - before).toBeLessThanOrEqual(exact.emptyFrames + 20);
    await askHonestly();
    expect(log.error).not.toHaveBeenCalled();
  });

  test("the default allows a thousand, and ends a hundred thousand", async () => {
    const { peer, start, askHonestly } = await useAttack({ bounds: {} });
    start();
    await flood(peer, (at) => ping(String(at)), 900);
    expect(peer.isClosed).toBe(false);
    await Promise.all([flood(peer, (at) => ping(String(at)), 100_000), askHonestly()]);
    await expectCalm(peer);
  });
});
