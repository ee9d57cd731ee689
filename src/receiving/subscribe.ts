import { type Answers, type FrameSink, type FrameSource, pull } from "../answers.ts";
import type { Caller } from "../auth/caller.ts";
import { isRevoked, type RevokedAtMs } from "../auth/revocations.ts";
import type { Cursors } from "../cursors/cursors.ts";
import { toWireError } from "../errors.ts";
import { Start, type SubscribeResponse, SubscribeResponseSchema } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import type { Inbox } from "../inbox/inbox.ts";
import { epochAt } from "../inbox/lineage.ts";
import type { Place } from "../inbox/places.ts";
import type { Door } from "../observe/door.ts";
import type { Hub, OpenOptions } from "./hub.ts";
import type { Session } from "./session.ts";
import type { SessionEnd } from "./session-end.ts";

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
  readonly cursors: Pick<Cursors, "advance" | "position" | "flush">;
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
  readonly door: Door;
  readonly window: number;
}

/**
 * Opens a device's session: its events, as frames or as messages, until it ends.
 *
 * @param signal aborted when the device is gone; asked for by who takes messages.
 */
export function subscribe(
  deps: SubscribeDeps,
  request: SubscribeRequest,
  signal: () => AbortSignal,
): Answers<SubscribeResponse> {
  const pipe = (sink: FrameSink) => new Subscription(deps, request, sink);
  return {
    pipe,
    [Symbol.asyncIterator]: () =>
      pull(SubscribeResponseSchema, (sink) => {
        const subscription = pipe(sink);
        const leave = () => subscription.cancel(() => sink.end());
        // A generator whose reader is gone may never be resumed.
        signal().addEventListener("abort", leave, { once: true });
        if (signal().aborted) leave();
        return subscription;
      }),
  };
}

/** A device's stream: its session, once that is open. */
export class Subscription implements FrameSource, OpenOptions {
  readonly #deps: SubscribeDeps;
  readonly #request: SubscribeRequest;
  readonly #sink: FrameSink;
  #session: Session | undefined = undefined;
  /** What the device wants of a session that is not open yet. */
  #window: number;
  #isPaused = false;
  #end: SessionEnd | undefined = undefined;
  /** What follows when the device has gone; undefined while it is there. */
  #afterCancel: (() => void) | undefined = undefined;

  constructor(deps: SubscribeDeps, request: SubscribeRequest, sink: FrameSink) {
    this.#deps = deps;
    this.#request = request;
    this.#sink = sink;
    this.#window = request.window;
    void this.#open();
  }

  get userId(): string {
    return this.#request.caller.userId;
  }

  get deviceId(): string {
    return this.#request.deviceId;
  }

  get peer(): string {
    return this.#request.peer;
  }

  get door(): Door {
    return this.#request.door;
  }

  get platformId(): number {
    return this.#request.caller.platformId;
  }

  get expiresAtMs(): number {
    return this.#request.caller.expiresAtMs;
  }

  get window(): number {
    return this.#window;
  }

  isRevoked(): boolean {
    return isRevoked(this.#request.caller, this.#deps.revokedAtMs);
  }

  findPlace(): Promise<Place> {
    const { deviceId, start, afterSequence, epoch } = this.#request;
    return this.#deps.resume({ userId: this.userId, deviceId, start, afterSequence, epoch });
  }

  onEnd(): void {
    const { hub, cursors } = this.#deps;
    if (this.#session !== undefined) hub.close(this.userId, this.#session);
    void cursors.flush(this.userId, this.deviceId);
  }

  resume(): void {
    this.#session?.resume();
  }

  /** @param done called when nothing is left of the session, also of one that is being opened. */
  cancel(done = () => {}): void {
    this.#afterCancel = done;
    if (this.#session === undefined) return;
    this.#session.cancel();
    done();
  }

  take(): void {}

  finish(): void {}

  /** As {@link Session.end}. */
  end(reason: SessionEnd): void {
    this.#end ??= reason;
    this.#session?.end(reason);
  }

  setWindow(size: number): void {
    this.#window = size;
    this.#session?.setWindow(size);
  }

  /** As {@link Session.setPaused}. */
  setPaused(isPaused: boolean): void {
    this.#isPaused = isPaused;
    this.#session?.setPaused(isPaused);
  }

  async #open(): Promise<void> {
    const { hub } = this.#deps;
    try {
      this.#session = await hub.open(this);
    } catch (error) {
      if (this.#afterCancel === undefined) this.#sink.end(toWireError(error));
      else this.#afterCancel();
      return;
    }
    this.#session.setWindow(this.#window);
    this.#session.setPaused(this.#isPaused);
    if (this.#end !== undefined) this.#session.end(this.#end);
    this.#session.pipe(this.#sink);
    // The token may have been revoked, and the device gone, while the session was being opened.
    hub.endRevoked(this.userId);
    if (this.#afterCancel !== undefined) this.cancel(this.#afterCancel);
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
      cursors.advance(userId, deviceId, afterSequence, place.epoch, "if new");
      return place;
    }
    const place = await inbox.placeOf(userId, { epoch, sequence: afterSequence });
    // The device acknowledges it with the gap.
    if (!place.isStoreChanged) cursors.advance(userId, deviceId, place.sequence, place.epoch, "if new");
    return place;
  }
  switch (start) {
    case Start.ALL:
      return toPlace(0);
    case Start.NEW: {
      const place = toPlace(await inbox.newestSequence(userId));
      cursors.advance(userId, deviceId, place.sequence, place.epoch, "here");
      // Before it has anything to acknowledge: a cursor that says not where it began would say that it got what is before.
      await cursors.flush(userId, deviceId);
      return place;
    }
    default: {
      const cursor = await cursors.position(userId, deviceId);
      return cursor === undefined ? toPlace(0) : inbox.placeOf(userId, cursor);
    }
  }
}
