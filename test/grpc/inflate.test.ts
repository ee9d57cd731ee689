import { gzipSync } from "node:zlib";
import { Code } from "@connectrpc/connect";
import { describe, expect, test } from "vitest";
import { inflate, inflatedLength } from "../../src/grpc/inflate.ts";

const limit = { maxBytes: 100_000, tooLarge: () => new RangeError("too large") };
const inflateAll = async (bytes: Uint8Array) => Buffer.from(await inflate(bytes, inflatedLength(bytes, limit)));
const corrupt = expect.objectContaining({ code: Code.Internal, rawMessage: "the message is not one gzip" });

test.each([0, 1, 16_384, 16_385, 100_000])("%d bytes are what they were", async (length) => {
  const bytes = Buffer.from(Array.from({ length }, (_, i) => (i * 31) % 251));
  expect((await inflateAll(gzipSync(bytes))).equals(bytes)).toBe(true);
});

test("small messages need no promise, large ones do", () => {
  expect(inflate(gzipSync(Buffer.alloc(16_384)), 16_384)).toBeInstanceOf(Uint8Array);
  expect(inflate(gzipSync(Buffer.alloc(16_385)), 16_385)).toBeInstanceOf(Promise);
});

test("large ones may be overwritten while they are inflated", async () => {
  const bytes = gzipSync(Buffer.alloc(50_000, "x"));
  const inflating = inflateAll(bytes);
  bytes.fill(0);
  expect(String(await inflating)).toBe("x".repeat(50_000));
});

test("more than the limit is refused before anything is inflated", () => {
  expect(() => inflatedLength(gzipSync(Buffer.alloc(100_001)), limit)).toThrow(RangeError);
});

describe("what is not one gzip", () => {
  const lying = (length: number, says: number) => {
    const bytes = gzipSync(Buffer.alloc(length, "x"));
    bytes.writeUInt32LE(says, bytes.length - 4);
    return bytes;
  };

  const whole = gzipSync(Buffer.from(Array.from({ length: 100 }, (_, i) => (i * 31) % 251)));

  test.each<[string, Uint8Array]>([
    ["nothing", new Uint8Array()],
    ["no gzip", Buffer.alloc(40)],
    ["no gzip, and large", Buffer.alloc(40_000)],
    ["a gzip of which a part is missing", Buffer.concat([whole.subarray(0, 30), whole.subarray(-20)])],
    ["a bomb that says it is small", lying(50_000_000, 10)],
    ["a bomb that says it fits", lying(50_000_000, 100_000)],
    ["one that says it is larger", lying(10, 11)],
    ["one that says it is empty", lying(10, 0)],
    ["two in a row", Buffer.concat([gzipSync(Buffer.alloc(10)), gzipSync(Buffer.alloc(10))])],
  ])("%s", async (_, bytes) => {
    await expect(inflateAll(bytes)).rejects.toEqual(corrupt);
  });
});
