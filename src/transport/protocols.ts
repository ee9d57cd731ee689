import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer as createHttp1Server } from "node:http";
import type { Http2ServerRequest, Http2ServerResponse, ServerHttp2Session, ServerHttp2Stream } from "node:http2";
import { createServer as createHttp2Server, constants as http2Constants } from "node:http2";
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
  maxConcurrentStreams: number;
  maxHeaderBytes: number;
  headersTimeoutMs: number;
  requestTimeoutMs: number;
  keepAliveTimeoutMs: number;
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

/** Creates an HTTP/1.1 server for sockets that another server accepts. */
export function createHttp1(options: ProtocolOptions): Protocol {
  const { log, onUpgrade } = options;
  const serve = toSafeHandler(options);
  const openResponses = new Map<Socket, Set<ServerResponse>>();
  let draining = false;

  const server = createHttp1Server({
    maxHeaderSize: options.maxHeaderBytes,
    headersTimeout: options.headersTimeoutMs,
    requestTimeout: options.requestTimeoutMs,
    keepAliveTimeout: options.keepAliveTimeoutMs,
    connectionsCheckingInterval: toCheckIntervalMs(options.headersTimeoutMs),
    shouldUpgradeCallback: (req) => onUpgrade !== undefined && req.headers.upgrade?.toLowerCase() === "websocket",
  });
  // A client may close its side right after its request. Node would then end ours too, and drop the answer.
  Object.assign(server, { httpAllowHalfOpen: true });
  server.on("request", (req, res) => {
    track(req.socket, res);
    serve(req, res);
  });
  server.on("upgrade", (req, socket: Socket, head) => {
    try {
      onUpgrade?.(req, socket, head);
    } catch (err) {
      log.error({ err, path: req.url }, "upgrade failed");
      socket.destroy();
    }
  });
  // An http.Server tracks connections only once it listens, and this one never does: without the event neither
  // headersTimeout nor requestTimeout nor closeIdleConnections() has any effect.
  server.emit("listening");

  function track(socket: Socket, res: ServerResponse): void {
    const open = openResponses.get(socket);
    open?.add(res);
    if (draining) res.shouldKeepAlive = false;
    res.once("close", () => {
      open?.delete(res);
      // Its headers may have promised keep-alive before the drain began.
      if (draining && open?.size === 0) socket.destroySoon();
    });
  }

  return {
    adopt(socket) {
      const open = new Set<ServerResponse>();
      openResponses.set(socket, open);
      socket.once("close", () => openResponses.delete(socket));
      socket.once("end", () => {
        // A client that waits for its answer gets it. In the middle of a stream, FIN means that nobody reads any more.
        for (const res of open) if (res.headersSent && !res.writableEnded) socket.destroy();
      });
      server.emit("connection", socket);
      process.nextTick(() => socket.resume());
    },
    drain() {
      draining = true;
      for (const open of openResponses.values()) for (const res of open) res.shouldKeepAlive = false;
      server.closeIdleConnections();
    },
    close: () => server.close(),
  };
}

// How long a peer may take to close its side after FIN from here. Destroyed at once, a slow one would lose the end of
// its last response.
const lingerMs = 1_000;

/**
 * Creates an HTTP/2 server for sockets that another server accepts. It adds what Node leaves to its user: pings that
 * find dead peers, a time limit on receiving a request, and a graceful close that a silent peer cannot hold up.
 */
