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
