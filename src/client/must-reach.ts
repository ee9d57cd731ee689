import type { Acker } from "./ack.ts";
import { type BackoffOptions, createBackoff } from "./backoff.ts";
import type { CursorStore } from "./cursor-store.ts";
import { createLane } from "./lane.ts";
import type { Listeners } from "./listeners.ts";
import type { BusinessNotification, NotificationGap } from "./notification.ts";
import { wait } from "./wait.ts";

/** The must-reach notifications and gaps of one device, handled one at a time in the order of their sequence. */
export interface MustReach {
  /**
   * Prepares for a session of a device whose store holds `saved`, and returns the cursor to begin after. What waits is
   * forgotten, since the session replays it; what is being handled goes on.
   */
  begin(deviceKey: string, saved: bigint | undefined): bigint | undefined;

  /** The session is open and continues after this sequence. */
  ready(resumeSequence: bigint): void;

  /** Takes a notification; a duplicate is dropped. */
  notification(notification: BusinessNotification): void;

  /** Takes a gap; a duplicate is dropped. */
  gap(gap: NotificationGap): void;

  /** Takes another event of the user's order for its listeners, who may be none; a duplicate is dropped. */
  event<T>(sequence: bigint, listeners: Listeners<[T], void | Promise<void>>, value: T): void;

  /** Forgets what waits and resolves when nothing is being handled. */
  drain(): Promise<void>;
}

/** What {@link MustReach} needs. */
export interface MustReachOptions {
  /** All must resolve before a notification counts as handled. Without any, notifications wait for the first. */
  readonly listeners: Listeners<[BusinessNotification], void | Promise<void>>;

  /** All must resolve before a gap counts as handled. */
  readonly gapListeners: Listeners<[NotificationGap], void | Promise<void>>;

  /** Where the cursor is kept. */
  readonly store: CursorStore;

  /** Told of each sequence handled. */
  readonly acker: Acker;

  /** Between attempts of a listener or a save that fails. */
  readonly retry: BackoffOptions;

  /** Aborted when the client closes: nothing is tried again or waited for. */
  readonly draining: AbortSignal;

  /** Aborted when close() has given up: a listener that ends later changes nothing. */
  readonly ended: AbortSignal;

  /** Told of each failed attempt. */
  readonly onError: (error: unknown) => void;
}

interface Item {
  readonly sequence: bigint;

  /** Whether it counts as handled. */
  readonly handle: () => Promise<boolean>;
}

/** Creates the must-reach side of a client. */
export function createMustReach(options: MustReachOptions): MustReach {
  const { listeners, gapListeners, store, acker, retry, draining, ended, onError } = options;
  let key = "";
  let cursor: bigint | undefined;
  let requested: bigint | undefined;
  let handling = 0n;
  let newest = 0n;

  const lane = createLane<Item>(async ({ sequence, handle }) => {
    handling = sequence;
    if (!(await handle()) || ended.aborted) return;
    if (!(await attempt(() => store.save(key, sequence))) || ended.aborted) return;
    cursor = sequence;
    acker.ack(sequence);
  });

  function take(sequence: bigint, handle: () => Promise<boolean>) {
    if (draining.aborted || sequence <= newest) return;
    newest = sequence;
    lane.push({ sequence, handle });
  }

  /** Tries until it succeeds (true), is no longer wanted, or the client closes (false). */
  async function attempt(call: () => void | Promise<void>, wanted = () => true): Promise<boolean> {
    const backoff = createBackoff(retry);
    while (wanted()) {
      try {
        await call();
        return true;
      } catch (error) {
        onError(error);
      }
      await wait(backoff.next(), draining);
      if (draining.aborted) return false;
    }
    return false;
  }

  /** Returns how many listeners have resolved, or undefined if one has not. */
  async function callAll<T>(all: Listeners<[T], void | Promise<void>>, value: T): Promise<number | undefined> {
    let resolved = 0;
    for (const listener of all) {
      const done = await attempt(
        () => listener.call(value),
        () => all.has(listener),
      );
      if (done) resolved++;
      else if (all.has(listener)) return undefined;
    }
    return resolved;
  }

  async function deliver(notification: BusinessNotification): Promise<boolean> {
    for (;;) {
      const resolved = await callAll(listeners, notification);
      if (resolved === undefined || resolved > 0) return resolved !== undefined;
      // Nobody has seen it: to acknowledge it now would lose it.
      await listeners.first(draining).catch(() => undefined);
      if (draining.aborted) return false;
    }
  }

  async function deliverGap(gap: NotificationGap): Promise<boolean> {
    if (gapListeners.size() === 0) {
      onError(new Error(`the notifications ${gap.from} to ${gap.to} will not be delivered (${gap.reason})`));
    }
    return (await callAll(gapListeners, gap)) !== undefined;
  }

  return {
    begin(deviceKey, saved) {
      key = deviceKey;
      if (saved !== undefined && saved >= (cursor ?? 0n)) cursor = saved;
      lane.clear();
      newest = cursor !== undefined && cursor > handling ? cursor : handling;
      requested = cursor;
      return cursor;
    },
    ready(resumeSequence) {
      const isKnown = requested === undefined || requested <= resumeSequence;
      if (cursor !== undefined && isKnown) return acker.ack(cursor);
      // From now on the device has a cursor: after a lost connection it must not begin at START_NEW or START_ALL again.
      // So it is when the service never assigned the cursor it was asked for: its store is new, and so are its sequences.
      cursor = resumeSequence;
      newest = resumeSequence;
      lane.push({ sequence: resumeSequence, handle: async () => true });
    },
    notification(notification) {
      take(notification.sequence, () => deliver(notification));
    },
    gap(gap) {
      take(gap.to, () => deliverGap(gap));
    },
    event(sequence, eventListeners, value) {
      take(sequence, async () => (await callAll(eventListeners, value)) !== undefined);
    },
    drain() {
      lane.clear();
      return lane.idle();
    },
  };
}
