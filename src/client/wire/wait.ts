/** Resolves after a time, or as soon as the signal is aborted. Never rejects. */
export function wait(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener("abort", done);
  });
}

/** The promise's outcome, or the signal's reason as rejection when that is aborted first. */
export function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort);
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

/** Runs a call with a signal that is aborted with the parent or after a time, and settles then at the latest. */
export async function withDeadline<T>(
  ms: number,
  parent: AbortSignal | undefined,
  call: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  // AbortSignal.timeout would keep each timer for its full time.
  const deadline = new AbortController();
  const abort = () => deadline.abort(parent?.reason);
  const timer = setTimeout(() => deadline.abort(new DOMException(`no answer in ${ms} ms`, "TimeoutError")), ms);
  parent?.addEventListener("abort", abort);
  if (parent?.aborted) abort();
  try {
    return await untilAborted(call(deadline.signal), deadline.signal);
  } finally {
    clearTimeout(timer);
    parent?.removeEventListener("abort", abort);
  }
}

/** How long to wait between attempts, in milliseconds before jitter. */
export interface BackoffOptions {
  readonly minDelayMs: number;
  readonly maxDelayMs: number;
  /** A number from 0 up to but not including 1. Default Math.random. */
  readonly random?: (() => number) | undefined;
}

export type Backoff = ReturnType<typeof createBackoff>;

/** Exponential delays: `min(maxDelayMs, minDelayMs × 2ⁿ)` times a random 0.5 to 1, so that clients spread out. */
export function createBackoff({ minDelayMs, maxDelayMs, random = Math.random }: BackoffOptions) {
  let attempts = 0;
  return {
    /** The next delay, in milliseconds. */
    next: () => Math.min(maxDelayMs, minDelayMs * 2 ** attempts++) * (0.5 + random() / 2),
    /** Begins again at minDelayMs. */
    reset() {
      attempts = 0;
    },
  };
}

/**
 * Delays of who gets no answer at all, in milliseconds: a service that is being restarted is back within seconds, and
 * refuses connections until then, which costs it nothing. After `forMs` it is more than that.
 */
export const unanswered = { minDelayMs: 100, maxDelayMs: 1_500, forMs: 300_000 } as const;

/** Why another attempt is made. */
export interface Setback {
  /** As of MustreachClientError: 0 where nobody said, undefined where it is no use or nothing went wrong. */
  readonly retryAfterMs: number | undefined;
}

export type Patience = ReturnType<typeof createPatience>;

/**
 * How long to wait after an attempt that failed. Where the service says how long, as when it is busy, that, and up to
 * half of it more, so that clients spread out; where nobody answers, as {@link unanswered} has it; else by the backoff.
 * Never longer than `maxDelayMs`.
 */
export function createPatience({ minDelayMs, maxDelayMs, random = Math.random }: BackoffOptions) {
  const backoff = createBackoff({ minDelayMs, maxDelayMs, random });
  const soon = createBackoff({
    minDelayMs: Math.min(minDelayMs, unanswered.minDelayMs),
    maxDelayMs: Math.min(maxDelayMs, unanswered.maxDelayMs),
    random,
  });
  let unansweredSince: number | undefined;
  return {
    /** The next delay, in milliseconds. */
    next({ retryAfterMs }: Setback): number {
      if (retryAfterMs === 0) {
        unansweredSince ??= Date.now();
        return Date.now() - unansweredSince < unanswered.forMs ? soon.next() : backoff.next();
      }
      unansweredSince = undefined;
      soon.reset();
      return retryAfterMs === undefined ? backoff.next() : Math.min(maxDelayMs, retryAfterMs * (1 + random() / 2));
    },
    /** Something worked: begins again at the first delays. */
    reset() {
      unansweredSince = undefined;
      backoff.reset();
      soon.reset();
    },
  };
}
