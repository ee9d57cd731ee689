import type { AddressInfo, Socket } from "node:net";
import { createServer, isIPv6 } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { createEngine } from "../http2/engine/engine.ts";
import type { Accept } from "../http2/exchange.ts";
import type { Protocol, ProtocolOptions } from "../http2/protocol.ts";
import { createHttp1 } from "./http1.ts";
import type { ListenerLog, UpgradeHandler } from "./protocols.ts";

export type { ListenerLog, UpgradeHandler } from "./protocols.ts";

/** All numbers are integers from 1 to 2,147,483,647; for others createListener throws a RangeError that names the option. */
export interface ListenerOptions {
  /** Called for every request of both protocols. */
  accept: Accept;

  /** HTTP/2, as one of its implementations. Default: {@link createEngine}. */
  createHttp2?: (options: ProtocolOptions) => Protocol;

  /** Where refused connections, dead peers and faults of who answers are told. */
  log: ListenerLog;

  /**
   * Called for an HTTP/1.1 request with `Upgrade: websocket`; the socket is then the callee's. Any other upgrade, h2c
   * above all, is served as plain HTTP/1.1. Default: no upgrades at all.
   */
  onUpgrade?: UpgradeHandler;

  /**
   * How long a new connection may take to send what tells HTTP/1 from HTTP/2, 24 bytes at most. Default: 20,000.
   * Less than 10,000 cuts off honest clients when thousands connect at once. Unit: ms.
   */
  sniffTimeoutMs?: number;

  /**
   * How many connections may be undecided at once; with one more, the oldest of them is destroyed and counted, so that
   * silent connections cannot keep new ones out. Default: 10,000.
   */
  maxUndecidedSockets?: number;

  /** How many connections may be open at once; further ones are closed and counted. Default: 50,000. */
  maxConnections?: number;

  /**
   * How many streams an HTTP/2 session may have open at once, as announced in SETTINGS. Default: 1,000. Streams that
   * are opened and reset fall under Node's own limit, a burst of 1,000 and 33 a second after it: a session beyond it
   * gets GOAWAY (CVE-2023-44487, "rapid reset"). That default is kept on purpose.
   */
  maxConcurrentStreams?: number;

  /** Size of a request's headers; HTTP/1 answers 431 beyond it, HTTP/2 resets the stream. Default: 16,384. Unit: bytes. */
  maxHeaderBytes?: number;

  /** How long an HTTP/1 request's headers may take to arrive, else 408. Default: 20,000; at most requestTimeoutMs. Unit: ms. */
  headersTimeoutMs?: number;

  /**
   * How long a whole request may take to arrive; then HTTP/1 answers 408 and HTTP/2 resets a stream that has no
   * response yet. It does not limit responses. Default: 60,000. Unit: ms.
   */
  requestTimeoutMs?: number;

  /** How long an HTTP/1 connection stays open between requests. Default: 65,000, above the usual 60 s of proxies. Unit: ms. */
  keepAliveTimeoutMs?: number;

  /**
   * How many requests may wait on an HTTP/1 connection for the answer to the one before them; they are served one at a
   * time, and meanwhile nothing more is read. A connection that sends more at once is destroyed and counted. Default: 128.
   */
  maxPipelinedRequests?: number;

  /** How long an HTTP/2 connection may be without a stream before it is closed with GOAWAY. Default: 60,000. Unit: ms. */
  idleTimeoutMs?: number;

  /** How long an HTTP/2 session may be silent before it is pinged. Default: 20,000. Unit: ms. */
  pingIntervalMs?: number;

  /** How long a pinged session may stay silent before it is destroyed. Default: 10,000. Unit: ms. */
  pingTimeoutMs?: number;
}

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

/** One plaintext port for HTTP/1.1 and h2c. */
export interface Listener {
  /**
   * Opens the port; port 0 picks a free one. Or accepts on a port that another process has opened, by its descriptor
   * here. Rejects with the system's error, such as EADDRINUSE.
   */
  listen(at: ListenAt): Promise<ListenerAddress>;

  /**
   * Stops accepting, tells every peer to go, waits for the open requests, and destroys what is left after deadlineMs.
   * Without open requests it takes some tens of milliseconds. A second call may bring the deadline forward.
   *
   * @param lingerMs how long connections without a request are left open first, for what is on its way: the answer to it
   * ends them. Default: 0.
   */
  drain(deadlineMs: number, lingerMs?: number): Promise<void>;

  counts(): ListenerCounts;
}

