import type { Socket } from "node:net";

/** Buffers: of thousands of connections that have a little to say in one turn, and of those that have more. In bytes. */
const smallBytes = 1_024;
const largeBytes = 16_384;
/** How many of each are kept for the next turn: 3 MiB together. */
const maxFreeSmall = 2_048;
const maxFreeLarge = 64;
/** Pieces up to this size are copied: that costs less than a piece of their own for the system. In bytes. */
const maxCopyBytes = 4_096;

const freeSmall: Buffer[] = [];
const freeLarge: Buffer[] = [];

/**
 * What a connection has to say: gathered in one buffer, and given to the socket once a turn. While the socket is behind,
 * it gets nothing new, so that small frames wait here, packed, and not each in a buffer of its own.
 */
export class Output {
  /** Where the next byte goes in the buffer that {@link reserve} has returned. */
  end = 0;
  private readonly socket: Socket;
  private buffer: Buffer | undefined = undefined;
  /** Where what is not in {@link parts} begins in the buffer. */
  private start = 0;
  /** What comes before the rest of the buffer. */
  private parts: Uint8Array[] | undefined = undefined;
  private partBytes = 0;
  /** Buffers whose content is all in parts. */
  private filled: Buffer[] | undefined = undefined;
  /** What the socket had not passed on to the system when it was last looked at. */
  private behindBytes = 0;
  private isHeld = false;
  private isInputPaused = false;
  private readonly onWritten: () => void;

  /** @param onFree is told when the socket takes more again. */
  constructor(socket: Socket, onFree: () => void) {
    this.socket = socket;
    const free = () => {
      this.isHeld = false;
      this.behindBytes = socket.writableLength;
      onFree();
    };
    this.onWritten = free;
    socket.on("drain", () => {
      if (!this.isHeld) free();
    });
  }

  /** The bytes that wait for the system to take them. */
  get waitingBytes(): number {
    return this.partBytes + this.end - this.start + this.behindBytes;
  }

  /** Makes room for this many bytes, to be written from {@link end} on, which is then to be moved. */
  reserve(size: number): Buffer {
    const { buffer } = this;
    if (buffer === undefined) return this.begin(size, 0);
    if (buffer.length - this.end >= size) return buffer;
    if (buffer.length === smallBytes && this.start === 0 && this.parts === undefined) {
      const { end } = this;
      const larger = this.begin(largeBytes, end);
      buffer.copy(larger, 0, 0, end);
      recycle(buffer);
      return larger.length - end >= size ? larger : this.reserve(size);
    }
    this.seal();
    this.filled ??= [];
    this.filled.push(buffer);
    return this.begin(size, 0);
  }

  /** Adds bytes that do not change any more. */
  add(bytes: Uint8Array): void {
    if (bytes.length > maxCopyBytes) {
      this.seal();
      this.parts ??= [];
      this.parts.push(bytes);
      this.partBytes += bytes.length;
      return;
    }
    this.reserve(bytes.length).set(bytes, this.end);
    this.end += bytes.length;
  }

  /**
   * Gives everything to the socket, unless that is behind; `onFree` follows then.
   *
   * @param isLast whether nothing follows, so that there is nothing to wait for.
   */
  flush(isLast = false): void {
    const { socket } = this;
    if ((this.isHeld && !isLast) || (this.parts === undefined && this.start === this.end)) return;
    // Closed under the connection: nothing is said any more.
    if (!socket.writable) {
      this.clear();
      return;
    }
    // When its turn comes, all before it has been taken.
    const isBehind = socket.writableLength > 0;
    this.isHeld = isBehind;
    this.seal();
    const parts = this.parts ?? [];
    this.parts = undefined;
    this.partBytes = 0;
    this.start = this.end;
    const last = parts.length - 1;
    if (last > 0) socket.cork();
    for (let i = 0; i <= last; i++) {
      const part = parts[i];
      if (part === undefined) continue;
      if (isBehind && i === last) socket.write(part, this.onWritten);
      else socket.write(part);
    }
    if (last > 0) socket.uncork();
    this.behindBytes = socket.writableLength;
    this.release(this.behindBytes === 0);
  }

  /** A peer that does not read is not read while more than this waits: what it makes us say would be kept without end. */
  limitInput(maxBytes: number): void {
    const isBehind = this.waitingBytes > maxBytes;
    if (isBehind === this.isInputPaused) return;
    this.isInputPaused = isBehind;
    if (isBehind) this.socket.pause();
    else this.socket.resume();
  }

  /** Forgets what waits. */
  clear(): void {
    this.parts = undefined;
    this.partBytes = 0;
    this.start = this.end;
    this.release(false);
  }

  private begin(size: number, end: number): Buffer {
    this.start = 0;
    this.end = end;
    this.buffer = takeBuffer(size);
    return this.buffer;
  }

  private seal(): void {
    const { buffer, start, end } = this;
    if (buffer === undefined || start === end) return;
    this.parts ??= [];
    this.parts.push(buffer.subarray(start, end));
    this.partBytes += end - start;
    this.start = end;
  }

  /** @param isTaken whether the system has taken all of the buffers' content, so that they may be used for something else. */
  private release(isTaken: boolean): void {
    const { buffer, filled } = this;
    this.buffer = undefined;
    this.filled = undefined;
    this.start = 0;
    this.end = 0;
    if (!isTaken) return;
    if (buffer !== undefined) recycle(buffer);
    if (filled !== undefined) for (const each of filled) recycle(each);
  }
}

function takeBuffer(size: number): Buffer {
  if (size <= smallBytes) return freeSmall.pop() ?? Buffer.allocUnsafeSlow(smallBytes);
  return (size <= largeBytes ? freeLarge.pop() : undefined) ?? Buffer.allocUnsafeSlow(Math.max(size, largeBytes));
}

function recycle(buffer: Buffer): void {
  if (buffer.length === smallBytes && freeSmall.length < maxFreeSmall) freeSmall.push(buffer);
  else if (buffer.length === largeBytes && freeLarge.length < maxFreeLarge) freeLarge.push(buffer);
}
