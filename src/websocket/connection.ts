import type { Socket } from "node:net";
import type { WebSocket } from "ws";
import type { Log } from "../http2/protocol.ts";
import { type Rate, takeOne } from "../rate-limit.ts";
import { Timer, type TimerOwner, type TimerWheel } from "../timer-wheel.ts";
import { closeCodes } from "./close-codes.ts";
import type { WebSocketLimits } from "./limits.ts";

/** A WebSocket as who answers it has it. No method throws, and none has an effect once the connection is over. */
export interface WebSocketConnection {
  /** The subprotocol that was agreed on; empty when there is none. */
  readonly protocol: string;
  /**
   * Sends a message, as a frame of `toFrame`. The bytes may be shared with others, and must not be changed any more. False
   * when more waits to be sent than should; {@link WebSocketReceiver.onDrain} follows.
   */
  write(frame: Uint8Array): boolean;
  /** Sends a ping; its pong says that the peer has read what was sent before it. At most 125 bytes. */
  ping(bytes: Uint8Array): void;
  /**
   * Ends the connection.
   *
   * @param code of RFC 6455, 7.4; see {@link closeCodes}.
   * @param reason for people: at most 123 bytes of it are sent.
   */
  close(code: number, reason: string): void;
}

/** Who answers a WebSocket is told what comes. What it throws is logged, and ends the connection with 1011. */
export interface WebSocketReceiver {
  onText(text: string): void;
  /** Only valid during the call: what is kept is to be copied. */
  onBinary(bytes: Uint8Array): void;
  /** A pong, with the bytes of its ping. That of a ping of ours for liveness is empty. */
  onPong(bytes: Uint8Array): void;
  /** What waited to be sent is less again. */
  onDrain(): void;
  /** The server is stopping: it is time to close, with 1012 or after what is under way. */
  onStopping(): void;
  /**
   * The connection is over, whoever has ended it: the last call, once.
   *
   * @param violation what the peer has done that it must not, when it was ended for that.
   */
  onClose(violation: string | undefined): void;
}

/** What all connections of a path have in common. */
export interface ConnectionDeps {
  readonly limits: WebSocketLimits;
  readonly pings: Rate;
  readonly messages: Rate;
  readonly timers: TimerWheel;
  readonly log: Log;
  /** Those that are not over. */
  readonly open: Set<Connection>;
}

/** Takes an open WebSocket. Nothing comes before this has returned. */
export type Open = (connection: WebSocketConnection) => WebSocketReceiver;

/** The longest reason of a close, in bytes (RFC 6455, 5.5). */
const maxReasonBytes = 123;

export class Connection implements WebSocketConnection, TimerOwner {
  readonly protocol: string;
  readonly #deps: ConnectionDeps;
  readonly #ws: WebSocket;
  readonly #socket: Socket;
  readonly #timer = new Timer(this);
  /** Undefined once the connection is over. */
  #receiver: WebSocketReceiver | undefined = undefined;
  #isDrainAwaited = false;
  #isPinged = false;
  /** Pings of who answers, whose pongs have not come. */
  #awaitedPongs = 0;
  /** How much had come at the last look. */
  #bytesRead: number;
  /** See {@link takeOne}. */
  #messagesFullAt = 0;
  #pingsFullAt = 0;

  constructor(deps: ConnectionDeps, ws: WebSocket, socket: Socket) {
    this.protocol = ws.protocol;
    this.#deps = deps;
    this.#ws = ws;
    this.#socket = socket;
    this.#bytesRead = socket.bytesRead;
  }

  /** Hands the connection to who answers it. */
  serve(open: Open): void {
    this.#deps.open.add(this);
    this.#listen();
    try {
      this.#receiver = open(this);
    } catch (err) {
      this.#fail(err);
      return;
    }
    this.#deps.timers.set(this.#timer, this.#deps.limits.pingIntervalMs);
  }

