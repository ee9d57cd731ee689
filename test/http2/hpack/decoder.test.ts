import { describe, expect, test } from "vitest";
import { CompressionError } from "../../../src/http2/hpack/compression-error.ts";
import { createDecoder } from "../../../src/http2/hpack/decoder.ts";
import type { Decoder } from "../../../src/http2/hpack/fields.ts";
import { toInteger, toText } from "../../helpers/hpack.ts";

const literal = (name: string, value: string): Buffer =>
  Buffer.concat([Buffer.of(0x00), toText(name, false), toText(value, false)]);
const incremental = (name: string, value: string): Buffer =>
  Buffer.concat([Buffer.of(0x40), toText(name, false), toText(value, false)]);
const resize = (size: number): Buffer => toInteger(0x20, 5, size);
const method = Buffer.of(0x82);

function start(limits: { maxTableSize?: number; maxListSize?: number } = {}): Decoder {
  return createDecoder({ maxTableSize: 4_096, maxListSize: 16_384, ...limits });
}

describe("refuses with a CompressionError", () => {
  test.each<[what: string, block: Buffer, message: string]>([
    ["index 0", Buffer.of(0x80), "an index without an entry"],
    [
      "an index behind the static table when the dynamic one is empty",
      Buffer.of(0x80 | 62),
      "an index without an entry",
    ],
    ["an index behind the dynamic table", Buffer.of(...incremental("a", "b"), 0x80 | 63), "an index without an entry"],
    ["the name of an index that there is not", Buffer.of(0x7e, 0x01, 0x61), "an index without an entry"],
    ["an index of five continuation bytes", Buffer.of(0xff, 0x80, 0x80, 0x80, 0x80, 0x01), "an integer is too large"],
    ["an integer of zeros without end", Buffer.of(0xff, ...new Array(1_000).fill(0x80)), "an integer is too large"],
    ["a length of 2^35", Buffer.of(0x00, 0x7f, 0xff, 0xff, 0xff, 0xff, 0x7f), "an integer is too large"],
    ["an integer that is cut", Buffer.of(0xff, 0x80), "a block ends in the middle of an integer"],
    ["a literal of which there is but the first byte", Buffer.of(0x40), "a block ends in the middle of an integer"],
    ["a literal without a value", Buffer.of(0x00, 0x01, 0x61), "a block ends in the middle of an integer"],
    ["a name past the block", Buffer.of(0x00, 0x05, 0x61), "a text goes past the end of its block"],
    ["a value past the block", Buffer.of(0x01, 0x02, 0x61), "a text goes past the end of its block"],
    ["a value in Huffman code past the block", Buffer.of(0x01, 0x82, 0xff), "a text goes past the end of its block"],
    ["a padding of zeros", Buffer.of(0x01, 0x81, 0x18), "a text is not padded with ones, or by a byte"],
    ["a padding of a whole byte", Buffer.of(0x01, 0x82, 0x1f, 0xff), "a text is not padded with ones, or by a byte"],
    ["nothing but padding", Buffer.of(0x01, 0x81, 0xff), "a text is not padded with ones, or by a byte"],
    ["a code that is cut", Buffer.of(0x01, 0x82, 0xff, 0xc0), "a text is not padded with ones, or by a byte"],
    ["the mark of the end of a text", Buffer.of(0x01, 0x84, 0xff, 0xff, 0xff, 0xff), "the mark of its end"],
    ["a table size over the limit", resize(4_097), "a table size over the limit"],
    ["a table size after a field", Buffer.concat([method, resize(0)]), "a table size update after a field"],
    ["three table sizes", Buffer.concat([resize(0), resize(0), resize(0)]), "more than two table size updates"],
  ])("%s", (_, block, message) => {
    const decode = () => start().decode(block);
    expect(decode).toThrow(CompressionError);
    expect(decode).toThrow(message);
  });
});

describe("Huffman padding", () => {
  test("of one to seven ones, and none, is taken", () => {
    // "0" has five bits: eight of them fill five bytes.
    for (let length = 1; length <= 8; length++) {
      const text = "0".repeat(length);
      expect(start().decode(Buffer.concat([Buffer.of(0x01), toText(text, true)])).list).toEqual([":authority", text]);
    }
  });

  test("every byte has its code", () => {
    const all = String.fromCharCode(...Array(256).keys());
    expect(start().decode(Buffer.concat([Buffer.of(0x01), toText(all, true)])).list).toEqual([":authority", all]);
    for (const byte of all) {
      expect(start().decode(Buffer.concat([Buffer.of(0x01), toText(byte, true)])).list).toEqual([":authority", byte]);
    }
  });

  test("a text longer than what is at hand for it", () => {
    const text = "0123456789abcdef".repeat(4_096);
    const { size, isTooLarge } = start().decode(Buffer.concat([Buffer.of(0x01), toText(text, true)]));
    expect([size, isTooLarge]).toEqual([text.length + ":authority".length + 32, true]);
  });
});

