import { errorCode, flag } from "../frames/frames.ts";
import { takeEnd, takePiece } from "./bodies.ts";
import type { Http2Connection } from "./connection.ts";
import { grant } from "./flow.ts";
import { done, type Stream } from "./stream.ts";

/** DATA (RFC 9113, 6.1), of a length with its padding. @returns the stream whose body it is; none when it is to be thrown away. */
export function beginData(
  connection: Http2Connection,
  flags: number,
  streamId: number,
  length: number,
  padding: number,
): Stream | undefined {
  if (streamId === 0) return connection.fail(errorCode.protocolError, "DATA on no stream");
  connection.receiveWindow -= length;
  if (connection.receiveWindow < 0) return connection.fail(errorCode.flowControlError, "DATA beyond the window");
  const isEmpty = length === padding && (flags & flag.endStream) === 0;
  if (isEmpty) connection.countEmptyFrame();
  const stream = connection.streams.get(streamId);
  if (stream === undefined) return refuseData(connection, streamId, length);
  if ((stream.state & done.remote) !== 0) {
    connection.refuse(streamId, errorCode.streamClosed);
    return undefined;
  }
  if (!isEmpty) connection.emptyFrames.earn(connection.bounds.emptyFramesEarned);
  stream.receiveWindow -= length;
  if (stream.receiveWindow >= 0) return stream;
  connection.refuse(streamId, errorCode.flowControlError);
  return undefined;
}

/** A piece of its payload. */
export function takeData(
  connection: Http2Connection,
  stream: Stream | undefined,
  bytes: Uint8Array,
  flags: number,
): void {
  if (stream === undefined) {
    grant(connection, undefined, bytes.length, flags);
    return;
  }
  if (stream.expectedBytes >= 0 && (stream.state & done.all) === 0) {
    stream.expectedBytes -= bytes.length;
    // More than `content-length` (8.1.1).
    if (stream.expectedBytes < 0) connection.refuse(stream.id, errorCode.protocolError);
  }
  takePiece(connection, stream, bytes, flags);
}

/** The end of the frame. */
export function endData(connection: Http2Connection, stream: Stream | undefined, padding: number, flags: number): void {
  if (padding > 0) grant(connection, stream, padding, flags);
  if (stream !== undefined && (flags & flag.endStream) !== 0) endRequest(connection, stream);
}

/** END_STREAM has come. */
export function endRequest(connection: Http2Connection, stream: Stream): void {
  if ((stream.state & done.all) !== 0) return;
  // Less than `content-length` (8.1.1).
  if (stream.expectedBytes > 0) connection.refuse(stream.id, errorCode.protocolError);
  else takeEnd(connection, stream);
}

function refuseData(connection: Http2Connection, streamId: number, length: number): undefined {
  if (streamId > connection.lastStreamId) return connection.fail(errorCode.protocolError, "DATA on an idle stream");
  if (!connection.resets.isRemembered(streamId))
    return connection.fail(errorCode.streamClosed, "DATA on a closed stream");
  if (length < connection.bounds.lateFrameBytes) connection.countEmptyFrame();
  return undefined;
}
