import type { AddressInfo, Socket } from "node:net";
import { createServer, isIPv6 } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { createEngine } from "../http2/engine/engine.ts";
import type { Certificate, Peer } from "../http2/exchange.ts";
import { createTls, type SecurePeer, type TlsMaterial } from "../tls/tls.ts";
import { createTrustedProxies } from "../trusted-proxies.ts";
import { createHttp1 } from "./http1.ts";
import { takeWaiting } from "./last-accepts.ts";
import { type ListenerOptions, maxDelayMs, toLimits } from "./listener-options.ts";
import { type Beginning, sniff } from "./sniff.ts";

export type { ListenerOptions } from "./listener-options.ts";
export type { ListenerLog, UpgradeHandler } from "./protocols.ts";

/** Where to listen. */
export type ListenAt = { readonly host: string; readonly port: number } | { readonly fd: number };

/** Where the listener can be reached. */
export interface ListenerAddress {
  host: string;
  port: number;
  /** Usable from this machine also when host is a wildcard. */
  url: string;
}

/** How many connections there are now, and how many were refused since the start. */
export interface ListenerCounts {
  connections: number;
  /** Those whose protocol is not known yet. */
  undecided: number;
  refused: number;
}

/** One port for HTTP/1.1 and HTTP/2: in plaintext, or over TLS. */
export interface Listener {
  /**
   * Opens the port; port 0 picks a free one. Or accepts on a port that another process has opened, by its descriptor
   * here. Rejects with the system's error, such as EADDRINUSE.
   */
  listen(at: ListenAt): Promise<ListenerAddress>;

  /**
   * Accepts no more, as soon as no connection waits to be taken. Those that there are stay as they are. Where processes
   * share the port, all of them are to close it.
   */
  closePort(): Promise<void>;

  /**
   * Closes the port, tells every peer to go, waits for the open requests, and destroys what is left after deadlineMs.
   * Without open requests it takes some tens of milliseconds. A second call may bring the deadline forward.
   *
   * @param lingerMs how long connections without a request are left open first, for what is on its way: the answer to it
   * ends them. Default: 0.
   */
  drain(deadlineMs: number, lingerMs?: number): Promise<void>;

  /**
   * Puts other certificates in force, for connections that begin from now on. When it is others that are believed, those
   * that there are end as soon as they can, since they were let in by the old ones.
   */
  renewTls(material: TlsMaterial): void;

  counts(): ListenerCounts;
}

// Node's 511 overflows when thousands of clients reconnect at once; the kernel caps it at net.core.somaxconn.
const backlog = 4096;

