import { flag, frameType, headBytes, readUint31 } from "./frames.ts";

/** Where the frames of a connection go. */
export interface FrameSink {
  /** Whether nothing more is to be read. */
  readonly isOver: boolean;
  /** A frame other than DATA, whole: its payload is from `start` to `end`. The bytes are valid during the call. */
  onFrame(type: number, flags: number, streamId: number, bytes: Uint8Array, start: number, end: number): void;
  /** A DATA frame begins. @param length of its payload, with padding. @param padding and what says how long it is. */
  onDataFrame(flags: number, streamId: number, length: number, padding: number): void;
  /** A piece of its payload. The bytes are valid during the call. */
  onDataPiece(bytes: Uint8Array): void;
  /** Its end. @param padding how many bytes of its payload were not data. */
  onDataEnd(padding: number): void;
  /** A frame longer than agreed. */
  onLongFrame(): void;
  /** Padding that is longer than its frame. */
  onLongPadding(): void;
}

/** Splits what a peer sends into frames. Payloads of DATA are passed on as they come, so nothing is kept of them. */
export class FrameReader {
  private readonly sink: FrameSink;
  private readonly maxFrameBytes: number;
  /** The beginning of a frame that is not whole. */
  private rest: Uint8Array | undefined = undefined;
  private isInData = false;
  /** What is to come of the DATA frame in course. */
  private dataBytes = 0;
  private paddingBytes = 0;
  private padding = 0;

  constructor(sink: FrameSink, maxFrameBytes: number) {
    this.sink = sink;
    this.maxFrameBytes = maxFrameBytes;
  }

  read(chunk: Uint8Array): void {
    const { sink, rest } = this;
    const bytes = rest === undefined ? chunk : Buffer.concat([rest, chunk]);
    this.rest = undefined;
    let at = 0;
    while (!sink.isOver && at < bytes.length) {
      const next = this.isInData ? this.readData(bytes, at) : this.readFrame(bytes, at);
      if (next === at) {
        // A copy: a part would keep the whole chunk.
        if (!this.isInData) this.rest = new Uint8Array(bytes.subarray(at));
        return;
      }
      at = next;
    }
  }

  /** @returns where the next frame begins, or `at` when this one is not whole. */
  private readFrame(bytes: Uint8Array, at: number): number {
    const { sink } = this;
    const start = at + headBytes;
    if (bytes.length < start) return at;
    const length = ((bytes[at] ?? 0) << 16) | ((bytes[at + 1] ?? 0) << 8) | (bytes[at + 2] ?? 0);
    const type = bytes[at + 3] ?? 0;
    const flags = bytes[at + 4] ?? 0;
    const streamId = readUint31(bytes, at + 5);
    if (length > this.maxFrameBytes) {
      sink.onLongFrame();
      return bytes.length;
    }
    if (type !== frameType.data) {
      const end = start + length;
      if (bytes.length < end) return at;
      sink.onFrame(type, flags, streamId, bytes, start, end);
      return end;
    }
    const isPadded = (flags & flag.padded) !== 0;
    if (isPadded && length > 0 && bytes.length === start) return at;
    const padding = isPadded ? (bytes[start] ?? 0) : 0;
    const prefix = isPadded ? 1 : 0;
    if (prefix + padding > length) {
      sink.onLongPadding();
      return bytes.length;
    }
    this.isInData = true;
    this.padding = prefix + padding;
    this.paddingBytes = padding;
    this.dataBytes = length - this.padding;
    sink.onDataFrame(flags, streamId, length, this.padding);
    return this.readData(bytes, start + prefix);
  }

  private readData(bytes: Uint8Array, from: number): number {
    const { sink } = this;
    let at = from;
    if (this.dataBytes > 0) {
      const end = Math.min(bytes.length, at + this.dataBytes);
      if (end > at) {
        this.dataBytes -= end - at;
        sink.onDataPiece(bytes.subarray(at, end));
        at = end;
      }
    }
    if (this.dataBytes > 0) return at;
    const skipped = Math.min(bytes.length - at, this.paddingBytes);
    this.paddingBytes -= skipped;
    at += skipped;
    if (this.paddingBytes > 0) return at;
    this.isInData = false;
    sink.onDataEnd(this.padding);
    return at;
  }
}
