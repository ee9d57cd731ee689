import { errorCode, flag, readUint31 } from "../frames/frames.ts";
import type { DecodedFields } from "../hpack/fields.ts";
import type { Http2Connection } from "./connection.ts";
import { endRequest } from "./data.ts";
import { judgeWaiting } from "./flow.ts";
import { areTrailers, type Request, toRequest } from "./request.ts";
import { done, Stream } from "./stream.ts";

/** A header block of which CONTINUATION is to come. */
export interface PartialBlock {
  readonly streamId: number;
  readonly flags: number;
  readonly dependsOnItself: boolean;
  readonly pieces: Uint8Array[];
  bytes: number;
}

/** HEADERS (RFC 9113, 6.2). @returns what is to be continued. */
export function takeHeaders(
  connection: Http2Connection,
  flags: number,
  streamId: number,
  bytes: Uint8Array,
  payloadStart: number,
  payloadEnd: number,
): PartialBlock | undefined {
  let start = payloadStart;
  let end = payloadEnd;
  // Clients have odd ids (5.1.1).
  if (streamId % 2 === 0) return connection.fail(errorCode.protocolError, "HEADERS on a stream of ours, or on none");
  if ((flags & flag.padded) !== 0) {
    end -= bytes[start] ?? 0;
    start++;
  }
  let dependsOnItself = false;
  if ((flags & flag.priority) !== 0) {
    dependsOnItself = end - start >= 5 && readUint31(bytes, start) === streamId;
    start += 5;
  }
  if (start > end || start > payloadEnd)
    return connection.fail(errorCode.protocolError, "HEADERS of more padding than payload");
  const block = bytes.subarray(start, end);
  if ((flags & flag.endHeaders) !== 0) {
    takeBlock(connection, flags, streamId, block, dependsOnItself);
    return undefined;
  }
  connection.blockAt = connection.tick;
  return { streamId, flags, dependsOnItself, pieces: [new Uint8Array(block)], bytes: block.length };
}

/** CONTINUATION (6.10). @returns what is to be continued further. */
export function takeContinuation(
  connection: Http2Connection,
  partial: PartialBlock,
  flags: number,
  piece: Uint8Array,
): PartialBlock | undefined {
  const { bounds } = connection;
  partial.pieces.push(new Uint8Array(piece));
  partial.bytes += piece.length;
  if (partial.bytes > bounds.blockBytes || partial.pieces.length > bounds.continuations + 1) {
    return connection.fail(errorCode.enhanceYourCalm, "a header block without end");
  }
  if ((flags & flag.endHeaders) === 0) return partial;
  connection.blockAt = undefined;
  takeBlock(connection, partial.flags, partial.streamId, Buffer.concat(partial.pieces), partial.dependsOnItself);
  return undefined;
}

function takeBlock(
  connection: Http2Connection,
  flags: number,
  streamId: number,
  block: Uint8Array,
  dependsOnItself: boolean,
): void {
  let fields: DecodedFields;
  try {
    // Also of what is refused: the table has to stay in step with the peer's (4.3).
    fields = connection.decoder.decode(block);
  } catch {
    connection.fail(errorCode.compressionError, "a header block that is none");
    return;
  }
  const isEnd = (flags & flag.endStream) !== 0;
  const stream = connection.streams.get(streamId);
  if (stream !== undefined) takeTrailers(connection, stream, fields, isEnd);
  else if (streamId > connection.lastStreamId) {
    connection.resets.skip(connection.lastStreamId, streamId);
    connection.lastStreamId = streamId;
    if (dependsOnItself) connection.refuse(streamId, errorCode.protocolError);
    else open(connection, streamId, fields, isEnd);
  } else if (connection.resets.isRemembered(streamId)) connection.countEmptyFrame();
  else if (connection.resets.isSkipped(streamId)) connection.fail(errorCode.protocolError, "HEADERS on a lower stream");
  else connection.fail(errorCode.streamClosed, "HEADERS on a closed stream");
}

/** Fields after a body (8.1): there is nobody to tell them. */
function takeTrailers(connection: Http2Connection, stream: Stream, fields: DecodedFields, isEnd: boolean): void {
  if ((stream.state & done.remote) !== 0) connection.refuse(stream.id, errorCode.streamClosed);
  else if (!isEnd || !areTrailers(fields)) connection.refuse(stream.id, errorCode.protocolError);
  else endRequest(connection, stream);
}

function open(connection: Http2Connection, streamId: number, fields: DecodedFields, isEnd: boolean): void {
  const { limits } = connection.engine;
  connection.emptyFrames.earn(connection.bounds.emptyFramesEarned);
  if (judgeWaiting(connection)) return;
  if (connection.phase === "last" || connection.streams.size >= limits.maxConcurrentStreams) {
    connection.refuse(streamId, errorCode.refusedStream);
    return;
  }
  const request = toRequest(fields);
  if (request.fate === 431 && connection.isAcknowledged) connection.refuse(streamId, errorCode.enhanceYourCalm);
  else if (request.fate === "malformed" || (isEnd && request.contentLength > 0)) {
    connection.refuse(streamId, errorCode.protocolError);
  } else serve(connection, streamId, request, isEnd);
}

function serve(connection: Http2Connection, streamId: number, request: Request, isEnd: boolean): void {
  const { initialSendWindow, tick, engine } = connection;
  const stream = new Stream(streamId, connection, request, initialSendWindow, tick);
  connection.streams.set(streamId, stream);
  if (isEnd) stream.state |= done.remote;
  if (request.fate !== "served") {
    stream.end([":status", String(request.fate)]);
    return;
  }
  if (request.wantsContinue && !isEnd) {
    connection.sendHeaders(streamId, [":status", "100"], new Uint8Array(0), false);
  }
  try {
    stream.receiver = engine.accept(stream);
  } catch (err) {
    connection.blame(stream, err);
    return;
  }
  if (isEnd) endRequest(connection, stream);
}
