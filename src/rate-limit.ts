/** How often something may be done. */
export interface RateOptions {
  /** At once. */
  readonly burst: number;
  /** What is given back, a second. */
  readonly perSecond: number;
}

/** A rate as {@link waitMs} and {@link takeOne} count with it, in milliseconds. */
export interface Rate {
  readonly intervalMs: number;
  readonly burstMs: number;
}

export function createRate({ burst, perSecond }: RateOptions): Rate {
  const intervalMs = 1_000 / perSecond;
  return { intervalMs, burstMs: burst * intervalMs };
}

/**
 * Takes one from a token bucket, which is one number: when it will be full again (GCRA, the generic cell rate algorithm).
 * Returns that number; undefined when there is none to take. A new bucket is 0.
 */
export function takeOne(rate: Rate, fullAtMs: number, nowMs: number): number | undefined {
  return waitMs(rate, fullAtMs, nowMs) > 0 ? undefined : Math.max(fullAtMs, nowMs) + rate.intervalMs;
}

/** How long until there is one to take from a bucket, in milliseconds; not above 0 when there is. */
export function waitMs({ intervalMs, burstMs }: Rate, fullAtMs: number, nowMs: number): number {
  return Math.max(fullAtMs, nowMs) + intervalMs - nowMs - burstMs;
}

/** Takes one from a key's bucket, and returns 0; or how long until there is one again, in milliseconds. */
export type RateLimit = (key: string) => number;

/** Token buckets by key. Those that are full are forgotten. */
export interface RateLimits {
  /**
   * How long until a key's bucket has as many, in milliseconds; 0 when it has. A full one always has: who takes more than
   * it holds waits for longer afterwards.
   */
  waitMs(key: string, count: number): number;
  /** Takes as many, whether it has them or not. */
  take(key: string, count: number): void;
}

export function createRateLimits(options: RateOptions): RateLimits {
  const rate = createRate(options);
  /** See {@link takeOne}; the one that was taken from last is at the end. */
  const fullAtMs = new Map<string, number>();

  return {
    waitMs(key, count) {
      const now = Date.now();
      const before = fullAtMs.get(key) ?? 0;
      if (before <= now) return 0;
      return Math.max(0, Math.ceil(waitMs(rate, before + (count - 1) * rate.intervalMs, now)));
    },
    take(key, count) {
      const now = Date.now();
      const fullAt = Math.max(fullAtMs.get(key) ?? 0, now) + count * rate.intervalMs;
      fullAtMs.delete(key);
      fullAtMs.set(key, fullAt);
      for (const [other, otherFullAt] of fullAtMs) {
        if (otherFullAt > now) break;
        fullAtMs.delete(other);
      }
    },
  };
}

/** Creates a token bucket for each key, for who takes one at a time. */
export function createRateLimit(options: RateOptions): RateLimit {
  const limits = createRateLimits(options);
  return (key) => {
    const wait = limits.waitMs(key, 1);
    if (wait === 0) limits.take(key, 1);
    return wait;
  };
}
