import { CompressionError } from "./compression-error.ts";
import { toText } from "./to-text.ts";

/**
 * How many bits the code of a byte has (RFC 7541, appendix B), and at the end that of the mark of the end. The codes follow
 * from that: counted up from zero, the shorter ones first, those of one length in the order of the bytes.
 */
// biome-ignore format: a table
const codeLengths: readonly number[] = [
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
  28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
  6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
  5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
  13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
  7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
  15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
  6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
  20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
  24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
  22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
  21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
  26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
  19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
  20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
  26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
  30,
];
const endOfString = 256;

/**
 * A tree of tables of 256: what eight bits mean. Not below zero: a symbol, and above it, from bit 9, how many of the bits
 * are its own (the last of them, of a longer code). Below zero: where the table begins in which the code goes on.
 */
const tableSize = 256;
const tables = buildTables();

/** Where texts are built, one at a time. Longer ones get a place of their own. */
const scratch = Buffer.allocUnsafeSlow(8_192);

/** @throws {CompressionError} when the padding is not the beginning of the mark of the end, or that mark is there whole. */
export function decodeHuffman(block: Uint8Array, start: number, end: number): string {
  // The shortest code has 5 bits.
  const room = Math.floor(((end - start) * 8) / 5);
  const text = room <= scratch.length ? scratch : Buffer.allocUnsafeSlow(room);
  let length = 0;
  let table = 0;
  // Bits that are not used yet: the lowest `count` of `bits`, fewer than 16.
  let bits = 0;
  let count = 0;
  for (let at = start; at < end; at++) {
    bits = (bits << 8) | (block[at] ?? 0);
    count += 8;
    while (count >= 8) {
      const entry = tables[table + ((bits >>> (count - 8)) & 0xff)] ?? 0;
      if (entry < 0) {
        table = -entry;
        count -= 8;
      } else {
        if ((entry & 0x1ff) === endOfString) throw new CompressionError("a text contains the mark of its end");
        text[length++] = entry;
        count -= entry >>> 9;
        table = 0;
      }
    }
  }
  while (count > 0) {
    const entry = tables[table + ((bits << (8 - count)) & 0xff)] ?? 0;
    if (entry < 0 || entry >>> 9 > count) break;
    text[length++] = entry;
    count -= entry >>> 9;
    table = 0;
  }
  const ones = (1 << count) - 1;
  if (table !== 0 || (bits & ones) !== ones) throw new CompressionError("a text is not padded with ones, or by a byte");
  return toText(text, 0, length);
}

function buildTables(): Int32Array {
  const built = [new Int32Array(tableSize)];
  let code = 0;
  let length = 0;
  for (const symbol of [...codeLengths.keys()].sort(byLength)) {
    code <<= lengthOf(symbol) - length;
    length = lengthOf(symbol);
    insert(built, symbol, code, length);
    code++;
  }
  const joined = new Int32Array(built.length * tableSize);
  for (const [at, table] of built.entries()) joined.set(table, at * tableSize);
  return joined;
}

/** Enters a symbol at every eight bits that begin with the last bits of its code. */
function insert(built: Int32Array[], symbol: number, code: number, length: number): void {
  let table = built[0];
  let rest = length;
  for (; rest > 8; rest -= 8) {
    const byte = (code >>> (rest - 8)) & 0xff;
    if (table?.[byte] === 0) table[byte] = -tableSize * (built.push(new Int32Array(tableSize)) - 1);
    table = built[-(table?.[byte] ?? 0) / tableSize];
  }
  const first = (code << (8 - rest)) & 0xff;
  table?.fill((rest << 9) | symbol, first, first + (1 << (8 - rest)));
}

function byLength(a: number, b: number): number {
  return lengthOf(a) - lengthOf(b) || a - b;
}

function lengthOf(symbol: number): number {
  return codeLengths[symbol] ?? 0;
}