const defaults = {
  sniffTimeoutMs: 20_000,
  maxUndecidedSockets: 10_000,
  maxConnections: 50_000,
  maxConcurrentStreams: 1_000,
  maxHeaderBytes: 16_384,
  headersTimeoutMs: 20_000,
  requestTimeoutMs: 60_000,
  keepAliveTimeoutMs: 65_000,
  maxPipelinedRequests: 128,
  idleTimeoutMs: 60_000,
  pingIntervalMs: 20_000,
  pingTimeoutMs: 10_000,
};

// Node's 511 overflows when thousands of clients reconnect at once; the kernel caps it at net.core.somaxconn.
const backlog = 4096;

// A longer delay makes setTimeout fire at once.
const maxDelayMs = 2 ** 31 - 1;

const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");

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
    sniff(socket, limits.sniffTimeoutMs, (isHttp2) => {
      undecided.delete(socket);
      (isHttp2 ? http2 : http1).adopt(socket);
    });
  }

  function refuse(limit: "maxConnections" | "maxUndecidedSockets" | "maxPipelinedRequests"): void {
    refused++;
    // Once a minute: who floods the port must not flood the log.
    if (performance.now() - refusalLoggedAt < 60_000) return;
    refusalLoggedAt = performance.now();
    log.warn({ limit, value: limits[limit], refused }, "connection refused");
  }

  function listen(at: ListenAt): Promise<ListenerAddress> {
    return new Promise((resolve, reject) => {
      server.once("error", reject);
      server.listen({ ...at, backlog }, () => {
        server.off("error", reject);
        server.on("error", (err) => log.error({ err }, "accept failed"));
        const bound = server.address() as AddressInfo;
        resolve({ host: bound.address, port: bound.port, url: toUrl(bound) });
      });
    });
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
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    if (lingerMs > 0) {
      http1.endWithAnswers();
      await Promise.race([closed, delay(lingerMs)]);
    }
    for (const socket of undecided) socket.destroy();
    http1.drain();
    http2.drain();
    await closed;
    http1.close();
    http2.close();
  }

  const counts = (): ListenerCounts => ({ connections: sockets.size, undecided: undecided.size, refused });

  return { listen, drain, counts };
}

/** Reads just enough of a new connection to tell HTTP/2 from HTTP/1, and puts it back. */
function sniff(socket: Socket, timeoutMs: number, decide: (isHttp2: boolean) => void): void {
  let head: Buffer = Buffer.alloc(0);
  let decided = false;
  // Not socket.setTimeout(): a peer that drips bytes would renew it. After a stall of the event loop timers run before
  // reads, hence the setImmediate: it lets bytes that have come in time be read first.
  const timer = setTimeout(() => setImmediate(giveUp), timeoutMs).unref();

  function giveUp(): void {
    if (!decided) socket.destroy();
  }

  // On "data": a version on "readable" and read() hung on dribbled bytes.
  function read(chunk: Buffer): void {
    head = head.length > 0 ? Buffer.concat([head, chunk]) : chunk;
    const seen = Math.min(head.length, preface.length);
    const isHttp2 = preface.subarray(0, seen).equals(head.subarray(0, seen));
    if (isHttp2 && seen < preface.length) return;
    decided = true;
    stop();
    socket.pause();
    socket.unshift(head);
    decide(isHttp2);
  }

  function stop(): void {
    clearTimeout(timer);
    socket.off("data", read);
    socket.off("end", giveUp);
    socket.off("close", stop);
  }

  socket.on("data", read);
  socket.on("end", giveUp);
  socket.on("close", stop);
}

function toLimits(options: ListenerOptions): typeof defaults {
  const limits = { ...defaults };
  for (const name of Object.keys(defaults) as (keyof typeof defaults)[]) {
    const value = options[name] ?? defaults[name];
    if (!Number.isInteger(value) || value < 1 || value > maxDelayMs) {
      throw new RangeError(`${name} must be an integer from 1 to ${maxDelayMs}`);
    }
    limits[name] = value;
  }
  if (limits.headersTimeoutMs > limits.requestTimeoutMs) {
    throw new RangeError("headersTimeoutMs must not be greater than requestTimeoutMs");
  }
  return limits;
}

function toUrl({ address, port }: AddressInfo): string {
  const host = address === "0.0.0.0" ? "127.0.0.1" : address === "::" ? "::1" : address;
  return `http://${isIPv6(host) ? `[${host}]` : host}:${port}`;
}