export function createHttp2(options: ProtocolOptions): Protocol {
  const { log } = options;
  const serve = toSafeHandler(options);
  const sessions = new Set<ServerHttp2Session>();
  // In order of arrival, so a check stops at the first one that still has time.
  const receiving = new Map<ServerHttp2Stream, number>();
  const check = setInterval(dropSlowRequests, toCheckIntervalMs(options.requestTimeoutMs)).unref();

  const server = createHttp2Server({
    settings: { maxConcurrentStreams: options.maxConcurrentStreams, maxHeaderListSize: options.maxHeaderBytes },
  });
  server.on("request", (req, res) => {
    // Node applies maxHeaderListSize to sessions that have acknowledged it: not to the first requests, and never to a
    // client that does not acknowledge.
    if (toHeaderListSize(req.rawHeaders) > options.maxHeaderBytes) res.writeHead(431).end();
    else serve(req, res);
  });
  server.on("sessionError", (err) => log.debug({ err }, "http2 session failed"));

  function keep(session: ServerHttp2Session, socket: Socket): void {
    sessions.add(session);
    session.on("stream", (stream: ServerHttp2Stream) => {
      if (stream.endAfterHeaders) return;
      receiving.set(stream, performance.now());
      stream.once("close", () => receiving.delete(stream));
    });
    const stopPinging = pingWhenIdle(session, socket, options);
    let linger: NodeJS.Timeout | undefined;
    // A closed session ends its socket after its last stream, and Node then waits for the peer's FIN without a limit.
    socket.once("finish", () => {
      linger = setTimeout(() => socket.destroy(), lingerMs).unref();
    });
    socket.once("close", () => {
      clearTimeout(linger);
      stopPinging();
      sessions.delete(session);
    });
  }

  function dropSlowRequests(): void {
    const arrivedBefore = performance.now() - options.requestTimeoutMs;
    for (const [stream, arrived] of receiving) {
      if (arrived > arrivedBefore) return;
      receiving.delete(stream);
      // With a response in course it is a conversation, which may last: the limit is for requests alone.
      if (stream.state.remoteClose === 0 && !stream.headersSent) stream.close(http2Constants.NGHTTP2_CANCEL);
    }
  }

  return {
    adopt(socket) {
      // With half-open sockets, sessions outlive a client that has closed its side.
      socket.allowHalfOpen = false;
      server.once("session", (session: ServerHttp2Session) => keep(session, socket));
      server.emit("connection", socket);
    },
    drain() {
      for (const session of sessions) session.close();
    },
    close: () => clearInterval(check),
  };
}

/**
 * Pings a session from which nothing was read for pingIntervalMs, and destroys its socket when nothing, ack or other,
 * is read within pingTimeoutMs. A dead peer is so found within 2 * pingIntervalMs + pingTimeoutMs.
 */
function pingWhenIdle(session: ServerHttp2Session, socket: Socket, options: ProtocolOptions): () => void {
  let bytesRead = 0;
  let awaiting = false;
  let timer = setTimeout(tick, options.pingIntervalMs).unref();

  function rest(): void {
    awaiting = false;
    bytesRead = socket.bytesRead;
    clearTimeout(timer);
    timer = setTimeout(tick, options.pingIntervalMs).unref();
  }

  function tick(): void {
    if (session.destroyed) {
      // There is nothing left to ping, only to write, and the peer may not take it.
      timer = setTimeout(() => socket.destroy(), options.pingTimeoutMs).unref();
    } else if (socket.bytesRead !== bytesRead) {
      rest();
    } else {
      awaiting = true;
      session.ping(rest);
      // After a stall of the event loop timers run before reads: judge when the socket has been read.
      timer = setTimeout(() => setImmediate(requireAnswer), options.pingTimeoutMs).unref();
    }
  }

  function requireAnswer(): void {
    if (!awaiting || socket.destroyed) return;
    if (socket.bytesRead !== bytesRead) {
      rest();
    } else {
      options.log.info({ peer: socket.remoteAddress }, "http2 session destroyed: no answer to a ping");
      // Not session.destroy(): that waits until the dead peer has taken what is still to be written.
      socket.destroy();
    }
  }

  return () => clearTimeout(timer);
}

/** Makes a handler that no request can end the process with. */
function toSafeHandler({ handler, log }: ProtocolOptions) {
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

/** The size of headers as HTTP/2 counts it: 32 bytes for each on top of its text (RFC 9113, 6.5.2). */
function toHeaderListSize(rawHeaders: string[]): number {
  return rawHeaders.reduce((size, text) => size + text.length, rawHeaders.length * 16);
}

function toCheckIntervalMs(timeoutMs: number): number {
  return Math.min(5_000, Math.ceil(timeoutMs / 4));
}
