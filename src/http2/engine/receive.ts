import { errorCode, frameType, preface } from "../frames/frames.ts";
import { FrameReader, type FrameSink } from "../frames/reader.ts";
import type { Http2Connection } from "./connection.ts";
import { takeGoaway, takePing, takePriority, takeRstStream, takeSettings, takeWindowUpdate } from "./control.ts";
import { beginData, endData, takeData } from "./data.ts";
import { type PartialBlock, takeContinuation, takeHeaders } from "./headers.ts";
import type { Stream } from "./stream.ts";

/** What a connection hears: the preface, then frames, in the order in which RFC 9113 allows them. */
export class Receiving implements FrameSink {
  private readonly connection: Http2Connection;
  private readonly reader: FrameReader;
  private prefaceBytes = 0;
  /** The DATA frame in course. */
  private dataFlags = 0;
  private dataStream: Stream | undefined = undefined;
  /** The header block in course: until its end nothing else may come (4.3). */
  private block: PartialBlock | undefined = undefined;

  constructor(connection: Http2Connection) {
    this.connection = connection;
    this.reader = new FrameReader(this, connection.bounds.frameBytes);
  }

  get isOver(): boolean {
    return this.connection.isOver;
  }

  /** Takes what has come, and answers it at once. */
  read(chunk: Uint8Array): void {
    const { connection } = this;
    if (connection.isOver) return;
    connection.isHeard = true;
    connection.isReading = true;
    const start = this.prefaceBytes < preface.length ? this.readPreface(chunk) : 0;
    if (start < chunk.length) this.reader.read(start === 0 ? chunk : chunk.subarray(start));
    connection.isReading = false;
    connection.flush();
  }

  onFrame(type: number, flags: number, streamId: number, bytes: Uint8Array, start: number, end: number): undefined {
    const { connection, block } = this;
    if (block !== undefined) {
      if (type !== frameType.continuation || streamId !== block.streamId) {
        connection.fail(errorCode.protocolError, "a header block is interrupted");
      } else this.block = takeContinuation(connection, block, flags, bytes.subarray(start, end));
      return;
    }
    if (!connection.hasSettings && type !== frameType.settings) {
      connection.fail(errorCode.protocolError, "the first frame is not SETTINGS");
      return;
    }
    if (type === frameType.headers) {
      this.block = takeHeaders(connection, flags, streamId, bytes, start, end);
      return;
    }
    if (type !== frameType.rstStream) connection.countEmptyFrame();
    switch (type) {
      case frameType.windowUpdate:
        return takeWindowUpdate(connection, streamId, bytes, start, end);
      case frameType.ping:
        return takePing(connection, flags, streamId, bytes, start, end);
      case frameType.rstStream:
        return takeRstStream(connection, streamId, start, end);
      case frameType.settings:
        return takeSettings(connection, flags, streamId, bytes, start, end);
      case frameType.priority:
        return takePriority(connection, streamId, bytes, start, end);
      case frameType.goaway:
        return takeGoaway(connection, streamId, start, end);
      case frameType.pushPromise:
        return connection.fail(errorCode.protocolError, "PUSH_PROMISE of a client");
      case frameType.continuation:
        return connection.fail(errorCode.protocolError, "CONTINUATION of nothing");
      // Others are ignored (5.5).
    }
  }

  onDataFrame(flags: number, streamId: number, length: number, padding: number): void {
    const { connection } = this;
    this.dataFlags = flags;
    this.dataStream = undefined;
    if (this.block !== undefined) connection.fail(errorCode.protocolError, "a header block is interrupted");
    else if (!connection.hasSettings) connection.fail(errorCode.protocolError, "the first frame is not SETTINGS");
    else this.dataStream = beginData(connection, flags, streamId, length, padding);
  }

  onDataPiece(bytes: Uint8Array): void {
    takeData(this.connection, this.dataStream, bytes, this.dataFlags);
  }

  onDataEnd(padding: number): void {
    endData(this.connection, this.dataStream, padding, this.dataFlags);
    this.dataStream = undefined;
  }

  onLongFrame(): void {
    this.connection.fail(errorCode.frameSizeError, "a frame longer than MAX_FRAME_SIZE");
  }

  onLongPadding(): void {
    this.connection.fail(errorCode.protocolError, "DATA of more padding than payload");
  }

  /** @returns where the frames begin. */
  private readPreface(chunk: Uint8Array): number {
    const size = Math.min(chunk.length, preface.length - this.prefaceBytes);
    const isRight = preface.subarray(this.prefaceBytes, this.prefaceBytes + size).equals(chunk.subarray(0, size));
    this.prefaceBytes += size;
    if (isRight) return size;
    this.connection.fail(errorCode.protocolError, "no preface");
    return chunk.length;
  }
}
