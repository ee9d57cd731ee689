import { isFatal, MustreachClientError, toClientError, tokenExpiredErrCode, toNetworkError } from "./error.ts";
import type { Received, SessionEvent } from "./event.ts";
import type { Presence } from "./presence.ts";
import { type BackoffOptions, createPatience, type Setback, untilAborted, wait } from "./wait.ts";

export interface SessionOptions {
  /** Starts the stream. */
  readonly open: (signal: AbortSignal) => Promise<AsyncIterable<Received>>;

  /** Told of each event but `reconnect`. */
  readonly onEvent: (event: SessionEvent) => void;

  /** A stream without an event for this long is dead. In milliseconds. */
  readonly idleTimeoutMs: number;

  /** Ends the session. */
  readonly ended: AbortSignal;
}

/** How a session ended. */
export interface SessionEnd {
  /** Whether it had begun. */
  readonly ready: boolean;

  /** The service's advice, in milliseconds. */
  readonly reconnectAfterMs?: number;

  /** Why it ended: of the service or the wire a {@link MustreachClientError}, else what `open` threw. */
  readonly error?: unknown;
}

/** Runs one Subscribe stream to its end. Never rejects. */
export async function runSession({ open, onEvent, idleTimeoutMs, ended }: SessionOptions): Promise<SessionEnd> {
  const silent = new AbortController();
  const over = new AbortController();
  const signal = AbortSignal.any([ended, silent.signal, over.signal]);
  let watchdog: ReturnType<typeof setTimeout> | undefined;
  let ready = false;

  function stayAwake() {
    clearTimeout(watchdog);
    watchdog = setTimeout(() => {
      silent.abort(toNetworkError(`nothing was heard for ${idleTimeoutMs} ms`));
    }, idleTimeoutMs);
  }

  try {
    stayAwake();
    const stream = await untilAborted(open(signal), signal);
    try {
      for await (const { event } of stream) {
        stayAwake();
        if (event.case === "reconnect") return { ready, reconnectAfterMs: event.value.afterMs };
        if (event.case === "ready") ready = true;
        onEvent(event);
      }
      return { ready };
    } catch (thrown) {
      throw toClientError(thrown);
    }
  } catch (error) {
    return { ready, error: signal.aborted ? signal.reason : error };
  } finally {
    clearTimeout(watchdog);
    // Leaving the loop does not cancel the request: Connect's iterator has no return().
    over.abort();
  }
}

/** The longest advice of the service that is followed: an instance that is gone cannot take it back. */
const maxAdviceMs = 600_000;

export interface SessionsOptions extends SessionOptions {
  /** Between sessions. */
  readonly reconnect: BackoffOptions;

  /** Whether a new session can have another token. */
  readonly tokenRenewable: boolean;

  /** Aborted when the client closes: no further session begins. */
  readonly draining: AbortSignal;

  /** Whether this device can be reached at all. */
  readonly presence: Presence;

  /** Told before a session begins. */
  readonly onConnecting: () => void;

  /** Told before a wait, with the reason when there was an error. */
  readonly onWaiting: (error: unknown) => void;
}

/** Runs one session after another until the client closes (undefined) or an error is fatal (that error). */
export async function runSessions(options: SessionsOptions): Promise<MustreachClientError | undefined> {
  const { reconnect, tokenRenewable, draining, ended, presence, onConnecting, onWaiting } = options;
  const { minDelayMs, random = Math.random } = reconnect;
  const patience = createPatience(reconnect);
  let renewed = false;

  while (!draining.aborted) {
    onConnecting();
    const { ready, error, reconnectAfterMs } = await runSession({
      ...options,
      ended: AbortSignal.any([ended, presence.away()]),
    });
    if (draining.aborted) break;
    if (ready) {
      patience.reset();
      renewed = false;
    }
    if (error instanceof MustreachClientError && isFatal(error)) {
      const renew = tokenRenewable && !renewed && error.errCode === tokenExpiredErrCode;
      if (!renew) return error;
      renewed = true;
    }
    onWaiting(error);
    const adviceMs = reconnectAfterMs === undefined ? undefined : Math.min(Math.max(reconnectAfterMs, 0), maxAdviceMs);
    const delayMs =
      adviceMs === undefined
        ? patience.next(toSetback(error, ready))
        : adviceMs + Math.max(minDelayMs, adviceMs / 2) * random();
    const back = presence.back();
    await wait(delayMs, AbortSignal.any([draining, back]));
    if (back.aborted) patience.reset();
  }
  return undefined;
}

/** Of a session that had begun nothing is known: all that were cut off with it do not come back in the same moment. */
function toSetback(error: unknown, hadBegun: boolean): Setback {
  const retryAfterMs = error instanceof MustreachClientError ? error.retryAfterMs : undefined;
  return { retryAfterMs: hadBegun ? retryAfterMs || undefined : retryAfterMs };
}
