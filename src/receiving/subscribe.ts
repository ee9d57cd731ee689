import type { Caller } from "../auth/caller.ts";
import { isRevoked, type RevokedAtMs } from "../auth/revocations.ts";
import { failure } from "../errors.ts";
import { Start, type SubscribeResponse } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import type { Cursors } from "../inbox/cursors.ts";
import type { Inbox } from "../inbox/inbox.ts";
import { epochAt } from "../inbox/lineage.ts";
import type { Place } from "../inbox/places.ts";
import type { Hub } from "./hub.ts";

/** Where a device asks to continue. */
export interface ResumeRequest {
  readonly userId: string;
  readonly deviceId: string;
  readonly start: Start;
  /** The device's own record of what it has handled. */
  readonly afterSequence: number | undefined;
  /** The epoch of that record; empty when the device does not say. */
  readonly epoch: string;
}

export interface ResumeDeps {
  readonly inbox: Pick<Inbox, "isAssigned" | "placeOf" | "newestSequence" | "lineage">;
  readonly cursors: Pick<Cursors, "advance" | "position">;
}

export interface SubscribeDeps {
  readonly hub: Pick<Hub, "open" | "close" | "endRevoked">;
  /** Finds the place after which a session continues. */
  readonly resume: (request: ResumeRequest) => Promise<Place>;
  readonly cursors: Pick<Cursors, "flush">;
  readonly revokedAtMs: RevokedAtMs;
}

/** What a device asks for. */
export interface SubscribeRequest extends Omit<ResumeRequest, "userId"> {
  readonly caller: Caller;
  /** The address of the connection. */
  readonly peer: string;
  readonly window: number;
  /** Aborted when the device is gone. */
  readonly signal: AbortSignal;
}

/** The longest delay of a timer, in milliseconds. */
const maxTimerMs = 2 ** 31 - 1;

/** Opens a device's session and yields its events until it ends. */
export async function* subscribe(
  deps: SubscribeDeps,
  request: SubscribeRequest,
): AsyncGenerator<SubscribeResponse, void, undefined> {
  const { hub, cursors, revokedAtMs } = deps;
  const { caller, deviceId, peer, start, afterSequence, epoch, window, signal } = request;
  const { userId } = caller;
  const session = await hub.open({
    userId,
    deviceId,
    peer,
    isRevoked: () => isRevoked(caller, revokedAtMs),
    window,
    resume: () => deps.resume({ userId, deviceId, start, afterSequence, epoch }),
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
}

/** Finds the place after which a session continues. */
export async function resume(
  { inbox, cursors }: ResumeDeps,
  { userId, deviceId, start, afterSequence, epoch }: ResumeRequest,
): Promise<Place> {
  /** The place of a sequence of the store as it is. */
  const toPlace = (sequence: number): Place => ({
    epoch: epochAt(inbox.lineage(userId), sequence),
    sequence,
    isStoreChanged: false,
  });

  if (afterSequence !== undefined) {
    if (epoch === "") {
      // A sequence that was never assigned is of a store that is gone: what is in this one is all new to the device.
      if (!(await inbox.isAssigned(userId, afterSequence))) return toPlace(0);
      const place = toPlace(afterSequence);
      cursors.advance(userId, deviceId, afterSequence, place.epoch);
      return place;
    }
    const place = await inbox.placeOf(userId, { epoch, sequence: afterSequence });
    // The device acknowledges it with the gap.
    if (!place.isStoreChanged) cursors.advance(userId, deviceId, place.sequence, place.epoch);
    return place;
  }
  switch (start) {
    case Start.ALL:
      return toPlace(0);
    case Start.NEW: {
      const place = toPlace(await inbox.newestSequence(userId));
      cursors.advance(userId, deviceId, place.sequence, place.epoch);
      return place;
    }
    default: {
      const cursor = await cursors.position(userId, deviceId);
      return cursor === undefined ? toPlace(0) : inbox.placeOf(userId, cursor);
    }
  }
}
