import type { RateOptions } from "../rate-limit.ts";

/** What a WebSocket's peer may do, and for how long it is waited for. */
export interface WebSocketLimits {
  /** How many frames one message may come in. Default: 128. */
  readonly maxFragments: number;
  /** How many pieces off the wire may be kept of a message that is not complete. Default: 1,024. */
  readonly maxBufferedChunks: number;
  /** Pings and pongs of the peer. Default: 32, and then 4 a second. */
  readonly pings: RateOptions;
  /** How many pongs may wait to be sent to a peer that does not read; then it is cut off. Default: 64. */
  readonly maxWaitingPongs: number;
  /** Of how many bytes that wait to be sent `WebSocketConnection.write` says that they are too many. Default: 262,144. */
  readonly maxWaitingBytes: number;
  /** How often it is looked whether anything has come; a peer that was silent since is pinged. Default: 20,000. Unit: ms. */
  readonly pingIntervalMs: number;
  /** How long a pinged peer may stay silent before its connection is destroyed. Default: 10,000. Unit: ms. */
  readonly pingTimeoutMs: number;
  /** How long the peer may take to close, too, before its connection is destroyed. Default: 5,000. Unit: ms. */
  readonly closeTimeoutMs: number;
}

export const defaultLimits: WebSocketLimits = {
  maxFragments: 128,
  maxBufferedChunks: 1_024,
  pings: { burst: 32, perSecond: 4 },
  maxWaitingPongs: 64,
  maxWaitingBytes: 262_144,
  pingIntervalMs: 20_000,
  pingTimeoutMs: 10_000,
  closeTimeoutMs: 5_000,
};
