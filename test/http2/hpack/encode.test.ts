import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createDecoder } from "../../../src/http2/hpack/decoder.ts";
import { encodeFields, maxSizeOf, tableSizeUpdate, writeFields } from "../../../src/http2/hpack/encode.ts";
import { fuzz } from "../../helpers/fuzz.ts";

const decode = (block: Uint8Array): readonly string[] =>
  createDecoder({ maxTableSize: 4_096, maxListSize: 2 ** 30 }).decode(block).list;

describe("encodeFields", () => {
  test("takes whole fields and names from the static table", () => {
    const block = encodeFields([":status", "200", "content-type", "a/b", "x", "y"]);
    expect(Buffer.from(block).toString("hex")).toBe("88" + "0f10" + "03612f62" + "00" + "0178" + "0179");
  });

  test("says of secrets that they are never to be indexed", () => {
    expect(Buffer.from(encodeFields(["set-cookie", "a=b"])).toString("hex")).toBe("1f28" + "03613d62");
    expect(Buffer.from(encodeFields(["proxy-authorization", "a"])).toString("hex")).toBe("1f22" + "0161");
    expect(Buffer.from(encodeFields(["authorization", "a"])).toString("hex")).toBe("1f08" + "0161");
  });

  test("makes the block of the same fields once", () => {
    const fields = [":status", "200", "server", "x"];
    expect(encodeFields(fields)).toBe(encodeFields(fields));
    expect(encodeFields([...fields])).not.toBe(encodeFields(fields));
  });

  test.each([0, 1, 126, 127, 128, 254, 255, 16_383, 16_510, 16_511, 2_097_151, 2_097_278, 2_097_279])(
    "a value of %d bytes",
    (length) => {
      const value = "v".repeat(length);
      expect(decode(encodeFields(["name", value, "n".repeat(length), "w"]))).toEqual([
        "name",
        value,
        "n".repeat(length),
        "w",
      ]);
    },
  );

  test("writes what must not stand in a field as a question mark", () => {
    expect(decode(encodeFields(["x", "a\r\nb\0c\u010ad\u{1f600}\t\u00e9"]))).toEqual(["x", "a??b?c?d??\t\u00e9"]);
  });
});

describe("writeFields", () => {
  test("writes into the middle, and says where it ended", () => {
    const target = new Uint8Array(100).fill(0xee);
    const end = writeFields(target, 10, [":status", "404", "a", "b"]);
    expect([target[9], target[end]]).toEqual([0xee, 0xee]);
    expect(decode(target.subarray(10, end))).toEqual([":status", "404", "a", "b"]);
  });

  test("in two parts makes one block", () => {
    const target = new Uint8Array(100);
    const end = writeFields(target, writeFields(target, 0, ["a", "b"]), ["c", "d"]);
    expect(decode(target.subarray(0, end))).toEqual(["a", "b", "c", "d"]);
  });

  test("writes nothing past the end of the target", () => {
    const fields = [":status", "200", "name", "value".repeat(50)];
    const most = maxSizeOf(fields);
    expect(writeFields(new Uint8Array(most), 0, fields)).toBeGreaterThan(0);
    expect(writeFields(new Uint8Array(250), 0, fields)).toBe(-1);
    const memory = new Uint8Array(most + 100).fill(0xee);
    for (let size = 0; size < most; size++) {
      expect(writeFields(memory.subarray(0, size), 0, fields)).toBeLessThanOrEqual(size);
      expect(memory.subarray(size).every((byte) => byte === 0xee)).toBe(true);
    }
  });
});

test("the table size update empties a table for good", () => {
  const decoder = createDecoder({ maxTableSize: 4_096, maxListSize: 16_384 });
  decoder.setMaxTableSize(0);
  expect(decoder.decode(Buffer.concat([tableSizeUpdate, encodeFields([":status", "200"])])).list).toEqual([
    ":status",
    "200",
  ]);
  decoder.setMaxTableSize(4_096);
  decoder.setMaxTableSize(0);
  expect(decoder.decode(encodeFields([":status", "200"])).list).toEqual([":status", "200"]);
});

test("what is written is what is read", () => {
  const name = fc.oneof(
    fc.constantFrom(":status", ":path", "content-type", "grpc-status", "set-cookie", "accept-encoding"),
    fc.string({ unit: fc.constantFrom(..."abcxyz0189-_."), minLength: 1, maxLength: 40 }),
  );
  const byte = fc.integer({ min: 1, max: 255 }).filter((code) => code !== 10 && code !== 13);
  const value = fc.oneof(
    fc.constantFrom("200", "", "gzip, deflate", "application/grpc"),
    fc.array(byte, { maxLength: 300 }).map((codes) => String.fromCharCode(...codes)),
  );
  fc.assert(
    fc.property(fc.array(fc.tuple(name, value), { maxLength: 20 }), (fields) => {
      expect(decode(encodeFields(fields.flat()))).toEqual(fields.flat());
    }),
    fuzz(1_000),
  );
});
