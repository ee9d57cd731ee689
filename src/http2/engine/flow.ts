import { errorCode, flag, maxInt31 } from "../frames/frames.ts";
import type { Output } from "../frames/output.ts";
import { maxPayloadBytes, sendDataHead, sendWindowUpdate } from "../frames/send.ts";
import type { Budget } from "./floods.ts";
import { firstWindowOf } from "./limits.ts";
import { type Backlog, done, type Link, type Stream } from "./stream.ts";

/** Flow control (RFC 9113, 5.2 and 6.9): what a connection may send and take. */
export interface Flow extends Link {
  readonly output: Output;
  readonly streams: ReadonlyMap<number, Stream>;
  /** How many frames that carry nothing the peer may send. */
  readonly emptyFrames: Budget;
  /** What may be sent, in bytes. */
  sendWindow: number;
  /** What may be sent on a new stream: SETTINGS_INITIAL_WINDOW_SIZE of the peer. */
  initialSendWindow: number;
  /** What the peer may send, in bytes. */
  receiveWindow: number;
  /** What of it has been taken, and not been granted again, in bytes. */
  takenBytes: number;
}

/** Sends what waits, a frame of each stream in turn, as far as windows and the socket allow. */
export function sendWaiting(flow: Flow): void {
  const { ready, output, bounds } = flow;
  if (ready === undefined) return;
  for (const stream of ready) {
    if (flow.sendWindow <= 0 || output.waitingBytes > bounds.outputBytes) return;
    ready.delete(stream);
    const { backlog } = stream;
    // The peer may have made its window smaller.
    if (backlog === undefined || stream.sendWindow <= 0) continue;
    sendFrame(flow, stream, backlog);
    // To the end of the line: the iteration comes to it again.
    if (stream.backlog !== undefined && stream.sendWindow > 0) ready.add(stream);
  }
}

function sendFrame(flow: Flow, stream: Stream, backlog: Backlog): void {
  const { output, bounds } = flow;
  const size = Math.min(backlog.bytes, stream.sendWindow, flow.sendWindow, maxPayloadBytes);
  const isWhole = size === backlog.bytes;
  const isEnd = isWhole && (stream.state & done.answer) !== 0 && backlog.trailers === undefined;
  sendDataHead(output, stream.id, size, isEnd);
  addPieces(output, backlog, size);
  backlog.bytes -= size;
  stream.sendWindow -= size;
  flow.sendWindow -= size;
  flow.waitingBytes -= size;
  stream.tick = flow.tick;
  if (isWhole || size >= bounds.earningBytes) earnBySending(flow, size);
  if (!isWhole) return;
  stream.backlog = undefined;
  if (isEnd) stream.close();
  else if ((stream.state & done.answer) !== 0) stream.finish(backlog.trailers);
}

/** A peer may answer each DATA frame, and each few kilobytes of it, by WINDOW_UPDATE. */
export function earnBySending({ emptyFrames, bounds }: Flow, size: number): void {
  emptyFrames.earn(bounds.emptyFramesEarned * (1 + (size >>> 12)));
}

function addPieces(output: Output, backlog: Backlog, size: number): void {
  const { pieces } = backlog;
  let left = size;
  let taken = 0;
  for (const piece of pieces) {
    if (left === 0) break;
    const end = Math.min(piece.length, backlog.offset + left);
    output.add(piece.subarray(backlog.offset, end));
    left -= end - backlog.offset;
    backlog.offset = end === piece.length ? 0 : end;
    if (end === piece.length) taken++;
  }
  pieces.splice(0, taken);
}

/** Forgets what waits on a stream. */
export function dropWaiting(flow: Flow, stream: Stream): void {
  flow.ready?.delete(stream);
  flow.full?.delete(stream);
  stream.held = undefined;
  if (stream.backlog === undefined) return;
  flow.waitingBytes -= stream.backlog.bytes;
  stream.backlog = undefined;
}

