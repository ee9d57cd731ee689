/** How long to wait between attempts. */
export interface BackoffOptions {
  /** The first delay, before jitter. In milliseconds. */
  readonly minDelayMs: number;

  /** The longest delay, before jitter. In milliseconds. */
  readonly maxDelayMs: number;

  /** A number from 0 up to but not including 1. Default Math.random. */
  readonly random?: (() => number) | undefined;
}

/** Exponential delays: `min(maxDelayMs, minDelayMs × 2ⁿ)` times a random 0.5 to 1, so that clients spread out. */
export interface Backoff {
  /** The next delay, in milliseconds. */
  next(): number;

  /** Begins again at minDelayMs. */
  reset(): void;
}

/** Creates a {@link Backoff} that stands at its first delay. */
export function createBackoff({ minDelayMs, maxDelayMs, random = Math.random }: BackoffOptions): Backoff {
  let attempts = 0;
  return {
    next() {
      return Math.min(maxDelayMs, minDelayMs * 2 ** attempts++) * (0.5 + random() / 2);
    },
    reset() {
      attempts = 0;
    },
  };
}
