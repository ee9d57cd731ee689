import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import type { Accept, Connection } from "../http2/exchange.ts";
import type { Log } from "../http2/protocol.ts";

/** Takes over the socket of an upgrade request. */
export type UpgradeHandler = (req: IncomingMessage, socket: Socket, head: Buffer, connection: Connection) => void;

/** The part of a pino logger that the listener uses. */
export interface ListenerLog extends Log {
  warn(obj: object, msg: string): void;
}

/** What HTTP/1.1 needs; the numbers are documented at ListenerOptions. */
export interface Http1Options {
  readonly accept: Accept;
  readonly log: ListenerLog;
  readonly onUpgrade?: UpgradeHandler | undefined;
  /** Counts a connection that is destroyed for a limit. */
  readonly refuse: (limit: "maxPipelinedRequests") => void;
  readonly maxHeaderBytes: number;
  readonly headersTimeoutMs: number;
  readonly requestTimeoutMs: number;
  readonly keepAliveTimeoutMs: number;
  readonly maxPipelinedRequests: number;
}
