import fc from "fast-check";
import { expect, test } from "vitest";
import { CompressionError } from "../../../src/http2/hpack/compression-error.ts";
import { createDecoder } from "../../../src/http2/hpack/decoder.ts";
import type { DecodedFields } from "../../../src/http2/hpack/fields.ts";
import { fuzz, fuzzTimeout } from "../../helpers/fuzz.ts";
import { toInteger } from "../../helpers/hpack.ts";
import { encodeBlocks, mutations, staticTable, steps } from "../../helpers/hpack-fuzz.ts";

const maxListSize = 2_000;

test("any valid sequence of blocks is read as what it says, remembered or not", { timeout: fuzzTimeout }, () => {
  fc.assert(
    fc.property(steps, (all) => {
      const decoder = createDecoder({ maxTableSize: 4_096, maxListSize: 1_000_000 });
      for (const { block, fields, table } of encodeBlocks(all)) {
        const { list, size } = decoder.decode(block);
        expect(list).toEqual(fields.flat());
        expect(size).toBe(fields.reduce((sum, [name, value]) => sum + name.length + value.length + 32, 0));
        const indexes = table.map((_, at) => toInteger(0x80, 7, staticTable.length + 1 + at));
        expect(decoder.decode(Buffer.concat(indexes)).list).toEqual(table.flat());
        expect(() => decoder.decode(toInteger(0x80, 7, staticTable.length + 1 + table.length))).toThrow(
          CompressionError,
        );
      }
    }),
    fuzz(400),
  );
});

test("damaged blocks are refused or read, never more, and within the limits", { timeout: fuzzTimeout }, () => {
  let refused = 0;
  let taken = 0;
  fc.assert(
    fc.property(steps, mutations, (all, mutate) => {
      const decoder = createDecoder({ maxTableSize: 4_096, maxListSize });
      for (const { block } of encodeBlocks(all)) {
        const damaged = mutate(block);
        let fields: DecodedFields;
        try {
          fields = decoder.decode(damaged);
        } catch (error) {
          expect(error).toBeInstanceOf(CompressionError);
          refused++;
          return;
        }
        taken++;
        const { list, size, isTooLarge, headers } = fields;
        const held = list.reduce((sum, text) => sum + text.length, 16 * list.length);
        expect(held).toBeLessThanOrEqual(maxListSize);
        expect(isTooLarge ? size > maxListSize : size === held).toBe(true);
        expect(Object.keys(headers).length).toBeLessThanOrEqual(list.length / 2 + 1);
      }
    }),
    fuzz(2_000),
  );
  // Both have to occur, or the damage is of no use.
  expect(Math.min(refused, taken)).toBeGreaterThan(200);
});

test("noise is refused or read", { timeout: fuzzTimeout }, () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 60 }), { maxLength: 5 }), (blocks) => {
      const decoder = createDecoder({ maxTableSize: 4_096, maxListSize });
      try {
        for (const block of blocks) decoder.decode(block);
      } catch (error) {
        expect(error).toBeInstanceOf(CompressionError);
      }
    }),
    fuzz(2_000),
  );
});
