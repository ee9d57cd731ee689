import type { Acker } from "./ack.ts";
import type { CursorStore } from "./cursor-store.ts";
import { createLane } from "./lane.ts";
import type { Listeners } from "./listeners.ts";
import type { BusinessNotification, NotificationGap, SettledNotification } from "./notification.ts";
import type { Cursor } from "./wire/cursor.ts";
import { type BackoffOptions, createBackoff, wait } from "./wire/wait.ts";

export interface MustReachOptions {
  /** All must resolve before a notification counts as handled. Without any, notifications wait for the first. */
  readonly listeners: Listeners<[BusinessNotification], void | Promise<void>>;

  /** All must resolve before a gap counts as handled. */
  readonly gapListeners: Listeners<[NotificationGap], void | Promise<void>>;

  /** All must resolve before a settlement counts as handled. */
  readonly settledListeners: Listeners<[SettledNotification], void | Promise<void>>;

  readonly store: CursorStore;

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
  /** Undefined for what has no place of its own. */
  readonly cursor?: Cursor;

  /** Whether it counts as handled. */
  readonly handle: () => Promise<boolean>;
}

/** The must-reach notifications and gaps of one device, handled one at a time in the order of their sequence. */
export function createMustReach(options: MustReachOptions) {
  const { listeners, gapListeners, settledListeners, store, acker, retry, draining, ended, onError } = options;
  let key = "";
  let cursor: Cursor | undefined;
  let requested: Cursor | undefined;
  let handling = 0n;
  let newest = 0n;

  /** Notifications that wait, or are being handled, and were settled meanwhile. */
  const settled = new Map<string, SettledNotification>();
  let isHandling = false;

  const lane = createLane<Item>(async ({ cursor: handled, handle }) => {
    if (handled === undefined) return void (await handle());
    const { sequence, epoch } = handled;
    handling = sequence;
    isHandling = true;
    const isDone = await handle();
    isHandling = false;
    settled.delete(toKey(handled));
    if (!isDone || ended.aborted) return;
    if (!(await attempt(() => store.save(key, sequence, epoch))) || ended.aborted) return;
    cursor = handled;
    acker.ack(handled);
  });

  function take(place: Cursor, handle: () => Promise<boolean>) {
    if (draining.aborted || place.sequence <= newest) return;
    newest = place.sequence;
    lane.push({ cursor: place, handle });
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
  async function callAll<T>(
    all: Listeners<[T], void | Promise<void>>,
    value: T,
    isOver = () => false,
  ): Promise<number | undefined> {
    let resolved = 0;
    for (const listener of all) {
      const isWanted = () => all.has(listener) && !isOver();
      const done = await attempt(() => listener.call(value), isWanted);
      if (done) resolved++;
      else if (isWanted()) return undefined;
    }
    return resolved;
  }

  async function deliver(notification: BusinessNotification, key: string): Promise<boolean> {
    const isSettled = () => settled.has(key);
    for (;;) {
      const resolved = isSettled() ? 0 : await callAll(listeners, notification, isSettled);
      const settlement = settled.get(key);
      // What an app has shown of it, also in part, is taken back.
      if (settlement !== undefined) return (await callAll(settledListeners, settlement)) !== undefined;
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
    /**
     * Prepares for a session of a device whose store holds `saved`, and returns the cursor to begin after. What waits
     * is forgotten, since the session replays it; what is being handled goes on.
     */
    begin(deviceKey: string, saved: Cursor | undefined): Cursor | undefined {
      key = deviceKey;
      // What is saved is at least what was handled here; of another epoch, another one has handled on.
      const isBehind = saved !== undefined && saved.epoch === cursor?.epoch && saved.sequence < cursor.sequence;
      if (saved !== undefined && !isBehind) cursor = saved;
      lane.clear();
      newest = cursor !== undefined && cursor.sequence > handling ? cursor.sequence : handling;
      requested = cursor;
      return cursor;
    },
    /** The session is open and continues after this. */
    ready(resume: Cursor) {
      const isChanged = requested !== undefined && requested.sequence > resume.sequence;
      if (cursor !== undefined && !isChanged) return acker.ack(cursor);
      // From now on the device has a cursor: after a lost connection it must not begin at START_NEW or START_ALL again.
      // So it is when the service continues before the cursor that it was asked for: its store was replaced, and
      // sequences are given again.
      cursor = resume;
      newest = resume.sequence;
      const gap: NotificationGap = { from: newest, to: newest, reason: "storeChanged" };
      lane.push({ cursor: resume, handle: async () => !isChanged || deliverGap(gap) });
    },
    /** Takes a notification of an epoch; a duplicate is dropped. */
    notification(notification: BusinessNotification, epoch: string) {
      const place = { sequence: notification.sequence, epoch };
      take(place, () => deliver(notification, toKey(place)));
    },
    /** Takes a gap of an epoch; a duplicate is dropped. */
    gap(gap: NotificationGap, epoch: string) {
      const place = { sequence: gap.to, epoch };
      if (gap.reason !== "storeChanged") return take(place, () => deliverGap(gap));
      // It is where the session begins. One who asked for a place has heard of it by `ready`.
      if (draining.aborted || requested !== undefined) return;
      const handle = async () => {
        if (!(await deliverGap(gap))) return false;
        acker.renew(0n);
        return true;
      };
      lane.push({ cursor: place, handle });
    },
    /** Takes another event of the user's order for its listeners, who may be none; a duplicate is dropped. */
    event<T>(place: Cursor, eventListeners: Listeners<[T], void | Promise<void>>, value: T) {
      take(place, async () => (await callAll(eventListeners, value)) !== undefined);
    },
    /** Takes that another device has acknowledged a notification, in its place or after it. */
    settled(place: Cursor, value: SettledNotification) {
      if (draining.aborted) return;
      const handle = async () => (await callAll(settledListeners, value)) !== undefined;
      if (place.sequence > newest) return take(place, handle);
      const isHandled = place.sequence < handling || (place.sequence === handling && !isHandling);
      if (isHandled) lane.push({ handle });
      else settled.set(toKey(place), value);
    },
    drain: lane.drain,
  };
}

/** A sequence is of one notification in each epoch. */
function toKey({ sequence, epoch }: Cursor): string {
  return `${epoch}/${sequence}`;
}