  /** By itself, as its listeners hold on to all that is in its scope: what has opened the connection would be the request. */
  #listen(): void {
    const ws = this.#ws;
    ws.on("message", (data, isBinary) => this.#takeMessage(data as Buffer, isBinary));
    ws.on("ping", () => void this.#takePing());
    ws.on("pong", (bytes) => {
      // Those that are asked for are as many as whoever asks likes.
      if (this.#awaitedPongs > 0) this.#awaitedPongs--;
      else if (!this.#takePing()) return;
      this.#tell((receiver) => receiver.onPong(bytes));
    });
    // What is no WebSocket, or too large: it has been closed with the code for that.
    ws.on("error", ({ message }) => this.#finish(message));
    ws.on("close", () => this.#finish(undefined));
    this.#socket.on("drain", () => this.#drain());
  }

  write(frame: Uint8Array): boolean {
    const { readyState, OPEN } = this.#ws;
    if (readyState !== OPEN) return true;
    cork(this.#socket);
    this.#socket.write(frame);
    if (this.#socket.writableLength <= this.#deps.limits.maxWaitingBytes) return true;
    this.#isDrainAwaited = true;
    return false;
  }

  ping(bytes: Uint8Array): void {
    const { readyState, OPEN } = this.#ws;
    if (readyState !== OPEN) return;
    this.#awaitedPongs++;
    this.#ws.ping(bytes);
  }

  close(code: number, reason: string): void {
    this.#ws.close(code, cutOff(reason, maxReasonBytes));
    this.#finish(undefined);
  }

  /** The server is stopping. */
  stop(): void {
    this.#tell((receiver) => receiver.onStopping());
  }

  onTime(): void {
    const { timers, limits } = this.#deps;
    const { bytesRead } = this.#socket;
    if (bytesRead !== this.#bytesRead) {
      this.#bytesRead = bytesRead;
      this.#isPinged = false;
      timers.set(this.#timer, limits.pingIntervalMs);
    } else if (!this.#isPinged) {
      this.#isPinged = true;
      this.ping(nothing);
      timers.set(this.#timer, limits.pingTimeoutMs);
    } else {
      // Half-open: nobody would read why.
      this.#socket.destroy();
      this.#finish("the peer was silent for too long");
    }
  }

  #takeMessage(data: Buffer, isBinary: boolean): void {
    if (this.#receiver === undefined) return;
    const fullAt = takeOne(this.#deps.messages, this.#messagesFullAt, performance.now());
    if (fullAt === undefined) {
      this.#refuse("too many messages");
      return;
    }
    this.#messagesFullAt = fullAt;
    this.#tell((receiver) => (isBinary ? receiver.onBinary(data) : receiver.onText(data.toString())));
  }

  /** Counts a ping or a pong; false when it is one too many. */
  #takePing(): boolean {
    if (this.#receiver === undefined) return false;
    const fullAt = takeOne(this.#deps.pings, this.#pingsFullAt, performance.now());
    if (fullAt === undefined) {
      this.#refuse("too many pings");
      return false;
    }
    this.#pingsFullAt = fullAt;
    return true;
  }

  #drain(): void {
    if (!this.#isDrainAwaited) return;
    this.#isDrainAwaited = false;
    this.#tell((receiver) => receiver.onDrain());
  }

  #refuse(violation: string): void {
    this.#ws.close(closeCodes.policyViolation, violation);
    // What else it sends stays with it.
    this.#ws.pause();
    this.#finish(violation);
  }

  #tell(what: (receiver: WebSocketReceiver) => void): void {
    if (this.#receiver === undefined) return;
    try {
      what(this.#receiver);
    } catch (err) {
      this.#fail(err);
    }
  }

  #fail(err: unknown): void {
    this.#deps.log.error({ err }, "WebSocket failed");
    this.#ws.close(closeCodes.internalError, "internal error");
    this.#finish(undefined);
  }

  #finish(violation: string | undefined): void {
    this.#deps.timers.clear(this.#timer);
    this.#deps.open.delete(this);
    const receiver = this.#receiver;
    this.#receiver = undefined;
    try {
      receiver?.onClose(violation);
    } catch (err) {
      this.#deps.log.error({ err }, "WebSocket failed");
    }
  }
}

const nothing = new Uint8Array();

/** Those that have been written to in this turn. */
const corked: Socket[] = [];

/** Has what is written in a turn of the event loop go out in one piece. */
function cork(socket: Socket): void {
  if (socket.writableCorked > 0) return;
  socket.cork();
  if (corked.push(socket) === 1) process.nextTick(uncorkAll);
}

function uncorkAll(): void {
  for (const socket of corked.splice(0)) socket.uncork();
}

/** As much of a text as has its place, in whole characters. */
function cutOff(text: string, maxBytes: number): string {
  let rest = text;
  while (Buffer.byteLength(rest) > maxBytes) rest = [...rest].slice(0, -1).join("");
  return rest;
}
