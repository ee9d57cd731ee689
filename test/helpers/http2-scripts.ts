import fc from "fast-check";
import { encodeFields } from "../../src/http2/hpack/encode.ts";
import {
  data,
  flag,
  frame,
  frameType,
  headers,
  ping,
  reset,
  setting,
  settingsOf,
  toUint32,
  windowUpdate,
} from "./http2-frames.ts";

/** What clients send, as fast-check makes it up. */

const target = Buffer.of(0x82, 0x86, 0x84, 0x01, 1, 0x78);
const postTarget = Buffer.of(0x83, 0x86, 0x84, 0x01, 1, 0x78);
const withFields = (head: Buffer, ...fields: string[]) => Buffer.concat([head, encodeFields(fields)]);

/** Header blocks, most of which are requests. */
const blocks: readonly Buffer[] = [
  target,
  postTarget,
  withFields(postTarget, "content-length", "3"),
  withFields(postTarget, "te", "trailers", "token", "x".repeat(200)),
  withFields(postTarget, "expect", "100-continue"),
  withFields(postTarget, "connection", "close"),
  withFields(postTarget, "big", "x".repeat(9_000)),
  Buffer.from(encodeFields([":method", "HEAD", ":scheme", "http", ":path", "/", ":authority", "x"])),
  Buffer.from(encodeFields([":method", "CONNECT", ":authority", "x"])),
  Buffer.from(encodeFields(["trailer", "x"])),
  // With the dynamic table: an entry, the newest entry, and a new size.
  Buffer.concat([target, Buffer.of(0x40, 1, 0x61, 1, 0x62)]),
  Buffer.concat([target, Buffer.of(0xbe)]),
  Buffer.concat([Buffer.of(0x20, 0x3f, 0xe1, 0x1f), target]),
  Buffer.of(0x80),
];

const stream = fc.constantFrom(0, 1, 1, 1, 2, 3, 3, 5, 7, 9, 0x7fff_ffff);
const flags = fc.oneof(
  fc.constantFrom(0, flag.endStream, flag.endHeaders, flag.endHeaders | flag.endStream, flag.padded, flag.priority),
  fc.nat(255),
);
const bytes = fc.oneof(
  fc.uint8Array({ maxLength: 40 }).map((array) => Buffer.from(array)),
  fc.constantFrom(
    Buffer.alloc(0),
    Buffer.alloc(4),
    Buffer.alloc(5),
    Buffer.alloc(8),
    Buffer.alloc(16_385),
    Buffer.alloc(5_000),
  ),
);
const uint32 = fc.oneof(fc.constantFrom(0, 1, 100, 65_535, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff), fc.nat(100_000));

/** A frame, right or wrong. */
const anyFrame: fc.Arbitrary<Buffer> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.tuple(stream, fc.constantFrom(...blocks), flags).map(([id, block, bits]) => headers(id, block, bits)),
  },
  {
    weight: 6,
    arbitrary: fc
      .tuple(fc.constantFrom(1, 3, 5, 7, 9), fc.constantFrom(...blocks), fc.boolean())
      .map(([id, block, isEnd]) => headers(id, block, flag.endHeaders | (isEnd ? flag.endStream : 0))),
  },
  { weight: 5, arbitrary: fc.tuple(stream, bytes, flags).map(([id, payload, bits]) => data(id, payload, bits)) },
  { weight: 2, arbitrary: fc.tuple(stream, uint32).map(([id, increment]) => windowUpdate(id, increment)) },
  { weight: 2, arbitrary: fc.tuple(stream, uint32).map(([id, code]) => frame(frameType.reset, 0, id, toUint32(code))) },
  { weight: 2, arbitrary: fc.tuple(fc.nat(8), uint32).map(([id, value]) => settingsOf([id, value])) },
  {
    weight: 1,
    arbitrary: fc
      .tuple(stream, fc.constantFrom(...blocks), flags)
      .map(([id, block, bits]) => frame(frameType.continuation, bits, id, block)),
  },
  {
    weight: 2,
    arbitrary: fc
      .tuple(fc.nat(20), flags, stream, bytes)
      .map(([type, bits, id, payload]) => frame(type, bits, id, payload)),
  },
  { weight: 1, arbitrary: fc.constant(ping("ping")) },
);

