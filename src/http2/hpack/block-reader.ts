import { CompressionError } from "./compression-error.ts";
import { decodeHuffman } from "./huffman.ts";
import { toText } from "./to-text.ts";

/** Integers of more bytes after their prefix are refused: all that is ever valid here is far below 2^28. */
const maxContinuationBytes = 4;

/** Reads what header blocks are made of (RFC 7541, 5), one block at a time. */
export class BlockReader {
  private block: Uint8Array = new Uint8Array();
  private at = 0;

  start(block: Uint8Array): void {
    this.block = block;
    this.at = 0;
  }

  isAtEnd(): boolean {
    return this.at >= this.block.length;
  }

  /** The next byte, which says what begins there, and is read again with the integer that it holds. */
  peek(): number {
    return this.block[this.at] ?? 0;
  }

  /** @throws {CompressionError} when it is too large, or not whole. */
  readInteger(prefixBits: number): number {
    const prefix = (1 << prefixBits) - 1;
    const first = this.next() & prefix;
    if (first < prefix) return first;
    let value = prefix;
    for (let shift = 0; shift < 7 * maxContinuationBytes; shift += 7) {
      const byte = this.next();
      value += (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    throw new CompressionError("an integer is too large");
  }

  /** @throws {CompressionError} when it is not whole, or its Huffman code is not valid. */
  readText(): string {
    const isCompressed = this.peek() >= 0x80;
    const length = this.readInteger(7);
    const start = this.at;
    const end = start + length;
    if (end > this.block.length) throw new CompressionError("a text goes past the end of its block");
    this.at = end;
    if (isCompressed) return decodeHuffman(this.block, start, end);
    return toText(this.block, start, end);
  }

  private next(): number {
    if (this.at >= this.block.length) throw new CompressionError("a block ends in the middle of an integer");
    return this.block[this.at++] ?? 0;
  }
}
