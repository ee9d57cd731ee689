import type { Socket } from "node:net";
import type { Accept, Peer, RequestHeaders } from "./exchange.ts";

/** HTTP/2 for sockets that another server accepts. */
export interface Protocol {
  /**
   * Serves a socket, of TCP or TLS, from its first byte on; it is paused, and may hold bytes that were read from it
   * already.
   */
  adopt(socket: Socket, peer?: Peer): void;
  /**
   * Tells every peer that there is now to go: closes idle connections now, and each other one after its last exchange.
   * What is adopted later is served.
   */
  drain(): void;
  /** Stops the timers. */
  close(): void;
}

/** Options of every implementation. */
export interface ProtocolOptions {
  readonly accept: Accept;
  readonly log: Log;
  readonly limits: Limits;
}

/** The part of a pino logger that is used. */
export interface Log {
  debug(obj: object, msg: string): void;
  info(obj: object, msg: string): void;
  error(obj: object, msg: string): void;
}

/** What a peer may do, and for how long. */
export interface Limits {
  /** How many streams a session may have open at once, as announced in SETTINGS; further ones are refused. */
  readonly maxConcurrentStreams: number;
  /**
   * The size of a request's header fields (RFC 9113, 6.5.2), as announced in SETTINGS: beyond it the stream is reset, or
   * answered 431 when the peer has not acknowledged the limit. Unit: bytes.
   */
  readonly maxHeaderBytes: number;
  /** How long a whole request may take to arrive; then its stream is reset, unless an answer has begun. Unit: ms. */
  readonly requestTimeoutMs: number;
  /** How long a session may be without a stream before it is closed with GOAWAY. Unit: ms. */
  readonly idleTimeoutMs: number;
  /** How long a session may be silent before it is pinged. Unit: ms. */
  readonly pingIntervalMs: number;
  /** How long a pinged session may stay silent before its connection is destroyed. Unit: ms. */
  readonly pingTimeoutMs: number;
}

/** Of how many bytes that wait on one stream `Exchange.write` says that they are too many. */
export const maxWaitingBytes = 262_144;

/** The path of a request for the log: without the query, which may hold a secret. */
export function pathOf({ ":path": target = "" }: RequestHeaders): string {
  return target.replace(/\?.*$/s, "");
}
