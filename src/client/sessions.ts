import { type BackoffOptions, createBackoff } from "./backoff.ts";
import { isFatal, MustreachClientError, tokenExpiredErrCode } from "./error.ts";
import { runSession, type SessionOptions } from "./session.ts";
import { wait } from "./wait.ts";

/** The longest advice of the service that is followed: an instance that is gone cannot take it back. */
const maxAdviceMs = 600_000;

/** What {@link runSessions} needs. */
export interface SessionsOptions extends SessionOptions {
  /** Between sessions. */
  readonly reconnect: BackoffOptions;

  /** Whether a new session can have another token. */
  readonly tokenRenewable: boolean;

  /** Aborted when the client closes: no further session begins. */
  readonly draining: AbortSignal;

  /** Told before a session begins. */
  readonly onConnecting: () => void;

  /** Told before a wait, with the reason when there was an error. */
  readonly onWaiting: (error: unknown) => void;
}

/** Runs one session after another until the client closes (undefined) or an error is fatal (that error). */
export async function runSessions(options: SessionsOptions): Promise<MustreachClientError | undefined> {
  const { reconnect, tokenRenewable, draining, onConnecting, onWaiting } = options;
  const { minDelayMs, random = Math.random } = reconnect;
  const backoff = createBackoff(reconnect);
  let renewed = false;

  while (!draining.aborted) {
    onConnecting();
    const { ready, error, reconnectAfterMs } = await runSession(options);
    if (draining.aborted) break;
    if (ready) {
      backoff.reset();
      renewed = false;
    }
    if (error instanceof MustreachClientError && isFatal(error)) {
      const renew = tokenRenewable && !renewed && error.errCode === tokenExpiredErrCode;
      if (!renew) return error;
      renewed = true;
    }
    onWaiting(error);
    const adviceMs = reconnectAfterMs === undefined ? undefined : Math.min(Math.max(reconnectAfterMs, 0), maxAdviceMs);
    const delayMs = adviceMs === undefined ? backoff.next() : adviceMs + Math.max(minDelayMs, adviceMs / 2) * random();
    await wait(delayMs, draining);
  }
  return undefined;
}
