import type { ConnectError } from "@connectrpc/connect";
import { failure } from "../errors.ts";
import type { EventInit } from "./events.ts";

/** Why a session ends: after one more event, with an error, or both. */
export interface SessionEnd {
  readonly last?: EventInit;
  readonly error?: ConnectError;
}

/** Why sessions end, by themselves or all at once. */
export const sessionEnds = {
  /** The instance is stopping. Spread, so that a stop is not followed by a storm. */
  drained: () => reconnect(500 + Math.floor(Math.random() * 2_000), "the server is stopping"),

  /** The device begins a session anew, which tells it where the store goes on. Spread: all hear of it at once. */
  storeChanged: () => reconnect(Math.floor(Math.random() * 2_000), "the store of notifications was replaced"),

  expired: (): SessionEnd => ({ error: failure("TokenExpiredError", "the token expired") }),

  revoked: (): SessionEnd => ({ error: failure("TokenKickedError", "the token was revoked") }),

  replaced: (): SessionEnd => ({
    error: failure("TokenKickedError", "a newer session of this device was opened"),
  }),
} as const;

function reconnect(afterMs: number, reason: string): SessionEnd {
  return { last: { case: "reconnect", value: { afterMs, reason } } };
}
