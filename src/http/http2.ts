import type { ServerHttp2Session, ServerHttp2Stream } from "node:http2";
import { createServer, constants as http2Constants } from "node:http2";
import type { Socket } from "node:net";
import { type Protocol, type ProtocolOptions, toCheckIntervalMs, toSafeHandler } from "./protocols.ts";

// How long a peer may take to close its side after FIN from here. Destroyed at once, a slow one would lose the end of
// its last response.
const lingerMs = 1_000;

/** What a session does. */
interface Activity {
  streams: number;
  /** When the last stream ended, or else the session began. */
  idleSince: number;
}

/**
 * Creates an HTTP/2 server for sockets that another server accepts. It adds what Node leaves to its user: pings that
 * find dead peers, time limits on receiving a request and on doing nothing, and a graceful close that a silent peer cannot hold up.
 */
export function createHttp2(options: ProtocolOptions): Protocol {
  const { log } = options;
  const serve = toSafeHandler(options);
  const sessions = new Map<ServerHttp2Session, Activity>();
  // In order of arrival, so a check stops at the first one that still has time.
  const receiving = new Map<ServerHttp2Stream, number>();
  const checkIntervalMs = toCheckIntervalMs(Math.min(options.requestTimeoutMs, options.idleTimeoutMs));
  const check = setInterval(() => {
    dropSlowRequests();
    closeIdleSessions();
  }, checkIntervalMs).unref();

  const server = createServer({
    settings: { maxConcurrentStreams: options.maxConcurrentStreams, maxHeaderListSize: options.maxHeaderBytes },
  });
  server.on("request", (req, res) => {
    // A stream lasts until both sides have ended it. What a peer still sends after its answer is nobody's, and costs less
    // to a stream that is closed. The last of an answer are its trailers, which Node asks for when all else is written.
    res.stream.once("wantTrailers", () => {
      if (!req.complete) setImmediate(() => req.stream.close(http2Constants.NGHTTP2_NO_ERROR));
    });
    // Node applies maxHeaderListSize to sessions that have acknowledged it: not to the first requests, and never to a
    // client that does not acknowledge.
    if (toHeaderListSize(req.rawHeaders) > options.maxHeaderBytes) res.writeHead(431).end();
    else serve(req, res);
  });
  server.on("sessionError", (err) => log.debug({ err }, "http2 session failed"));

  function keep(session: ServerHttp2Session, socket: Socket): void {
    const activity = { streams: 0, idleSince: performance.now() };
    sessions.set(session, activity);
    session.on("stream", (stream: ServerHttp2Stream) => {
      activity.streams++;
      stream.once("close", () => {
        activity.streams--;
        activity.idleSince = performance.now();
      });
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

  function closeIdleSessions(): void {
    const idleBefore = performance.now() - options.idleTimeoutMs;
    for (const [session, { streams, idleSince }] of sessions) {
      if (streams === 0 && idleSince < idleBefore) session.close();
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
      for (const session of sessions.keys()) session.close();
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

/** The size of headers as HTTP/2 counts it: 32 bytes for each on top of its text (RFC 9113, 6.5.2). */
function toHeaderListSize(rawHeaders: string[]): number {
  return rawHeaders.reduce((size, text) => size + text.length, rawHeaders.length * 16);
}