/** What a client does next: most of it is right at its time, so that much has happened when something is not. */
const step: fc.Arbitrary<(lastId: number) => { readonly bytes: Buffer; readonly lastId: number }> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc
      .tuple(fc.constantFrom(...blocks.slice(0, 7), ...blocks.slice(10, 11)), fc.boolean())
      .map(([block, isEnd]) => (lastId: number) => ({
        bytes: headers(lastId + 2, block, flag.endHeaders | (isEnd ? flag.endStream : 0)),
        lastId: lastId + 2,
      })),
  },
  {
    weight: 12,
    arbitrary: fc
      .tuple(
        fc.constantFrom(0, 0, 0, 2, 4),
        fc.constantFrom<(id: number) => Buffer>(
          (id) => data(id, Buffer.from("abc")),
          (id) => data(id, Buffer.from("abc"), flag.endStream),
          (id) => data(id, Buffer.alloc(16_000)),
          (id) => data(id, Buffer.of(2, 1, 0, 0), flag.padded),
          (id) => headers(id, encodeFields(["trailer", "x"]), flag.endHeaders | flag.endStream),
          (id) => reset(id),
          (id) => reset(id),
          (id) => windowUpdate(id, 40_000),
          (id) => windowUpdate(id, 0),
        ),
      )
      .map(([back, make]) => (lastId: number) => ({
        bytes: lastId === -1 ? Buffer.alloc(0) : make(Math.max(1, lastId - back)),
        lastId,
      })),
  },
  {
    weight: 3,
    arbitrary: fc
      .constantFrom(
        ping("ping"),
        windowUpdate(0, 50_000),
        settingsOf([setting.initialWindowSize, 0]),
        settingsOf([setting.initialWindowSize, 100_000]),
        settingsOf([setting.headerTableSize, 0]),
        frame(frameType.goaway, 0, 0, Buffer.alloc(8)),
      )
      .map((bytes) => (lastId: number) => ({ bytes, lastId })),
  },
  { weight: 1, arbitrary: anyFrame.map((bytes) => (lastId: number) => ({ bytes, lastId })) },
);

/** All that a client sends, right for the most part. */
export const anyScript: fc.Arbitrary<Buffer> = fc.array(step, { minLength: 1, maxLength: 30 }).map((steps) => {
  let lastId = -1;
  return Buffer.concat(
    steps.map((next) => {
      const { bytes, lastId: id } = next(lastId);
      lastId = id;
      return bytes;
    }),
  );
});

/** A request as it should be, frame by frame, without its stream. */
export interface ScriptedRequest {
  readonly block: Buffer;
  readonly body: readonly string[];
  readonly padding: number;
  readonly hasTrailers: boolean;
  readonly splitsBlock: boolean;
}

const text = fc.string({ unit: fc.constantFrom(..."abcdef"), maxLength: 200 });

export const goodRequests: fc.Arbitrary<ScriptedRequest[]> = fc.array(
  fc
    .record({
      body: fc.array(text, { maxLength: 4 }),
      padding: fc.constantFrom(0, 0, 0, 1, 200),
      hasTrailers: fc.boolean(),
      splitsBlock: fc.boolean(),
      tellsLength: fc.boolean(),
      name: fc.constantFrom("x-a", "x-b", "x-c"),
      value: text,
      isIndexed: fc.boolean(),
    })
    .map(({ tellsLength, name, value, isIndexed, ...request }) => {
      const length = tellsLength
        ? encodeFields(["content-length", `${request.body.join("").length}`])
        : Buffer.alloc(0);
      const field = Buffer.from(encodeFields([name, value]));
      if (isIndexed) field[0] = 0x40;
      return { ...request, block: Buffer.concat([postTarget, length, field]) };
    }),
  { minLength: 1, maxLength: 5 },
);

/** The frames of a request on its stream. */
export function toScript(id: number, { block, body, padding, hasTrailers, splitsBlock }: ScriptedRequest): Buffer[] {
  const pieces = body.length === 0 ? [""] : body;
  const first = splitsBlock
    ? Buffer.concat([
        headers(id, block.subarray(0, 4), 0),
        frame(frameType.continuation, flag.endHeaders, id, block.subarray(4)),
      ])
    : headers(id, block);
  const rest = pieces.map((piece, at) => {
    const end = !hasTrailers && at === pieces.length - 1 ? flag.endStream : 0;
    if (padding === 0) return data(id, Buffer.from(piece), end);
    return data(id, Buffer.concat([Buffer.of(padding), Buffer.from(piece), Buffer.alloc(padding)]), end | flag.padded);
  });
  const trailers = hasTrailers ? [headers(id, encodeFields(["x-last", "1"]), flag.endHeaders | flag.endStream)] : [];
  return [first, ...rest, ...trailers];
}

/** What may stand between any frames, but not in a header block, and changes nothing. */
export const harmlessFrame: fc.Arbitrary<Buffer> = fc.constantFrom(
  Buffer.alloc(0),
  ping("between"),
  windowUpdate(0, 1_000),
  settingsOf([setting.initialWindowSize, 70_000]),
  settingsOf([99, 1]),
  frame(frameType.priority, 0, 1, Buffer.of(0, 0, 0, 0, 16)),
  frame(77, 3, 1, Buffer.from("unknown")),
);
