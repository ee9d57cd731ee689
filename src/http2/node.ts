import {
  constants as http2Constants,
  type IncomingHttpHeaders,
  performServerHandshake,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import type { Socket } from "node:net";
import type { Connection, Peer } from "./exchange.ts";
import { NodeExchange } from "./node-exchange.ts";
import { pingWhenIdle } from "./node-ping.ts";
import { maxWaitingBytes, type Protocol, type ProtocolOptions } from "./protocol.ts";

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
 * Creates HTTP/2 on `node:http2`, at its core API. It adds what Node leaves to its user: pings that find dead peers,
 * time limits on receiving a request and on doing nothing, and a graceful close that a silent peer cannot hold up.
 */
export function createNodeHttp2({ accept, log, limits }: ProtocolOptions): Protocol {
  const settings = { maxConcurrentStreams: limits.maxConcurrentStreams, maxHeaderListSize: limits.maxHeaderBytes };
  // With more than this waiting on all streams, Node resets each new one with ENHANCE_YOUR_CALM. Its default, 10 MB, is
  // what a few dozen devices on one connection have waiting when they are slow. Unit: MB.
  const maxSessionMemory = Math.ceil((limits.maxConcurrentStreams * maxWaitingBytes) / 1_000_000);
  const sessions = new Map<ServerHttp2Session, Activity>();
  // In order of arrival, so a check stops at the first one that still has time.
  const receiving = new Map<ServerHttp2Stream, number>();
  const check = setInterval(
    () => {
      dropSlowRequests();
      closeIdleSessions();
    },
    Math.min(5_000, Math.ceil(Math.min(limits.requestTimeoutMs, limits.idleTimeoutMs) / 4)),
  ).unref();

  function serve(
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    rawHeaders: readonly string[],
    connection: Connection,
  ): void {
    const exchange = new NodeExchange(stream, headers, connection, log);
    // Node applies maxHeaderListSize to sessions that have acknowledged it: not to the first requests, and never to a
    // client that does not acknowledge.
    if (toHeaderListSize(rawHeaders) > limits.maxHeaderBytes) exchange.end([":status", "431"]);
    else exchange.serve(accept);
  }

  function keep(session: ServerHttp2Session, socket: Socket, peer: Peer | undefined): void {
    const activity = { streams: 0, idleSince: performance.now() };
    sessions.set(session, activity);
    const connection: Connection = { remoteAddress: socket.remoteAddress ?? "", isHttp2: true, peer };
    session.on("error", (err) => log.debug({ err }, "http2 session failed"));
    session.on("stream", (stream, headers, _flags, rawHeaders) => {
      // Without a listener it would end the process.
      stream.on("error", (err) => log.debug({ err }, "http2 stream failed"));
      // Told a tick late: it may have gone with its session.
      if (stream.destroyed) return;
      activity.streams++;
      if (!stream.endAfterHeaders) receiving.set(stream, performance.now());
      stream.once("close", () => {
        activity.streams--;
        activity.idleSince = performance.now();
        receiving.delete(stream);
      });
      serve(stream, headers, rawHeaders, connection);
    });
    const stopPinging = pingWhenIdle({ log, limits }, session, socket);
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
    const arrivedBefore = performance.now() - limits.requestTimeoutMs;
    for (const [stream, arrived] of receiving) {
      if (arrived > arrivedBefore) return;
      receiving.delete(stream);
      // With a response in course it is a conversation, which may last: the limit is for requests alone.
      if (stream.state.remoteClose === 0 && !stream.headersSent) stream.close(http2Constants.NGHTTP2_CANCEL);
    }
  }

  function closeIdleSessions(): void {
    const idleBefore = performance.now() - limits.idleTimeoutMs;
    for (const [session, { streams, idleSince }] of sessions) {
      if (streams === 0 && idleSince < idleBefore) session.close();
    }
  }

  return {
    adopt(socket, peer) {
      // With half-open sockets, sessions outlive a client that has closed its side.
      socket.allowHalfOpen = false;
      keep(performServerHandshake(socket, { settings, maxSessionMemory }), socket, peer);
    },
    drain() {
      for (const session of sessions.keys()) sendAway(session);
    },
    close: () => clearInterval(check),
  };
}

/** How long a peer may take to answer the ping that follows the first GOAWAY, in milliseconds. */
const drainGraceMs = 500;

/** Sessions that have been told to go. */
const leaving = new WeakSet<ServerHttp2Session>();

/** Tells a peer to go in two steps (RFC 9113, 6.8): what it has sent before it heard of it is answered. */
function sendAway(session: ServerHttp2Session): void {
  if (session.destroyed || session.closed || leaving.has(session)) return;
  leaving.add(session);
  session.goaway(http2Constants.NGHTTP2_NO_ERROR, 2 ** 31 - 1);
  const timer = setTimeout(() => session.close(), drainGraceMs).unref();
  const isAsked = session.ping(() => {
    clearTimeout(timer);
    session.close();
  });
  if (!isAsked) session.close();
}

/** The size of headers as HTTP/2 counts it: 32 bytes for each on top of its text (RFC 9113, 6.5.2). */
function toHeaderListSize(rawHeaders: readonly string[]): number {
  let size = rawHeaders.length * 16;
  for (const text of rawHeaders) size += text.length;
  return size;
}
