import type { IncomingMessage, ServerResponse } from "node:http";
import { type Http2ServerRequest, type Http2ServerResponse, constants as http2Constants } from "node:http2";
import type { Socket } from "node:net";
import type { connectNodeAdapter } from "@connectrpc/connect-node";

type NodeHandlerFn = ReturnType<typeof connectNodeAdapter>;

/** A request of either protocol, as Connect's Node adapter takes it. */
export type HttpRequest = Parameters<NodeHandlerFn>[0];

/** A response of either protocol, as Connect's Node adapter takes it. */
export type HttpResponse = Parameters<NodeHandlerFn>[1];

/** Answers one request. What it throws, or rejects with, is logged and answered with a bare 500. */
export type HttpHandler = (req: HttpRequest, res: HttpResponse) => unknown;

/** Takes over the socket of an upgrade request. */
export type UpgradeHandler = (req: IncomingMessage, socket: Socket, head: Buffer) => void;

/** The part of a pino logger that the listener uses. */
export interface ListenerLog {
  debug(obj: object, msg: string): void;
  info(obj: object, msg: string): void;
  warn(obj: object, msg: string): void;
  error(obj: object, msg: string): void;
}

/** What both protocols need; the numbers are documented at ListenerOptions. */
export interface ProtocolOptions {
  handler: HttpHandler;
  log: ListenerLog;
  onUpgrade?: UpgradeHandler | undefined;
  /** Counts a connection that is destroyed for a limit. */
  refuse: (limit: "maxPipelinedRequests") => void;
  maxConcurrentStreams: number;
  maxHeaderBytes: number;
  headersTimeoutMs: number;
  requestTimeoutMs: number;
  keepAliveTimeoutMs: number;
  maxPipelinedRequests: number;
  idleTimeoutMs: number;
  pingIntervalMs: number;
  pingTimeoutMs: number;
}

/** One protocol of the port. */
export interface Protocol {
  /** Serves a paused socket from its first byte on. */
  adopt(socket: Socket): void;
  /** Closes idle connections now, and each other one after its last response. */
  drain(): void;
  /** Stops the timers. */
  close(): void;
}

/** Makes a handler that no request can end the process with. */
export function toSafeHandler({ handler, log }: ProtocolOptions) {
  return (req: IncomingMessage | Http2ServerRequest, res: ServerResponse | Http2ServerResponse): void => {
    const fail = (err: unknown): void => {
      log.error({ err, method: req.method, path: req.url }, "handler failed");
      answerFault(res);
    };
    // A write after the end, for one, is told by an event that ends the process if nobody listens.
    req.on("error", (err: Error) => log.debug({ err }, "request error"));
    res.on("error", (err: Error) => log.debug({ err }, "response error"));
    try {
      const done = handler(req, res);
      if (done instanceof Promise) done.catch(fail);
    } catch (err) {
      fail(err);
    }
  };
}

function answerFault(res: ServerResponse | Http2ServerResponse): void {
  if ("stream" in res) {
    if (res.headersSent) res.stream.close(http2Constants.NGHTTP2_INTERNAL_ERROR);
    else if (!res.stream.closed) res.stream.respond({ ":status": 500 }, { endStream: true });
  } else if (res.headersSent) {
    res.destroy();
  } else {
    // A content-length meant for the real answer would leave the client waiting.
    for (const name of res.getHeaderNames()) res.removeHeader(name);
    res.statusCode = 500;
    res.end();
  }
}

/** How often to look for what is older than a timeout, in milliseconds. */
export function toCheckIntervalMs(timeoutMs: number): number {
  return Math.min(5_000, Math.ceil(timeoutMs / 4));
}
