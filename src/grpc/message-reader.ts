import { Code, ConnectError } from "@connectrpc/connect";
import { prefixBytes } from "./frame.ts";

/** How large a message may be, and the error of one that is larger. */
export interface MessageLimit {
  /** Of the message as it comes, and of what it inflates to. Unit: bytes. */
  readonly maxBytes: number;
  readonly tooLarge: () => Error;
}

/**
 * Splits a body that comes in pieces into its messages. A message that lies whole in a piece is not copied; one that is
 * cut is kept in a buffer that grows with it, by the doubling of what has come and not by what its prefix promises.
 *
 * For each piece: {@link push}, then {@link next} as long as messages are wanted, then {@link keep}.
 */
export class MessageReader {
  /** What has come and is not read: the piece itself, or a buffer of our own. */
  #bytes: Uint8Array<ArrayBufferLike> = empty;
  #start = 0;
  #end = 0;
  #isOwn = false;
  /** Whether the message that {@link next} gave last is compressed. */
  isCompressed = false;

  /** How many bytes are kept between pieces. */
  get keptBytes(): number {
    return this.#isOwn ? this.#bytes.length : 0;
  }

  /** Whether anything has come that {@link next} has not given. */
  get hasRest(): boolean {
    return this.#start < this.#end;
  }

  /** Takes a piece of the body. It must not change until {@link keep}. */
  push(piece: Uint8Array): void {
    if (this.#start === this.#end) {
      this.#bytes = piece;
      this.#start = 0;
      this.#end = piece.length;
      this.#isOwn = false;
      return;
    }
    this.#makeRoom(this.#end - this.#start + piece.length);
    this.#bytes.set(piece, this.#end);
    this.#end += piece.length;
  }

  /**
   * The next message, valid until the next {@link push} or {@link keep}; undefined when it has not come yet.
   *
   * @throws the limit's error as soon as the prefix is there, and INTERNAL for a prefix that is none.
   */
  next(limit: MessageLimit): Uint8Array | undefined {
    const bytes = this.#bytes;
    const at = this.#start;
    const available = this.#end - at;
    if (available < prefixBytes) return undefined;
    const flags = bytes[at] ?? 0;
    if (flags > 1) throw new ConnectError("what should be a message has no flags of one", Code.Internal);
    const length = lengthAt(bytes, at);
    if (length > limit.maxBytes) throw limit.tooLarge();
    if (available < prefixBytes + length) return undefined;
    this.isCompressed = flags === 1;
    this.#start = at + prefixBytes + length;
    return bytes.subarray(at + prefixBytes, this.#start);
  }

  /** Copies what was not read, so that the piece may change; or lets go of what was. */
  keep(): void {
    if (this.#start === this.#end) {
      this.#bytes = empty;
      this.#start = this.#end = 0;
      this.#isOwn = false;
    } else if (!this.#isOwn) {
      this.#bytes = Uint8Array.from(this.#bytes.subarray(this.#start, this.#end));
      this.#end -= this.#start;
      this.#start = 0;
      this.#isOwn = true;
    }
  }

  /** Lets go of everything. */
  clear(): void {
    // Given back at once: left to the garbage collector, tens of megabytes pile up before it looks at buffers.
    if (this.#isOwn && this.#bytes.buffer instanceof ArrayBuffer) this.#bytes.buffer.transfer(0);
    this.#start = this.#end;
    this.keep();
  }

  /** Makes the buffer ours, with its rest at its beginning and room for so many bytes. */
  #makeRoom(needed: number): void {
    const rest = this.#bytes.subarray(this.#start, this.#end);
    const { length } = rest;
    if (!this.#isOwn || this.#bytes.length < needed) {
      const known = length < prefixBytes ? 0 : prefixBytes + lengthAt(rest, 0);
      const doubled = Math.max(4_096, 2 ** Math.ceil(Math.log2(needed)));
      // No more than the message has, as long as it is one.
      const grown = new Uint8Array(known >= needed ? Math.min(known, doubled) : doubled);
      grown.set(rest);
      if (this.#isOwn && this.#bytes.buffer instanceof ArrayBuffer) this.#bytes.buffer.transfer(0);
      this.#bytes = grown;
    } else if (this.#start > 0) {
      this.#bytes.copyWithin(0, this.#start, this.#end);
    }
    this.#end = length;
    this.#start = 0;
    this.#isOwn = true;
  }
}

const empty = new Uint8Array();

/** The length in the prefix at a place. */
function lengthAt(bytes: Uint8Array, at: number): number {
  const high = bytes[at + 1] ?? 0;
  return high * 0x1_00_00_00 + (((bytes[at + 2] ?? 0) << 16) | ((bytes[at + 3] ?? 0) << 8) | (bytes[at + 4] ?? 0));
}
