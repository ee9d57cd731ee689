import type { Connection, Exchange, Fields, Receiver } from "../exchange.ts";
import { errorCode } from "../frames/frames.ts";
import { toDate } from "./date.ts";
import { type Bounds, firstWindowOf } from "./limits.ts";
import type { Request } from "./request.ts";

/** What has become of a stream so far: bits of {@link Stream.state}. */
export const done = {
  /** The header fields of the answer are sent. */
  headers: 1,
  /** The answer is complete; the end of it may wait in the backlog. */
  answer: 2,
  /** Its END_STREAM is sent: "half-closed (local)" of RFC 9113, 5.1. */
  local: 4,
  /** The peer's has come: "half-closed (remote)". */
  remote: 8,
  both: 12,
  /** It is closed, and out of its connection. */
  all: 16,
  /** By RST_STREAM, or with its connection. */
  reset: 32,
  /** The receiver takes nothing for now. */
  paused: 64,
  /** It has been told that too much waits. */
  full: 128,
  /** It answers HEAD, or has a status without a body. */
  noBody: 256,
  /** Of its first window half was taken, and it has the whole one. */
  wide: 512,
} as const;

/** What waits to be sent on a stream: for its window, that of its connection, or the socket. */
export interface Backlog {
  readonly pieces: Uint8Array[];
  /** How much of the first piece is sent. */
  offset: number;
  bytes: number;
  trailers: Fields | undefined;
}

/** Pieces shorter than this are kept together: many of a byte each would take a hundred times as much. In bytes. */
const heldBufferBytes = 4_096;

/** What of a request waits until its receiver takes it. */
export class Held {
  bytes = 0;
  /** Whether the request is complete. */
  isEnd = false;
  private readonly pieces: Uint8Array[] = [];
  private buffer: Uint8Array | undefined = undefined;
  private filled = 0;

  /** Adds a copy. */
  add(bytes: Uint8Array): void {
    this.bytes += bytes.length;
    if (this.buffer !== undefined && this.buffer.length - this.filled < bytes.length) this.seal();
    if (bytes.length >= heldBufferBytes) {
      this.seal();
      this.pieces.push(new Uint8Array(bytes));
      return;
    }
    this.buffer ??= new Uint8Array(heldBufferBytes);
    this.buffer.set(bytes, this.filled);
    this.filled += bytes.length;
  }

  /** The next piece, which is then gone; none when there is nothing more. */
  take(): Uint8Array | undefined {
    if (this.pieces.length === 0) this.seal();
    const piece = this.pieces.shift();
    this.bytes -= piece?.length ?? 0;
    return piece;
  }

  private seal(): void {
    if (this.buffer === undefined) return;
    this.pieces.push(this.buffer.subarray(0, this.filled));
    this.buffer = undefined;
    this.filled = 0;
  }
}

/** What a stream needs of its connection. */
export interface Link extends Connection {
  readonly bounds: Bounds;
  /** The time, as coarse as the limits on it need. */
  readonly tick: number;
  /** What waits on its streams, in bytes. */
  waitingBytes: number;
  /** The streams with a backlog whose own window is open. */
  ready: Set<Stream> | undefined;
  /** Those that have been told that too much waits. */
  full: Set<Stream> | undefined;
  /** Those that take what was held. */
  readonly resumed: Stream[];
  /** Sends header fields, of an answer or after it. @param more the encoding of others that go with them. */
  sendHeaders(streamId: number, fields: Fields, more: Uint8Array, isEnd: boolean): void;
  /** Sends a piece of a body at once if nothing is in the way of all of it. */
  sendData(stream: Stream, bytes: Uint8Array, isEnd: boolean): boolean;
  sendReset(stream: Stream, code: number): void;
  /** Has what was said sent, and told, soon. */
  touch(): void;
  /** Takes a stream of which both sides, or at least the answer, are complete, out at the end of this turn. */
  leave(stream: Stream): void;
}

/**
 * An exchange on a stream. Thousands of them live: what is rare is not there until it is needed, and nothing is told by
 * events. What happens is gathered by the connection and sent, and told, once a turn.
 */
export class Stream implements Exchange {
  readonly id: number;
  readonly connection: Link;
  readonly headers: Exchange["headers"];
  receiver: Receiver | undefined = undefined;
  state: number;
  /** What may be sent, in bytes; negative when the peer has made it smaller (6.9.2). */
  sendWindow: number;
  /** What the peer may send, in bytes. */
  receiveWindow: number;
  /** What is to come of a body with `content-length`, else -1. */
  expectedBytes: number;
  /** The tick at which it began, or last had something to send and could. */
  tick: number;
  backlog: Backlog | undefined = undefined;
  held: Held | undefined = undefined;