/** A connection among all of an engine. */
interface Waiting extends Flow {
  readonly engine: { waitingBytes: number; readonly connections: Iterable<Waiting> };
  /** What of its waiting bytes is counted among those of all. */
  countedBytes: number;
  readonly isOver: boolean;
  fail(code: number, reason: string): undefined;
}

/** @returns whether the connection has ended: when too much waits on it, or on all of them, and on none more than on it. */
export function judgeWaiting(connection: Waiting): boolean {
  const { engine, bounds } = connection;
  countWaiting(connection);
  const calm = (one: Waiting) => one.fail(errorCode.enhanceYourCalm, "answers are not taken");
  if (connection.waitingBytes > bounds.maxWaitingBytes) calm(connection);
  else if (engine.waitingBytes > bounds.maxWaitingTotalBytes) calm(fullestOf(connection));
  return connection.isOver;
}

/** Brings what waits on all connections up to date with what waits on one. */
export function countWaiting(connection: Waiting): void {
  connection.engine.waitingBytes += connection.waitingBytes - connection.countedBytes;
  connection.countedBytes = connection.waitingBytes;
}

function fullestOf(connection: Waiting): Waiting {
  let fullest = connection;
  for (const each of connection.engine.connections) if (each.waitingBytes > fullest.waitingBytes) fullest = each;
  return fullest;
}

/** The streams that have been told that too much waits, and where less than half of that does now. */
export function takeDrained(flow: Flow): Stream[] {
  const { waitingStreamBytes, waitingConnectionBytes } = flow.bounds;
  const { full } = flow;
  if (full === undefined || flow.waitingBytes > waitingConnectionBytes / 2) return [];
  const drained = [...full].filter(({ backlog }) => (backlog?.bytes ?? 0) <= waitingStreamBytes / 2);
  for (const stream of drained) {
    stream.state &= ~done.full;
    full.delete(stream);
  }
  return drained;
}

/** @returns false when the window would be too large (6.9.1). */
export function widenConnection(flow: Flow, increment: number): boolean {
  flow.sendWindow += increment;
  return flow.sendWindow <= maxInt31;
}

/** @returns false when the window would be too large (6.9.1). */
export function widenStream(flow: Flow, stream: Stream, increment: number): boolean {
  stream.sendWindow += increment;
  if (stream.backlog !== undefined && stream.sendWindow > 0) {
    flow.ready ??= new Set();
    flow.ready.add(stream);
  }
  return stream.sendWindow <= maxInt31;
}

/** Takes another SETTINGS_INITIAL_WINDOW_SIZE (6.9.2). @returns false when a window would be too large. */
export function changeInitialWindow(flow: Flow, size: number): boolean {
  const change = size - flow.initialSendWindow;
  flow.initialSendWindow = size;
  if (change === 0) return true;
  let isWithin = true;
  for (const stream of flow.streams.values()) if (!widenStream(flow, stream, change)) isWithin = false;
  return isWithin;
}

/**
 * Grants a peer again what has been taken, when it is half of the window. The first of a stream is small, and the others
 * are not: who is refused at once, or not read, has little on its way.
 *
 * @param stream none when there is nobody to take more on it.
 * @param flags of the DATA frame: after END_STREAM there is nothing to grant.
 */
export function grant(flow: Flow, stream: Stream | undefined, size: number, flags: number): void {
  const { bounds, output } = flow;
  flow.takenBytes += size;
  if (flow.takenBytes >= bounds.connectionWindowBytes / 2) {
    sendWindowUpdate(output, 0, flow.takenBytes);
    flow.receiveWindow += flow.takenBytes;
    flow.takenBytes = 0;
  }
  if (stream === undefined || (flags & flag.endStream) !== 0 || (stream.state & (done.remote | done.all)) !== 0) return;
  const window = (stream.state & done.wide) === 0 ? firstWindowOf(bounds) : bounds.streamWindowBytes;
  const left = stream.receiveWindow + (stream.held?.bytes ?? 0);
  if (left > window / 2) return;
  stream.state |= done.wide;
  sendWindowUpdate(output, stream.id, bounds.streamWindowBytes - left);
  stream.receiveWindow += bounds.streamWindowBytes - left;
}
