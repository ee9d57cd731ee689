import type { Socket } from "node:net";
import type { Accept, Fields, Peer } from "../exchange.ts";
import { errorCode, initialWindowBytes, maxInt31 } from "../frames/frames.ts";
import { Output } from "../frames/output.ts";
import { sendBody, sendFields, sendGoaway, sendPing, sendRstStream } from "../frames/send.ts";
import type { Decoder } from "../hpack/fields.ts";
import { type Limits, type Log, pathOf } from "../protocol.ts";
import { type Bodies, releaseHeld } from "./bodies.ts";
import { Budget, Resets } from "./floods.ts";
import { countWaiting, dropWaiting, earnBySending, grant, judgeWaiting, sendWaiting, takeDrained } from "./flow.ts";
import type { Bounds } from "./limits.ts";
import { done, type Stream } from "./stream.ts";

/** What the connections of an engine share. */
export interface Engine {
  readonly accept: Accept;
  readonly log: Log;
  readonly limits: Limits;
  readonly bounds: Bounds;
  /** Counts up for the limits on time: see watch.ts. */
  tick: number;
  /** What waits on the streams of all connections. */
  waitingBytes: number;
  readonly connections: Set<Http2Connection>;
  /** Has a connection flushed at the end of this turn of the event loop. */
  schedule(connection: Http2Connection): void;
}

/** The payloads of our pings: a number tells which one is acknowledged. */
const opaque = { drain: Buffer.from("draining"), alive: Buffer.from("alive?\0\0") } as const;

/** A connection: its state, what it says, and how it ends. What it hears is in receive.ts. */
export class Http2Connection implements Bodies {
  readonly isHttp2 = true;
  readonly remoteAddress: string;
  readonly peer: Peer | undefined;
  readonly engine: Engine;
  readonly bounds: Bounds;
  readonly socket: Socket;
  readonly output: Output;
  readonly decoder: Decoder;
  readonly streams = new Map<number, Stream>();
  ready: Set<Stream> | undefined = undefined;
  full: Set<Stream> | undefined = undefined;
  readonly resumed: Stream[] = [];
  /** Those whose answer is sent: taken out at the end of the turn, when the request may have ended too. Not told yet: */
  private leaving: Stream[] = [];
  private closed: Stream[] = [];
  readonly emptyFrames: Budget;
  readonly resets: Resets;
  waitingBytes = 0;
  countedBytes = 0;
  sendWindow = initialWindowBytes;
  initialSendWindow = initialWindowBytes;
  receiveWindow: number;
  takenBytes = 0;
  lastStreamId = 0;
  /** The settings of the peer have come; it has acknowledged ours. */
  hasSettings = false;
  isAcknowledged = false;
  /** There is no dynamic table here: whether the peer is still to be told so, or has been told. */
  owesTableUpdate = false;
  hasNoTable = false;
  /** What is said now is sent when all that has come is read. */
  isReading = false;
  private isScheduled = false;
  /** Nothing more is said or heard. */
  isOver = false;
  /** At the last, new requests are refused: the last stream has been named. */
  phase: "open" | "going" | "last" = "open";
  private timer: NodeJS.Timeout | undefined = undefined;
  /** Something was read since the last tick; when; whether a ping asks for it. */
  isHeard = true;
  heardAt: number;
  isPinged = false;
  /** When the last stream ended, or the connection began; when a header block began that has not ended. */
  readonly openedAt: number;
  idleAt: number;
  blockAt: number | undefined = undefined;

  constructor(engine: Engine, socket: Socket, decoder: Decoder, peer?: Peer) {
    const { bounds, tick } = engine;
    this.engine = engine;
    this.bounds = bounds;
    this.socket = socket;
    this.remoteAddress = socket.remoteAddress ?? "";
    this.peer = peer;
    this.decoder = decoder;
    this.output = new Output(socket, () => this.flush());
    this.receiveWindow = bounds.connectionWindowBytes;
    this.emptyFrames = new Budget(bounds.emptyFrames, bounds.emptyFramesPerSecond);
    this.resets = new Resets(bounds);
    [this.heardAt, this.idleAt, this.openedAt] = [tick, tick, tick];
  }

  get tick(): number {
    return this.engine.tick;
  }

  sendHeaders(streamId: number, fields: Fields, more: Uint8Array, isEnd: boolean): void {
    sendFields(this.output, streamId, fields, more, isEnd, this.owesTableUpdate);
    this.owesTableUpdate = false;
  }

  sendData(stream: Stream, bytes: Uint8Array, isEnd: boolean): boolean {
    const size = bytes.length;
    const { output } = this;
    if (size > 0) {
      const isFree = stream.backlog === undefined && output.waitingBytes <= this.bounds.outputBytes;
      if (!isFree || size > stream.sendWindow || size > this.sendWindow) return false;
      stream.sendWindow -= size;
      this.sendWindow -= size;
      earnBySending(this, size);
    }
    sendBody(output, stream.id, bytes, isEnd);
    return true;
  }

  sendReset(stream: Stream, code: number): void {
    sendRstStream(this.output, stream.id, code);
    if ((stream.state & done.remote) === 0) this.resets.remember(stream.id);
    this.drop(stream);
  }

  /** Resets a stream for what its peer has done: there may be no exchange, or none any more. */
  refuse(streamId: number, code: number): void {
    const stream = this.streams.get(streamId);
    if (stream !== undefined) this.sendReset(stream, code);
    else {
      sendRstStream(this.output, streamId, code);
      this.resets.remember(streamId);
    }
    this.countReset();
  }