describe("integers", () => {
  test("with needless bytes are taken up to four of them", () => {
    const of = (padding: number) => Buffer.concat([toInteger(0x80, 7, 2 ** 7 - 1 + 0, padding)]);
    const decoder = start();
    for (let at = 0; at < 66; at++) decoder.decode(incremental("n", String(at)));
    // Index 127 is the oldest entry.
    for (const padding of [0, 1, 2, 3]) expect(decoder.decode(of(padding)).list).toEqual(["n", "0"]);
    expect(() => decoder.decode(of(4))).toThrow("an integer is too large");
  });
});

describe("bytes that are not ASCII", () => {
  test("stand as the characters of their numbers, compressed or not", () => {
    const text = "\u0080\u00e9\u00ff";
    for (const isCompressed of [false, true]) {
      const block = Buffer.concat([Buffer.of(0x00), toText("x", false), toText(text, isCompressed)]);
      expect(start().decode(block).list).toEqual(["x", text]);
    }
  });
});

describe("the limit of the table", () => {
  test("is what an update may say at most, and follows the setting", () => {
    const decoder = start();
    expect(decoder.decode(resize(4_096)).list).toEqual([]);
    decoder.setMaxTableSize(8_192);
    expect(decoder.decode(Buffer.concat([resize(8_192), incremental("a", "b".repeat(5_000))])).isTooLarge).toBe(false);
    expect(decoder.decode(Buffer.of(0xbe)).list[1]).toHaveLength(5_000);
    expect(() => decoder.decode(resize(8_193))).toThrow(CompressionError);
  });

  test("has to be met by the next block when it was lowered", () => {
    const decoder = start();
    decoder.decode(incremental("a", "b"));
    decoder.setMaxTableSize(100);
    expect(() => decoder.decode(method)).toThrow("no table size update after a lower limit");
  });

  test("has to be met by the next block though it was remembered", () => {
    const decoder = start();
    for (let i = 0; i < 3; i++) decoder.decode(method);
    decoder.setMaxTableSize(100);
    expect(() => decoder.decode(method)).toThrow("no table size update after a lower limit");
  });

  test("has to be met at its lowest", () => {
    const decoder = start();
    decoder.decode(incremental("a", "b"));
    decoder.setMaxTableSize(0);
    decoder.setMaxTableSize(4_096);
    expect(() => decoder.decode(resize(4_096))).toThrow("a table that is not lowered to its limit");

    const other = start();
    other.decode(incremental("a", "b"));
    other.setMaxTableSize(0);
    other.setMaxTableSize(4_096);
    const block = Buffer.concat([resize(0), resize(4_096), incremental("c", "d")]);
    expect(other.decode(block).list).toEqual(["c", "d"]);
    expect(other.decode(Buffer.of(0xbe)).list).toEqual(["c", "d"]);
    expect(() => other.decode(Buffer.of(0xbf))).toThrow("an index without an entry");
  });

  test("need not be told again when the table is no larger", () => {
    const decoder = start();
    decoder.decode(resize(0));
    decoder.setMaxTableSize(100);
    expect(decoder.decode(method).list).toEqual([":method", "GET"]);
  });

  test("an entry that is larger empties the table, and is no error", () => {
    const decoder = start({ maxTableSize: 64 });
    decoder.decode(incremental("a", "b"));
    expect(decoder.decode(incremental("c", "d".repeat(32))).list).toEqual(["c", "d".repeat(32)]);
    expect(() => decoder.decode(Buffer.of(0xbe))).toThrow("an index without an entry");
  });

  test("an entry whose name is one that goes for it", () => {
    const decoder = start({ maxTableSize: 64 });
    decoder.decode(incremental("a", "b"));
    expect(decoder.decode(Buffer.concat([Buffer.of(0x7e), toText("c".repeat(31), false)])).list[0]).toBe("a");
    expect(decoder.decode(Buffer.of(0xbe)).list).toEqual(["a", "c".repeat(31)]);
  });
});

