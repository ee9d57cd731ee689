import type { SubscribeResponse } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import { MustreachClientError, networkErrCode, toClientError } from "./error.ts";
import { untilAborted } from "./wait.ts";

/** One event of a session. */
export type SessionEvent = SubscribeResponse["event"];

/** What {@link runSession} needs. */
export interface SessionOptions {
  /** Starts the stream. */
  readonly open: (signal: AbortSignal) => Promise<AsyncIterable<SubscribeResponse>>;

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
      const errDlt = `nothing was heard for ${idleTimeoutMs} ms`;
      silent.abort(new MustreachClientError({ errCode: networkErrCode, errMsg: "NetworkError", errDlt }));
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
