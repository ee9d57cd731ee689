import { failure } from "../errors.ts";

/** Slows those who try secrets, by the address that they come from. */
export interface GuessLimit {
  /**
   * Call it before a secret is looked at.
   *
   * @throws TooManyRequestsError (429), with when to try again, for an address that has given too many wrong ones. A
   * right one would be refused as well: who guesses must not learn of it.
   */
  check(peer: string): void;
  /** Counts a wrong secret. */
  wrong(peer: string): void;
}

/** Options of {@link createGuessLimit}. */
export interface GuessLimitOptions {
  /** Wrong secrets that an address may give one after the other. Default 10. */
  readonly burst?: number;
  /** How long it takes until an address may give one more, in milliseconds. Default 6,000. */
  readonly refillMs?: number;
  /** How many addresses are kept; the one that has not been wrong for the longest time is forgotten. Default 10,000. */
  readonly maxPeers?: number;
}

/** Creates a {@link GuessLimit}, for one instance: a token bucket for each address. */
export function createGuessLimit(options: GuessLimitOptions = {}): GuessLimit {
  const { burst = 10, refillMs = 6_000, maxPeers = 10_000 } = options;
  /** When the bucket of an address is full again, in milliseconds since the Unix epoch; the last to fail is the last. */
  const fullAtMs = new Map<string, number>();
  return {
    check(peer) {
      const waitMs = (fullAtMs.get(peer) ?? 0) - Date.now() - (burst - 1) * refillMs;
      if (waitMs <= 0) return;
      throw failure("TooManyRequestsError", "too many wrong secrets from this address", undefined, {
        retryAfterMs: waitMs,
      });
    },
    wrong(peer) {
      const until = Math.max(fullAtMs.get(peer) ?? 0, Date.now()) + refillMs;
      fullAtMs.delete(peer);
      fullAtMs.set(peer, until);
      const [oldest] = fullAtMs.keys();
      if (fullAtMs.size > maxPeers && oldest !== undefined) fullAtMs.delete(oldest);
    },
  };
}
