import { Code, ConnectError } from "@connectrpc/connect";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { toFrame } from "../../src/grpc/frame.ts";
import { MessageReader } from "../../src/grpc/message-reader.ts";
import { fuzz } from "../helpers/fuzz.ts";

const limit = { maxBytes: 1_000, tooLarge: () => new RangeError("too large") };

/** Reads a body that comes in these pieces, each of which is overwritten when it has been read. */
function readAll(pieces: readonly Uint8Array[], reader = new MessageReader()): string[] {
  const messages: string[] = [];
  for (const piece of pieces) {
    const bytes = Uint8Array.from(piece);
    reader.push(bytes);
    for (let message = reader.next(limit); message !== undefined; message = reader.next(limit)) {
      messages.push(Buffer.from(message).toString("latin1"));
    }
    reader.keep();
    bytes.fill(0xff);
  }
  return messages;
}

test("a body is the same messages in whatever pieces it comes", () => {
  const message = fc.uint8Array({ maxLength: 300 });
  fc.assert(
    fc.property(fc.array(message, { maxLength: 6 }), fc.array(fc.nat(400)), (messages, cuts) => {
      const body = Buffer.concat(messages.map(toFrame));
      const pieces: Buffer[] = [];
      let at = 0;
      for (const length of cuts) {
        pieces.push(body.subarray(at, at + length));
        at += length;
      }
      pieces.push(body.subarray(at));
      const reader = new MessageReader();
      expect(readAll(pieces, reader)).toEqual(messages.map((bytes) => Buffer.from(bytes).toString("latin1")));
      expect(reader.hasRest).toBe(false);
      expect(reader.keptBytes).toBe(0);
    }),
    fuzz(100),
  );
});

test("what lies whole in a piece is not copied", () => {
  const reader = new MessageReader();
  const piece = Buffer.concat([toFrame(Buffer.from("one")), toFrame(Buffer.from("two"))]);
  reader.push(piece);
  for (const text of ["one", "two"]) {
    const message = reader.next(limit);
    expect(Buffer.from(message ?? []).toString()).toBe(text);
    expect(message?.buffer).toBe(piece.buffer);
  }
  reader.keep();
  expect(reader.keptBytes).toBe(0);
});

test("messages that are not taken are kept, and read later", () => {
  const reader = new MessageReader();
  const frame = toFrame(Buffer.from("12345"));
  for (let i = 0; i < 3; i++) {
    const piece = Uint8Array.from(frame);
    reader.push(piece);
    reader.keep();
    piece.fill(0);
  }
  expect(reader.keptBytes).toBeGreaterThanOrEqual(30);
  for (let i = 0; i < 3; i++) expect(String(Buffer.from(reader.next(limit) ?? []))).toBe("12345");
  expect(reader.next(limit)).toBeUndefined();
  reader.keep();
  expect(reader.keptBytes).toBe(0);
});

describe("a message of the largest size", () => {
  const prefix = (length: number, flags = 0) => {
    const bytes = Buffer.alloc(5);
    bytes[0] = flags;
    bytes.writeUInt32BE(length, 1);
    return bytes;
  };

  test("is taken, and one that is a byte larger is refused by its prefix", () => {
    expect(readAll([toFrame(Buffer.alloc(1_000, "x"))])).toEqual(["x".repeat(1_000)]);
    expect(() => readAll([prefix(1_001)])).toThrow(RangeError);
    expect(() => readAll([prefix(2 ** 32 - 1)])).toThrow(RangeError);
    expect(readAll([prefix(1_001).subarray(0, 4)])).toEqual([]);
  });

  test("takes no memory that has not come", () => {
    const reader = new MessageReader();
    const large = { ...limit, maxBytes: 8_388_608 };
    for (const piece of [prefix(8_388_608), Buffer.alloc(10), Buffer.alloc(10)]) {
      reader.push(piece);
      expect(reader.next(large)).toBeUndefined();
      reader.keep();
    }
    expect(reader.keptBytes).toBeLessThanOrEqual(4_096);
    reader.clear();
    expect(reader.keptBytes).toBe(0);
    expect(reader.hasRest).toBe(false);
  });

  test("says whether it is compressed; other flags are none", () => {
    const reader = new MessageReader();
    reader.push(Buffer.concat([prefix(0, 1), prefix(0), prefix(0, 2)]));
    expect([reader.next(limit)?.length, reader.isCompressed]).toEqual([0, true]);
    expect([reader.next(limit)?.length, reader.isCompressed]).toEqual([0, false]);
    expect(() => reader.next(limit)).toThrow(ConnectError);
    expect(() => reader.next(limit)).toThrow(expect.objectContaining({ code: Code.Internal }));
  });
});
