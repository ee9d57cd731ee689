/** Options of {@link createRateLimit}. */
export interface RateLimitOptions {
  /** What each key may do at once. */
  readonly burst: number;
  /** What is given back to each key, a second. */
  readonly perSecond: number;
}

/** Takes one from a key's bucket, and returns 0; or how long until there is one again, in milliseconds. */
export type RateLimit = (key: string) => number;

/**
 * Creates a token bucket for each key, as one number: when it will be full again (GCRA, the generic cell rate
 * algorithm). Those that are full are forgotten.
 */
export function createRateLimit({ burst, perSecond }: RateLimitOptions): RateLimit {
  const intervalMs = 1_000 / perSecond;
  /** In epoch milliseconds; the one that was taken from last is at the end. */
  const fullAtMs = new Map<string, number>();

  return (key) => {
    const now = Date.now();
    const fullAt = Math.max(fullAtMs.get(key) ?? 0, now);
    const waitMs = fullAt + intervalMs - now - burst * intervalMs;
    if (waitMs > 0) return Math.ceil(waitMs);
    fullAtMs.delete(key);
    fullAtMs.set(key, fullAt + intervalMs);
    for (const [other, otherFullAt] of fullAtMs) {
      if (otherFullAt > now) break;
      fullAtMs.delete(other);
    }
    return 0;
  };
}