/** Creates the one port of the service; {@link Listener.listen} opens it. */
export function createListener(options: ListenerOptions): Listener {
  const { accept, log, onUpgrade, createHttp2 = createEngine } = options;
  const limits = toLimits(options);
  const http1 = createHttp1({ ...limits, accept, log, onUpgrade, refuse });
  const http2 = createHttp2({ accept, log, limits });
  const sockets = new Set<Socket>();
  const undecided = new Set<Socket>();
  let refused = 0;
  let refusalLoggedAt = Number.NEGATIVE_INFINITY;
  let drained: Promise<void> | undefined;
  let isShared = false;
  let portClosed: Promise<void> | undefined;
  let material = options.tls?.material;
  const handshakes = { handshakeTimeoutMs: limits.sniffTimeoutMs, maxHandshakes: limits.maxHandshakes };
  const tls = options.tls && createTls(options.tls, { ...handshakes, onSecure, refuse, log });
  const findProxy = createTrustedProxies(options.trustedProxies ?? []);
  const ended = Promise.withResolvers<void>();

  const server = createServer({ noDelay: true, allowHalfOpen: true }, adopt);
  server.maxConnections = limits.maxConnections;
  server.on("drop", () => refuse("maxConnections"));

  // One for all sockets, as there are thousands.
  function onError(err: Error): void {
    log.debug({ err }, "socket error");
  }

  function onClose(this: Socket): void {
    sockets.delete(this);
    undecided.delete(this);
  }

  function adopt(socket: Socket): void {
    // For good: whoever owns the socket later, an error without a listener would end the process.
    socket.on("error", onError);
    if (undecided.size >= limits.maxUndecidedSockets) {
      refuse("maxUndecidedSockets");
      // In order of arrival, so this is the oldest. Its "close" comes too late to count it out.
      const [oldest] = undecided;
      if (oldest !== undefined) undecided.delete(oldest.destroy());
    }
    sockets.add(socket);
    undecided.add(socket);
    socket.on("close", onClose);
    sniff(socket, limits.sniffTimeoutMs, (beginning) => begin(socket, beginning));
  }

  function begin(socket: Socket, beginning: Beginning): void {
    if (tls === undefined) serve(socket, socket, beginning === "http2");
    else if (beginning === "tls") tls.begin(socket);
    else refusePlaintext(socket);
  }

  function onSecure(connection: Socket, { socket, isHttp2, certificate }: SecurePeer): void {
    serve(connection, socket, isHttp2, certificate);
  }

  function serve(connection: Socket, socket: Socket, isHttp2: boolean, certificate?: Certificate): void {
    undecided.delete(connection);
    const clientOf = findProxy(socket.remoteAddress ?? "");
    const peer: Peer | undefined = clientOf || certificate ? { certificate, clientOf } : undefined;
    (isHttp2 ? http2 : http1).adopt(socket, peer);
    if (drained !== undefined && isHttp2) http2.drain();
  }

  function refuse(limit: "maxConnections" | "maxUndecidedSockets" | "maxHandshakes" | "maxPipelinedRequests"): void {
    refused++;
    // Once a minute: who floods the port must not flood the log.
    if (performance.now() - refusalLoggedAt < 60_000) return;
    refusalLoggedAt = performance.now();
    log.warn({ limit, value: limits[limit], refused }, "connection refused");
  }

  function listen(at: ListenAt): Promise<ListenerAddress> {
    isShared = "fd" in at;
    return new Promise((resolve, reject) => {
      server.once("error", reject);
      server.listen({ ...at, backlog }, () => {
        server.off("error", reject);
        server.on("error", (err) => log.error({ err }, "accept failed"));
        const bound = server.address() as AddressInfo;
        resolve({ host: bound.address, port: bound.port, url: toUrl(bound, tls !== undefined) });
      });
    });
  }

  function closePort(isLast = true): Promise<void> {
    portClosed ??= takeWaiting(server, isLast, () => server.close(() => ended.resolve()));
    return portClosed;
  }

  async function drain(deadlineMs: number, lingerMs = 0): Promise<void> {
    const cut = setTimeout(
      () => {
        log.warn({ connections: sockets.size, deadlineMs }, "drain deadline: connections destroyed");
        for (const socket of sockets) socket.destroy();
      },
      Math.min(deadlineMs, maxDelayMs),
    );
    drained ??= startDrain(lingerMs);
    await drained;
    clearTimeout(cut);
  }

  async function startDrain(lingerMs: number): Promise<void> {
    // First: who is told to go comes back, and where this is one worker of several another may be about to close it.
    await closePort(!isShared);
    http1.endWithAnswers();
    http2.drain();
    if (lingerMs > 0) await Promise.race([ended.promise, delay(lingerMs)]);
    // What has come while this process stood still is read first.
    await new Promise((resolve) => setImmediate(resolve));
    for (const socket of undecided) socket.destroy();
    http1.drain();
    await ended.promise;
    http1.close();
    http2.close();
  }

  function renewTls(next: TlsMaterial): void {
    tls?.renew(next);
    const isBelief = next.clientCa !== material?.clientCa || next.clientCrl !== material?.clientCrl;
    material = next;
    if (!isBelief) return;
    http1.recycle();
    http2.drain();
  }

  const counts = (): ListenerCounts => ({ connections: sockets.size, undecided: undecided.size, refused });

  return { listen, closePort: () => closePort(), drain, counts, renewTls };
}

/** How long a peer has to take the answer that it speaks to a port of TLS, in milliseconds. */
const plaintextLingerMs = 1_000;

const plaintextReason = "this port speaks TLS: use https://\n";

const plaintextAnswer = [
  "HTTP/1.1 400 Bad Request",
  "content-type: text/plain",
  `content-length: ${plaintextReason.length}`,
  "connection: close",
  "",
  plaintextReason,
].join("\r\n");

/** Answers what is no TLS on a port of TLS. */
function refusePlaintext(socket: Socket): void {
  // Unread, what it has sent would reset the connection, and the answer with it.
  socket.resume();
  socket.end(plaintextAnswer);
  setTimeout(() => socket.destroy(), plaintextLingerMs).unref();
}

function toUrl({ address, port }: AddressInfo, isSecure: boolean): string {
  const host = address === "0.0.0.0" ? "127.0.0.1" : address === "::" ? "::1" : address;
  return `${isSecure ? "https" : "http"}://${isIPv6(host) ? `[${host}]` : host}:${port}`;
}