  constructor(id: number, connection: Link, request: Request, sendWindow: number, tick: number) {
    this.id = id;
    this.connection = connection;
    this.headers = request.headers;
    this.state = request.isHead ? done.noBody : 0;
    this.sendWindow = sendWindow;
    this.receiveWindow = firstWindowOf(connection.bounds);
    this.expectedBytes = request.contentLength;
    this.tick = tick;
  }

  respond(headers: Fields): void {
    if ((this.state & (done.headers | done.answer | done.all)) !== 0) return;
    this.begin(headers, false);
    this.connection.touch();
  }

  write(bytes: Uint8Array): boolean {
    if ((this.state & (done.headers | done.answer | done.all | done.noBody)) !== done.headers) return true;
    const { connection } = this;
    if (bytes.length > 0 && !connection.sendData(this, bytes, false)) this.wait(bytes);
    connection.touch();
    return this.judgeBacklog();
  }

  end(trailers?: Fields): void {
    const { state, connection } = this;
    if ((state & (done.answer | done.all)) !== 0) return;
    if ((state & done.headers) === 0) this.begin(trailers ?? [], true);
    else if (this.backlog !== undefined) {
      this.state |= done.answer;
      this.backlog.trailers = trailers;
    } else this.finish(trailers);
    connection.touch();
  }

  answer(headers: Fields, body: Uint8Array, trailers?: Fields): void {
    if ((this.state & (done.headers | done.answer | done.all)) !== 0) return;
    const { connection } = this;
    this.begin(headers, body.length === 0 && trailers === undefined);
    if ((this.state & done.answer) === 0) {
      const isLast = trailers === undefined;
      if (body.length === 0 || connection.sendData(this, body, isLast)) {
        if (isLast) this.close();
        else this.finish(trailers);
      } else {
        this.wait(body);
        this.end(trailers);
      }
    }
    connection.touch();
  }

  reset(code: number): void {
    if ((this.state & done.all) !== 0 || (this.state & done.both) === done.both) return;
    this.connection.sendReset(this, code);
    this.connection.touch();
  }

  pause(): void {
    this.state |= done.paused;
  }

  resume(): void {
    if ((this.state & done.paused) === 0) return;
    this.state &= ~done.paused;
    if (this.held === undefined) return;
    this.connection.resumed.push(this);
    this.connection.touch();
  }

  /** Ends an answer of which all else is sent. */
  finish(trailers: Fields | undefined): void {
    const { connection } = this;
    if (trailers !== undefined && trailers.length > 0) connection.sendHeaders(this.id, trailers, nothing, true);
    else connection.sendData(this, nothing, true);
    this.close();
  }

  /** The side of the answer is closed. */
  close(): void {
    this.state |= done.answer | done.local;
    this.connection.leave(this);
  }

  /** What its receiver, or the request itself, has done wrong. */
  fail(): void {
    if ((this.state & done.headers) !== 0) this.reset(errorCode.internalError);
    else this.end(internalServerError);
  }

  private begin(headers: Fields, isEnd: boolean): void {
    const isAll = isEnd || (this.state & done.noBody) !== 0 || isBodiless(headers[1]);
    this.state |= done.headers;
    this.connection.sendHeaders(this.id, headers, toDate(headers), isAll);
    if (isAll) this.close();
  }

  private wait(bytes: Uint8Array): void {
    const { connection } = this;
    if (this.backlog === undefined) {
      this.backlog = { pieces: [], offset: 0, bytes: 0, trailers: undefined };
      this.tick = connection.tick;
    }
    this.backlog.pieces.push(bytes);
    this.backlog.bytes += bytes.length;
    connection.waitingBytes += bytes.length;
    if (this.sendWindow <= 0) return;
    connection.ready ??= new Set();
    connection.ready.add(this);
  }

  private judgeBacklog(): boolean {
    const { backlog, connection } = this;
    if (backlog === undefined) return true;
    const { waitingStreamBytes, waitingConnectionBytes } = connection.bounds;
    if (backlog.bytes <= waitingStreamBytes && connection.waitingBytes <= waitingConnectionBytes) return true;
    this.state |= done.full;
    connection.full ??= new Set();
    connection.full.add(this);
    return false;
  }
}

const nothing = new Uint8Array(0);
const internalServerError: Fields = [":status", "500"];

/** RFC 9110, 15: the statuses whose answers have no body. */
function isBodiless(status: string | undefined): boolean {
  return status === "204" || status === "304" || status === "205";
}
