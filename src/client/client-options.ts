import type { CursorStore } from "./cursor-store.ts";
import type { Token } from "./wire/token.ts";
import type { ConnectTransport } from "./wire/transport.ts";

export interface ClientOptions {
  /** Where the service answers, such as `http://127.0.0.1:10002`. */
  readonly baseUrl: string;

  /** The user's token. With a function an expired token is replaced and the client goes on. */
  readonly token: Token;

  /**
   * The device's own stable name, at most 256 bytes. Two clients of one name share a stream (`shareStream`) or supersede
   * each other. Default: the platform name of the token.
   */
  readonly deviceId?: string | undefined;

  /** Where the device keeps how far it is. Default memoryCursorStore(). */
  readonly cursorStore?: CursorStore | undefined;

  /**
   * How many must-reach notifications may wait here: 1 to 1,000. Default: the service's, 64; in Node more, up to 1,000,
   * for listeners that keep up.
   */
  readonly window?: number | undefined;

  /**
   * Where to begin when the cursor store holds nothing for the device. `resume`: after what this device has
   * acknowledged, or at the oldest notification retained. `new`: with the next one. `all`: at the oldest one retained.
   * Default `resume`.
   */
  readonly start?: "resume" | "new" | "all" | undefined;

  /**
   * Whether the tabs of one origin, baseUrl and device share one stream: each of them gets everything, and what one has
   * handled is acknowledged. `window` and `start` are those of the tab that opens it; a later one begins after what is
   * acknowledged. Default: where there are Web Locks and broadcast channels, that is in browsers. Without sharing, two
   * clients of one device end each other; and without WebSockets six devices take all HTTP/1.1 connections of a browser
   * to a host.
   */
  readonly shareStream?: boolean | undefined;

  /**
   * How calls travel, and sessions. Default: Connect over fetch, to baseUrl; a session is a WebSocket in a browser and a
   * gRPC stream over HTTP/2 in Node, where the service and what is in between can do that.
   */
  readonly transport?: ConnectTransport | undefined;

  /**
   * Delays before connecting again, in milliseconds. Where the service asks for a delay, it is that, and up to half of it
   * more; where nobody answers, as a service that is being restarted, it is 1,500 at most for the first five minutes.
   * Default 500 to 30,000.
   */
  readonly reconnect?: { readonly minDelayMs?: number; readonly maxDelayMs?: number } | undefined;

  /**
   * Delays before a listener that threw, or a failed save or acknowledgement, is tried again, in milliseconds; for an
   * acknowledgement as for `reconnect`. Default 1,000 to 60,000.
   */
  readonly retry?: { readonly minDelayMs?: number; readonly maxDelayMs?: number } | undefined;

  /** A stream silent for this long is dead. In milliseconds. Default 50,000: a little over three heartbeats. */
  readonly idleTimeoutMs?: number | undefined;

  /** As the onError of the client. */
  readonly onError?: ((error: unknown) => void) | undefined;

  /** As the onStatus of the client. */
  readonly onStatus?: ((status: ClientStatus, error?: unknown) => void) | undefined;

  /** The source of jitter, for tests. Default Math.random. */
  readonly random?: (() => number) | undefined;
}

/** `waiting`: before connecting again. `closed`: not yet connected, closed, or stopped by an error. */
export type ClientStatus = "connecting" | "ready" | "waiting" | "closed";