  /** Counts a stream that its peer has reset, or has made be reset. */
  countReset(): void {
    if (!this.resets.count()) this.fail(errorCode.enhanceYourCalm, "too many streams are reset");
  }

  /** Counts a frame that carries nothing. */
  countEmptyFrame(): undefined {
    if (!this.emptyFrames.spend()) this.fail(errorCode.enhanceYourCalm, "too many frames carry nothing");
  }

  /** Ends a stream without its answer. */
  drop(stream: Stream): void {
    stream.state |= done.all | done.reset;
    this.takeOut(stream);
  }

  leave(stream: Stream): void {
    this.leaving.push(stream);
  }

  touch(): void {
    if (this.isReading || this.isScheduled || this.isOver) return;
    this.isScheduled = true;
    this.engine.schedule(this);
  }

  /** Sends what was said in this turn, and tells what has come of it. */
  flush(): void {
    this.isScheduled = false;
    if (this.isOver) return;
    if (this.resumed.length > 0) for (const stream of this.resumed.splice(0)) releaseHeld(this, stream);
    sendWaiting(this);
    if (judgeWaiting(this)) return;
    if (this.leaving.length > 0) this.closeLeaving();
    this.output.flush();
    this.tellClosed();
    if (this.full !== undefined) for (const stream of takeDrained(this)) this.tellDrained(stream);
    if (this.phase === "last" && this.streams.size === 0) {
      this.finish();
      return;
    }
    const isReady = this.ready !== undefined && this.ready.size > 0 && this.sendWindow > 0;
    if (isReady && this.output.waitingBytes <= this.bounds.outputBytes) this.touch();
    this.output.limitInput(this.bounds.unreadOutputBytes);
  }

  /** What a receiver throws is its stream's. */
  blame(stream: Stream, err: unknown): void {
    const { headers } = stream;
    this.engine.log.error({ err, method: headers[":method"], path: pathOf(headers) }, "request failed");
    stream.fail();
  }

  /** Asks whether the peer is there. */
  ping(): void {
    this.isPinged = true;
    sendPing(this.output, 0, opaque.alive, 0);
    this.touch();
  }

  /** Tells the peer to go, and closes when the last of its requests is answered (RFC 9113, 6.8). */
  drain(): void {
    if (this.isOver || this.phase !== "open") return;
    this.phase = "going";
    sendGoaway(this.output, maxInt31, errorCode.noError, "");
    sendPing(this.output, 0, opaque.drain, 0);
    this.timer = setTimeout(() => this.nameLast(), this.bounds.drainGraceMs).unref();
    this.touch();
  }

  /** What the peer had sent when it heard that it should go has come. */
  onPingAck(payload: Uint8Array): void {
    if (this.phase === "going" && opaque.drain.equals(payload)) this.nameLast();
  }

  /** Takes no further requests. */
  nameLast(): void {
    if (this.isOver || this.phase === "last") return;
    clearTimeout(this.timer);
    this.phase = "last";
    sendGoaway(this.output, this.lastStreamId, errorCode.noError, "");
    this.touch();
  }

  /** Ends the connection for a fault of the peer (5.4.1). */
  fail(code: number, reason: string): undefined {
    if (this.isOver) return;
    this.engine.log.debug({ peer: this.remoteAddress, code, reason }, "http2 connection failed");
    sendGoaway(this.output, this.lastStreamId, code, reason);
    this.finish();
  }

  /** Its socket has gone, or its peer has: then what is written has `lingerMs`. */
  abandon(): void {
    this.isOver = true;
    clearTimeout(this.timer);
    this.output.clear();
    for (const stream of this.streams.values()) this.drop(stream);
    countWaiting(this);
    this.tellClosed();
    this.linger();
  }

  private finish(): void {
    this.isOver = true;
    clearTimeout(this.timer);
    this.output.flush(true);
    for (const stream of this.streams.values()) this.drop(stream);
    countWaiting(this);
    this.tellClosed();
    this.socket.end();
    this.socket.resume();
    this.linger();
  }

  private linger(): void {
    if (!this.socket.destroyed) this.timer = setTimeout(() => this.socket.destroy(), this.bounds.lingerMs).unref();
  }

  private closeLeaving(): void {
    const { leaving } = this;
    this.leaving = [];
    for (const stream of leaving) {
      if ((stream.state & done.all) !== 0) continue;
      stream.state |= done.all;
      // The peer may stop sending what nobody reads (8.1).
      if ((stream.state & done.remote) === 0) {
        sendRstStream(this.output, stream.id, errorCode.noError);
        this.resets.remember(stream.id);
      }
      this.takeOut(stream);
    }
  }

  private takeOut(stream: Stream): void {
    const heldBytes = stream.held?.bytes ?? 0;
    dropWaiting(this, stream);
    if (heldBytes > 0) grant(this, undefined, heldBytes, 0);
    this.streams.delete(stream.id);
    if (this.streams.size === 0) this.idleAt = this.engine.tick;
    this.closed.push(stream);
  }

  private tellClosed(): void {
    if (this.closed.length === 0) return;
    const { closed } = this;
    this.closed = [];
    for (const stream of closed) {
      try {
        stream.receiver?.onClose((stream.state & (done.local | done.reset)) === done.local);
      } catch (err) {
        this.blame(stream, err);
      }
    }
  }

  private tellDrained(stream: Stream): void {
    try {
      stream.receiver?.onDrain();
    } catch (err) {
      this.blame(stream, err);
    }
  }
}