describe("the limit of the list", () => {
  test("is told, and the table goes on in step", () => {
    const decoder = start({ maxListSize: 100 });
    const block = Buffer.concat([literal("a", "1"), incremental("b", "x".repeat(40)), incremental("c", "3")]);
    const { list, size, isTooLarge } = decoder.decode(block);
    expect({ list, size, isTooLarge }).toEqual({ list: ["a", "1"], size: 34 + 73 + 34, isTooLarge: true });
    expect(decoder.decode(Buffer.of(0xbe)).list).toEqual(["c", "3"]);
    expect(decoder.decode(Buffer.of(0xbf)).list).toEqual(["b", "x".repeat(40)]);
  });

  test("is reached by exactly as much", () => {
    const decoder = start({ maxListSize: 68 });
    expect(decoder.decode(Buffer.concat([literal("a", "1"), literal("b", "2")])).isTooLarge).toBe(false);
    expect(decoder.decode(Buffer.concat([literal("a", "1"), literal("b", "22")])).isTooLarge).toBe(true);
  });

  test("a small block that says one large entry again and again holds no more than the limit", () => {
    const decoder = start();
    decoder.decode(incremental("bomb", "x".repeat(4_000)));
    const { list, size, isTooLarge } = decoder.decode(Buffer.alloc(16_384, 0xbe));
    expect([list.length, size, isTooLarge]).toEqual([8, 16_384 * 4_036, true]);
  });
});

describe("the fields by name", () => {
  test("are joined as RFC 9110 and RFC 9113 say", () => {
    const fields = ["a", "1", "cookie", "x=1", "a", "2", "cookie", "y=2", "__proto__", "3", "a", ""];
    const block = Buffer.concat(
      fields.flatMap((_, at) => (at % 2 ? [] : [literal(fields[at] ?? "", fields[at + 1] ?? "")])),
    );
    const { list, headers } = start().decode(block);
    expect(list).toEqual(fields);
    expect(Object.entries(headers)).toEqual([
      ["a", "1, 2, "],
      ["cookie", "x=1; y=2"],
      ["__proto__", "3"],
    ]);
    expect(headers.constructor).toBeUndefined();
  });

  test("have the host as the authority, where there is none", () => {
    expect(start().decode(literal("host", "a")).headers[":authority"]).toBe("a");
    const both = Buffer.concat([literal(":authority", "b"), literal("host", "a")]);
    expect(start().decode(both).headers).toMatchObject({ ":authority": "b", host: "a" });
  });
});

describe("what is remembered", () => {
  const request = Buffer.concat([method, literal("te", "trailers"), Buffer.of(0xbe)]);

  test("a block that comes again and again is the same object", () => {
    const decoder = start();
    decoder.decode(incremental("a", "1"));
    decoder.decode(request);
    const second = decoder.decode(request);
    expect(decoder.decode(Buffer.from(request))).toBe(second);
    expect(second.list).toEqual([":method", "GET", "te", "trailers", "a", "1"]);
    expect(second.headers).toBe(second.headers);
  });

  test("is forgotten with any change of the table", () => {
    const changes: [block: Buffer, value: string | undefined][] = [
      [incremental("a", "2"), "2"],
      [incremental("b", "x".repeat(5_000)), undefined],
      [resize(0), undefined],
    ];
    for (const [change, value] of changes) {
      const decoder = start();
      decoder.decode(incremental("a", "1"));
      for (let i = 0; i < 3; i++) expect(decoder.decode(request).headers.a).toBe("1");
      decoder.decode(change);
      for (let i = 0; i < 3; i++) {
        if (value === undefined) expect(() => decoder.decode(request)).toThrow("an index without an entry");
        else expect(decoder.decode(request).headers.a).toBe(value);
      }
    }
  });

  test("a block that adds an entry is read each time", () => {
    const decoder = start();
    const block = incremental("a", "1");
    for (let i = 0; i < 4; i++) decoder.decode(block);
    expect(decoder.decode(Buffer.of(0xc1)).list).toEqual(["a", "1"]);
  });

  test("a block with a table size is read each time", () => {
    const decoder = start();
    for (let i = 0; i < 3; i++) decoder.decode(Buffer.concat([resize(100), method]));
    decoder.setMaxTableSize(50);
    expect(() => decoder.decode(Buffer.concat([resize(100), method]))).toThrow("a table size over the limit");
  });

  test("the block's bytes are not kept", () => {
    const decoder = start();
    const block = Buffer.from(request.subarray(0, -1));
    for (let i = 0; i < 3; i++) decoder.decode(block);
    block.set(Buffer.from("TRAILERS"), block.length - 8);
    expect(decoder.decode(block).headers.te).toBe("TRAILERS");
  });

  test("neither long blocks nor long lists", () => {
    const decoder = start();
    decoder.decode(incremental("a", "x".repeat(2_000)));
    for (const block of [literal("b", "x".repeat(256)), Buffer.of(0xbe, 0xbe, 0xbe)]) {
      decoder.decode(block);
      const second = decoder.decode(block);
      expect(decoder.decode(block)).not.toBe(second);
      expect(decoder.decode(block).list).toEqual(second.list);
    }
  });
});
