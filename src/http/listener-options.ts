import type { Accept } from "../http2/exchange.ts";
import type { Protocol, ProtocolOptions } from "../http2/protocol.ts";
import type { TlsOptions } from "../tls/tls.ts";
import type { ListenerLog, UpgradeHandler } from "./protocols.ts";

/** All numbers are integers from 1 to 2,147,483,647; for others createListener throws a RangeError that names the option. */
export interface ListenerOptions {
  /** Called for every request of both protocols. */
  accept: Accept;

  /** Speaks TLS, with HTTP/2 by ALPN, and nothing else. Default: plaintext. */
  tls?: TlsOptions | undefined;

  /** Addresses, and ranges of them, of proxies whose `x-forwarded-for` counts. Default: none. */
  trustedProxies?: readonly string[];

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
   * How long a new connection may take to send what tells HTTP/1 from HTTP/2, 24 bytes at most, and then, with TLS, for
   * its handshake. Default: 20,000.
   * Less than 10,000 cuts off honest clients when thousands connect at once. Unit: ms.
   */
  sniffTimeoutMs?: number;

  /**
   * How many connections may be undecided at once; with one more, the oldest of them is destroyed and counted, so that
   * silent connections cannot keep new ones out. Default: 10,000.
   */
  maxUndecidedSockets?: number;

  /**
   * How many handshakes of TLS may be under way at once; with one more, the oldest of them is destroyed and counted. Each
   * is some 40 KB. Default: 2,000.
   */
  maxHandshakes?: number;

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

const defaults = {
  sniffTimeoutMs: 20_000,
  maxUndecidedSockets: 10_000,
  maxHandshakes: 2_000,
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

// A longer delay makes setTimeout fire at once.
export const maxDelayMs = 2 ** 31 - 1;

/** The limits of a port, with the defaults of those that are not given. */
export type ListenerLimits = typeof defaults;

/** @throws {RangeError} as {@link ListenerOptions}. */
export function toLimits(options: ListenerOptions): ListenerLimits {
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
