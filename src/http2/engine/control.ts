import { errorCode, flag, maxInt31, readUint31, readUint32, setting } from "../frames/frames.ts";
import { sendPing, sendSettings, sendSettingsAck } from "../frames/send.ts";
import type { Http2Connection } from "./connection.ts";
import { changeInitialWindow, widenConnection, widenStream } from "./flow.ts";
import { firstWindowOf } from "./limits.ts";

/** Of a peer that says nothing else (RFC 9113, 6.5.2), and the least and most of frames. */
const initialTableBytes = 4_096;
const minMaxFrameSize = 16_384;
const maxMaxFrameSize = 16_777_215;

/** Our SETTINGS. */
export function announceSettings({ output, bounds, engine: { limits } }: Http2Connection): undefined {
  sendSettings(output, [
    [setting.maxConcurrentStreams, limits.maxConcurrentStreams],
    [setting.initialWindowSize, firstWindowOf(bounds)],
    [setting.maxHeaderListSize, limits.maxHeaderBytes],
  ]);
}

/** SETTINGS (6.5). */
export function takeSettings(
  connection: Http2Connection,
  flags: number,
  streamId: number,
  bytes: Uint8Array,
  start: number,
  end: number,
): undefined {
  const length = end - start;
  if (streamId !== 0) return connection.fail(errorCode.protocolError, "SETTINGS on a stream");
  if ((flags & flag.ack) !== 0) {
    if (length > 0) return connection.fail(errorCode.frameSizeError, "SETTINGS acknowledged with settings");
    connection.isAcknowledged = true;
    return;
  }
  if (length % 6 !== 0) return connection.fail(errorCode.frameSizeError, "SETTINGS of parts of settings");
  connection.hasSettings = true;
  // Of one that is there often the last counts: each would be work for every stream.
  let window = connection.initialSendWindow;
  for (let at = start; at < end; at += 6) {
    const value = readUint32(bytes, at + 2);
    switch (((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0)) {
      case setting.headerTableSize:
        // There is no table here; a peer that expects one to shrink has to hear so once (RFC 7541, 4.2).
        if (value < initialTableBytes && !connection.hasNoTable) {
          connection.hasNoTable = true;
          connection.owesTableUpdate = true;
        }
        break;
      case setting.enablePush:
        if (value > 1) return connection.fail(errorCode.protocolError, "ENABLE_PUSH of neither 0 nor 1");
        break;
      case setting.initialWindowSize:
        if (value > maxInt31) return connection.fail(errorCode.flowControlError, "INITIAL_WINDOW_SIZE too large");
        window = value;
        break;
      case setting.maxFrameSize:
        if (value < minMaxFrameSize || value > maxMaxFrameSize) {
          return connection.fail(errorCode.protocolError, "MAX_FRAME_SIZE out of range");
        }
        break;
    }
  }
  if (!changeInitialWindow(connection, window)) {
    return connection.fail(errorCode.flowControlError, "INITIAL_WINDOW_SIZE makes a window too large");
  }
  sendSettingsAck(connection.output);
}

/** PING (6.7). */
export function takePing(
  connection: Http2Connection,
  flags: number,
  streamId: number,
  bytes: Uint8Array,
  start: number,
  end: number,
): undefined {
  if (streamId !== 0) return connection.fail(errorCode.protocolError, "PING on a stream");
  if (end - start !== 8) return connection.fail(errorCode.frameSizeError, "PING of other than 8 bytes");
  if ((flags & flag.ack) === 0) sendPing(connection.output, flag.ack, bytes, start);
  else connection.onPingAck(bytes.subarray(start, end));
}

/** GOAWAY (6.8): the peer opens no more streams. */
export function takeGoaway(connection: Http2Connection, streamId: number, start: number, end: number): undefined {
  if (streamId !== 0) return connection.fail(errorCode.protocolError, "GOAWAY on a stream");
  if (end - start < 8) return connection.fail(errorCode.frameSizeError, "GOAWAY of less than 8 bytes");
  connection.nameLast();
}

/** WINDOW_UPDATE (6.9). */
export function takeWindowUpdate(
  connection: Http2Connection,
  streamId: number,
  bytes: Uint8Array,
  start: number,
  end: number,
): undefined {
  if (end - start !== 4) return connection.fail(errorCode.frameSizeError, "WINDOW_UPDATE of other than 4 bytes");
  const increment = readUint31(bytes, start);
  if (streamId === 0) {
    if (increment === 0) return connection.fail(errorCode.protocolError, "WINDOW_UPDATE of 0");
    if (!widenConnection(connection, increment)) {
      connection.fail(errorCode.flowControlError, "WINDOW_UPDATE makes the window too large");
    }
    return;
  }
  if (isIdle(connection, streamId)) return connection.fail(errorCode.protocolError, "WINDOW_UPDATE on an idle stream");
  const stream = connection.streams.get(streamId);
  if (stream === undefined) return;
  if (increment === 0) connection.refuse(streamId, errorCode.protocolError);
  else if (!widenStream(connection, stream, increment)) connection.refuse(streamId, errorCode.flowControlError);
}

/** RST_STREAM (6.4). */
export function takeRstStream(connection: Http2Connection, streamId: number, start: number, end: number): undefined {
  if (streamId === 0) return connection.fail(errorCode.protocolError, "RST_STREAM on no stream");
  if (end - start !== 4) return connection.fail(errorCode.frameSizeError, "RST_STREAM of other than 4 bytes");
  if (isIdle(connection, streamId)) return connection.fail(errorCode.protocolError, "RST_STREAM on an idle stream");
  const stream = connection.streams.get(streamId);
  if (stream === undefined) return connection.countEmptyFrame();
  connection.drop(stream);
  connection.countReset();
}

/** PRIORITY (6.3): deprecated; only what is wrong with it counts. */
export function takePriority(
  connection: Http2Connection,
  streamId: number,
  bytes: Uint8Array,
  start: number,
  end: number,
): undefined {
  if (streamId === 0) return connection.fail(errorCode.protocolError, "PRIORITY on no stream");
  const isRightSize = end - start === 5;
  if (isRightSize && readUint31(bytes, start) !== streamId) return;
  const code = isRightSize ? errorCode.protocolError : errorCode.frameSizeError;
  // RST_STREAM must not be sent on an idle stream (6.4).
  if (isIdle(connection, streamId)) connection.fail(code, "PRIORITY that is none, on an idle stream");
  else if (connection.streams.has(streamId)) connection.refuse(streamId, code);
}

function isIdle({ lastStreamId }: Http2Connection, streamId: number): boolean {
  return streamId > lastStreamId || streamId % 2 === 0;
}
