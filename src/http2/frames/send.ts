import { encodeFields, maxSizeOf, tableSizeUpdate, writeFields } from "../hpack/encode.ts";
import type { Fields } from "../hpack/fields.ts";
import { flag, frameType, headBytes, writeHead, writeUint32 } from "./frames.ts";
import type { Output } from "./output.ts";

/** The longest payload that is sent: every peer takes it (RFC 9113, 4.2), and streams take turns after each. */
export const maxPayloadBytes = 16_384;

/** @param values by identifier. */
export function sendSettings(output: Output, values: readonly (readonly [id: number, value: number])[]): void {
  const length = values.length * 6;
  const buffer = output.reserve(headBytes + length);
  let at = writeHead(buffer, output.end, length, frameType.settings, 0, 0);
  for (const [id, value] of values) {
    buffer[at++] = id >>> 8;
    buffer[at++] = id;
    at = writeUint32(buffer, at, value);
  }
  output.end = at;
}

export function sendSettingsAck(output: Output): void {
  output.end = writeHead(output.reserve(headBytes), output.end, 0, frameType.settings, flag.ack, 0);
}

/** @param opaque 8 bytes, from `start` on. */
export function sendPing(output: Output, flags: number, opaque: Uint8Array, start: number): void {
  const buffer = output.reserve(headBytes + 8);
  const at = writeHead(buffer, output.end, 8, frameType.ping, flags, 0);
  for (let i = 0; i < 8; i++) buffer[at + i] = opaque[start + i] ?? 0;
  output.end = at + 8;
}

/** @param reason in ASCII, for who looks for the fault at the other end. */
export function sendGoaway(output: Output, lastStreamId: number, code: number, reason: string): void {
  const length = 8 + reason.length;
  const buffer = output.reserve(headBytes + length);
  let at = writeHead(buffer, output.end, length, frameType.goaway, 0, 0);
  at = writeUint32(buffer, writeUint32(buffer, at, lastStreamId), code);
  output.end = at + buffer.write(reason, at, "latin1");
}

export function sendRstStream(output: Output, streamId: number, code: number): void {
  const buffer = output.reserve(headBytes + 4);
  output.end = writeUint32(buffer, writeHead(buffer, output.end, 4, frameType.rstStream, 0, streamId), code);
}

export function sendWindowUpdate(output: Output, streamId: number, increment: number): void {
  const buffer = output.reserve(headBytes + 4);
  output.end = writeUint32(buffer, writeHead(buffer, output.end, 4, frameType.windowUpdate, 0, streamId), increment);
}

/** Sends a DATA frame; its payload is then to be added. */
export function sendDataHead(output: Output, streamId: number, length: number, isEnd: boolean): void {
  const flags = isEnd ? flag.endStream : 0;
  output.end = writeHead(output.reserve(headBytes), output.end, length, frameType.data, flags, streamId);
}

/** Sends all of a body, in as many frames as it needs. */
export function sendBody(output: Output, streamId: number, bytes: Uint8Array, isEnd: boolean): void {
  if (bytes.length <= maxPayloadBytes) {
    sendDataHead(output, streamId, bytes.length, isEnd);
    if (bytes.length > 0) output.add(bytes);
    return;
  }
  for (let at = 0; at < bytes.length; at += maxPayloadBytes) {
    const piece = bytes.subarray(at, at + maxPayloadBytes);
    sendDataHead(output, streamId, piece.length, isEnd && at + piece.length === bytes.length);
    output.add(piece);
  }
}

/**
 * Sends HEADERS, and CONTINUATION if they are that long.
 *
 * @param fields encoded once, if they are frozen.
 * @param more the encoding of others that go with them.
 * @param owesTableUpdate whether the peer is to be told first that there is no dynamic table (RFC 7541, 4.2).
 */
export function sendFields(
  output: Output,
  streamId: number,
  fields: Fields,
  more: Uint8Array,
  isEnd: boolean,
  owesTableUpdate: boolean,
): void {
  const maxBytes = maxSizeOf(fields) + more.length + tableSizeUpdate.length;
  const flags = flag.endHeaders | (isEnd ? flag.endStream : 0);
  if (maxBytes > maxPayloadBytes) {
    const block = Buffer.allocUnsafe(maxBytes);
    const end = writeBlock(block, 0, fields, more, owesTableUpdate);
    sendLongBlock(output, streamId, block.subarray(0, end), flags);
    return;
  }
  const buffer = output.reserve(headBytes + maxBytes);
  const head = output.end;
  const end = writeBlock(buffer, head + headBytes, fields, more, owesTableUpdate);
  writeHead(buffer, head, end - head - headBytes, frameType.headers, flags, streamId);
  output.end = end;
}

/** @returns where it ends. */
function writeBlock(target: Buffer, start: number, fields: Fields, more: Uint8Array, owesTableUpdate: boolean): number {
  let at = owesTableUpdate ? put(target, start, tableSizeUpdate) : start;
  at = Object.isFrozen(fields) ? put(target, at, encodeFields(fields)) : writeFields(target, at, fields);
  return more.length > 0 ? put(target, at, more) : at;
}

function put(target: Buffer, at: number, bytes: Uint8Array): number {
  target.set(bytes, at);
  return at + bytes.length;
}

function sendLongBlock(output: Output, streamId: number, block: Uint8Array, flags: number): void {
  for (let at = 0; at < block.length; at += maxPayloadBytes) {
    const piece = block.subarray(at, at + maxPayloadBytes);
    const isLast = at + piece.length === block.length;
    const type = at === 0 ? frameType.headers : frameType.continuation;
    // END_STREAM stands on the first of them, END_HEADERS on the last.
    const own = (at === 0 ? flags & flag.endStream : 0) | (isLast ? flag.endHeaders : 0);
    output.end = writeHead(output.reserve(headBytes), output.end, piece.length, type, own, streamId);
    output.add(piece);
  }
}
