import type { Caller } from "../auth/caller.ts";
import { isRevoked, type RevokedAtMs } from "../auth/revocations.ts";
import { until } from "../broker/until.ts";
import { failure } from "../errors.ts";
import type { Start, SubscribeResponse } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import type { Cursors } from "../inbox/cursors.ts";
import type { Hub } from "./hub.ts";
import type { Resume } from "./resume.ts";

/** What a device asks for. */
export interface SubscribeOptions {
  readonly caller: Caller;
  readonly deviceId: string;
  /** The address of the connection. */
  readonly peer: string;
  readonly start: Start;
  readonly afterSequence: number | undefined;
  /** The epoch of that sequence; empty when the device does not say. */
  readonly epoch: string;
  readonly window: number;
  /** Aborted when the device is gone. */
  readonly signal: AbortSignal;
}

/** Opens a device's session and yields its events until it ends. */
export type Subscribe = (options: SubscribeOptions) => AsyncGenerator<SubscribeResponse, void, undefined>;

/** How long a device waits for its place, in milliseconds: longer than a broker needs to restart. */
const resumeTimeoutMs = 5_000;

/** The longest delay of a timer, in milliseconds. */
const maxTimerMs = 2 ** 31 - 1;

/** Creates the {@link Subscribe} of every door. */
export function createSubscribe(hub: Hub, resume: Resume, cursors: Cursors, revokedAtMs: RevokedAtMs): Subscribe {
  return async function* ({ caller, deviceId, peer, start, afterSequence, epoch, window, signal }) {
    const { userId } = caller;
    const session = await hub.open({
      userId,
      deviceId,
      peer,
      isRevoked: () => isRevoked(caller, revokedAtMs),
      window,
      resume: () =>
        until(Date.now() + resumeTimeoutMs, () => resume({ userId, deviceId, start, afterSequence, epoch })),
    });
    let closed = false;
    // Called on abort as well as in the finally: a generator whose reader is gone may never be resumed.
    const close = () => {
      if (closed) return;
      closed = true;
      clearTimeout(expiry);
      signal.removeEventListener("abort", close);
      session.end({});
      hub.close(userId, session);
      void cursors.flush(userId, deviceId);
    };
    let expiry: NodeJS.Timeout | undefined;
    const watchExpiry = () => {
      const leftMs = caller.expiresAtMs - Date.now();
      if (leftMs <= 0) session.end({ error: failure("TokenExpiredError", "the token expired") });
      else expiry = setTimeout(watchExpiry, Math.min(leftMs, maxTimerMs));
    };
    watchExpiry();
    signal.addEventListener("abort", close);
    // The token may have been revoked, and the device gone, while the session was being opened.
    hub.endRevoked(userId);
    try {
      if (!signal.aborted) yield* session.events();
    } finally {
      close();
    }
  };
}
