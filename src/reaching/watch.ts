import type { BaseLogger } from "pino";
import type { Consumption } from "../broker/consumers/consume.ts";
import { type Clock, systemClock } from "../clock.ts";
import type { Cursors } from "../cursors/cursors.ts";
import { hasGot } from "../cursors/device-cursors.ts";
import { createDueQueue } from "./due-queue.ts";
import type { ReachEntry } from "./entry.ts";
import { createReminders } from "./reminders.ts";

export interface ReachOptions {
  /** Takes part in the durable consumers that deliver entries, at first and for a later look. */
  readonly consume: (onEntry: (entry: ReachEntry) => void) => Promise<Consumption>;
  readonly cursors: Pick<Cursors, "ofUsers" | "replacements">;
  /** Has the live sessions of a user, on every instance, look into the inbox. */
  readonly wake: (userToken: string) => void;
  /** Hands an entry to the webhook; undefined without one. `gone` when the inbox no longer has it. */
  readonly escalate?: ((entry: ReachEntry) => Promise<"queued" | "gone">) | undefined;
  /** Looks after the reports of entries that have a `reportId`, from now on. Default: nobody does. */
  readonly report?: (entries: readonly ReachEntry[]) => Promise<void>;
  /** Keeps entries until a moment, in epoch milliseconds, when `consume` delivers them again, without `reportId`. */
  readonly later: (entries: readonly ReachEntry[], atMs: number) => Promise<void>;
  /**
   * With a webhook: an entry whose next look is further away than this, in milliseconds, goes to `later`, since what
   * waits in `reach` takes a place there. Default 10,000.
   */
  readonly maxNakMs?: number;
  /** The age at which an entry is looked at first, in milliseconds. Default 5,000. */
  readonly wakeDelayMs?: number;
  /** The age at which an entry without one of its own is escalated, in milliseconds. Default 30,000. */
  readonly escalationDelayMs?: number;
  /** How long after a start devices may come back before what is overdue is escalated, in milliseconds. Default 10,000. */
  readonly comeBackMs?: number;
  /** Without a webhook: looks at an entry, at ages that triple, before it is let go. Default 5: up to 7 minutes. */
  readonly maxLooks?: number;
  /** Without a webhook: users who are remembered for another look, at a time. Default 50,000. */
  readonly maxReminders?: number;
  /** How long entries that are due are gathered, to share a read of the cursors, in milliseconds. Default 100. */
  readonly gatherMs?: number;
  /** Pause before entries are looked at again after the broker failed, in milliseconds. Default 2,000. */
  readonly retryMs?: number;
  /** Default: the system's. */
  readonly clock?: Clock;
  readonly log: BaseLogger;
}

/** What has come of entries since the start, on this instance. */
export interface ReachCounts {
  /** Acknowledged by a device. */
  reached: number;
  /** Not yet: sessions were woken. One entry can be counted several times. */
  woken: number;
  /** Handed to the webhook. */
  escalated: number;
  /** Expired before a device acknowledged. */
  expired: number;
  /** Withdrawn before it could be handed to the webhook. */
  withdrawn: number;
  /** Let go without a webhook: a device gets it when it connects. */
  letGo: number;
}

/** The watch over stored notifications, until they have reached. */
export interface Reach {
  readonly counts: Readonly<ReachCounts>;
  /** Looks at what is due by now. */
  catchUp(): Promise<void>;
  /** Finishes what is under way, and gives the rest back. */
  stop(): Promise<void>;
}

/** How many users' cursors are remembered, and how long, in milliseconds: a user's next ones are often settled by it. */
const maxKnown = 100_000;
const knownForMs = 60_000;

/** Entries are looked at this many at a time: with up to four devices a user, their cursors are one read. */
const maxLook = 256;

/**
 * Starts the watch. Each entry is looked at when it is older than the wake delay, with the cursors of all users of a
 * batch in one read: at full rate, with devices that acknowledge, a notification costs one delivery of its headers, a
 * share of that read, and one ack. What no device has acknowledged by then wakes the user's sessions, and is looked at
 * again: with a webhook the broker brings it back at its time, without one a reminder here stands for it.
 */
export async function startReach(options: ReachOptions): Promise<Reach> {
  const { consume, cursors, wake, escalate, report, later, maxNakMs = 10_000, maxLooks = 5 } = options;
  const { wakeDelayMs = 5_000, escalationDelayMs = 30_000, comeBackMs = 10_000 } = options;
  const { gatherMs = 100, retryMs = 2_000, maxReminders, clock = systemClock, log } = options;
  const counts: ReachCounts = { reached: 0, woken: 0, escalated: 0, expired: 0, withdrawn: 0, letGo: 0 };
  /** The highest sequence that a device of each user has acknowledged, as far as it was read lately. */
  const known = new Map<string, number>();
  let knownSince = 0;
  let knownReplacements = 0;
  /** Entries that wait for their look. */
  const waiting = createDueQueue<ReachEntry>();
  const add = (entry: ReachEntry, dueMs: number): void => {
    waiting.add(entry, dueMs);
    schedule(dueMs);
  };
  const reminders = createReminders(add, maxReminders, clock);
  let looking: Promise<void> | undefined;
  let timer: NodeJS.Timeout | undefined;
  let timerAtMs = Number.POSITIVE_INFINITY;
  let isStopped = false;

  const startedMs = clock.now();

  const escalateAfterMs = (entry: ReachEntry) => entry.escalateAfterMs ?? escalationDelayMs;

  /** When an entry that was just delivered is to be looked at. */
  const toDueMs = (entry: ReachEntry, now: number): number => {
    if (escalate === undefined) return Math.max(now, entry.storedAtMs + wakeDelayMs);
    const escalateMs = entry.storedAtMs + escalateAfterMs(entry);
    // What has become overdue while nobody served may reach after all: devices are just coming back.
    if (escalateMs <= now) return Math.max(now, startedMs + comeBackMs);
    return Math.max(now, Math.min(escalateMs, entry.storedAtMs + wakeDelayMs));
  };

  /** Without a webhook: the age at which an entry of this age is looked at next; undefined when this was the last look. */
  const nextLookMs = (ageMs: number): number | undefined => {
    for (let look = 0, atMs = wakeDelayMs; look < maxLooks; look++, atMs *= 3) {
      // By age and not by a count, which a restart of ours or of the broker changes. A look that came a little early is
      // not repeated.
      if (atMs > ageMs + wakeDelayMs / 4) return atMs;
    }
    return undefined;
  };

  const handOver = async (entry: ReachEntry, escalateEntry: NonNullable<typeof escalate>): Promise<void> => {
    try {
      if ((await escalateEntry(entry)) === "queued") counts.escalated++;
      else counts.withdrawn++;
      entry.ack();
    } catch (err) {
      log.warn({ err }, "cannot escalate a notification now; it is tried again");
      entry.nak(retryMs);
    }
  };

  /** Has entries kept for a look at a moment, and lets go of them. */
  const keep = async (entries: readonly ReachEntry[], atMs: number): Promise<void> => {
    try {
      await later(entries, atMs);
      for (const entry of entries) entry.ack();
    } catch (err) {
      log.warn({ err }, "cannot keep notifications for a later look now; it is tried again");
      for (const entry of entries) entry.nak(retryMs);
    }
  };

  const isKnownReached = ({ userId, sequence, devices }: ReachEntry) =>
    devices === undefined && (known.get(userId) ?? 0) >= sequence;

  /**
   * Reads the cursors of those users whose known ones do not settle it. Resolves to whether an entry has reached a device
   * that it is for.
   */
  const learn = async (entries: readonly ReachEntry[]): Promise<(entry: ReachEntry) => boolean> => {
    // Of a store that was replaced, what was known may lie ahead of what is there now.
    const replacements = await cursors.replacements([...new Set(entries.map(({ userId }) => userId))]);
    if (known.size > maxKnown || knownSince + knownForMs < performance.now() || replacements !== knownReplacements) {
      known.clear();
      knownSince = performance.now();
      knownReplacements = replacements;
    }
    const asked = new Set(entries.filter((entry) => !isKnownReached(entry)).map(({ userId }) => userId));
    if (asked.size === 0) return isKnownReached;
    const read = await cursors.ofUsers([...asked]);
    for (const [userId, devices] of read) known.set(userId, Math.max(...devices.map(({ sequence }) => sequence)));
    return (entry) =>
      isKnownReached(entry) ||
      read.get(entry.userId)?.some((cursor) => hasGot(cursor, entry.sequence, entry.devices)) === true;
  };

  /** Has reports looked after, and returns what is to be looked at here: without what could not be handed on. */
  const handOn = async (entries: readonly ReachEntry[]): Promise<readonly ReachEntry[]> => {
    const reported = new Set(entries.filter(({ reportId }) => reportId !== undefined));
    if (report === undefined || reported.size === 0) return entries;
    try {
      await report([...reported]);
      return entries;
    } catch (err) {
      log.warn({ err }, "cannot look after reports now; it is tried again");
      for (const entry of reported) entry.nak(retryMs);
      return entries.filter((entry) => !reported.has(entry));
    }
  };

  const look = async (all: readonly ReachEntry[]): Promise<void> => {
    const isReached = await learn(all);
    const entries = await handOn(all);
    const now = clock.now();
    const woken = new Set<string>();
    const underWay: Promise<void>[] = [];
    const far: { readonly entry: ReachEntry; readonly second: number }[] = [];
    for (const entry of entries) {
      const { userToken, storedAtMs, expiresAtMs = Number.POSITIVE_INFINITY, notifications } = entry;
      const ageMs = now - storedAtMs;
      if (isReached(entry)) {
        counts.reached += notifications;
        entry.ack();
      } else if (expiresAtMs <= now) {
        counts.expired += notifications;
        entry.ack();
      } else if (escalate === undefined) {
        counts.woken += notifications;
        woken.add(userToken);
        const nextMs = nextLookMs(ageMs);
        if (nextMs === undefined || !reminders.keep(entry, Math.min(storedAtMs + nextMs, expiresAtMs))) {
          counts.letGo += notifications;
          entry.ack();
        }
      } else if (ageMs >= escalateAfterMs(entry)) {
        underWay.push(handOver(entry, escalate));
      } else {
        counts.woken++;
        woken.add(userToken);
        const atMs = Math.min(storedAtMs + escalateAfterMs(entry), expiresAtMs);
        if (atMs - now <= maxNakMs && entry.reportId === undefined) entry.nak(atMs - now);
        // By the second in which all of them are due: many share a job.
        else far.push({ entry, second: Math.ceil(atMs / 1_000) });
      }
    }
    for (const userToken of woken) wake(userToken);
    for (const [second, group] of Map.groupBy(far, (one) => one.second)) {
      underWay.push(
        keep(
          group.map(({ entry }) => entry),
          second * 1_000,
        ),
      );
    }
    await Promise.all(underWay);
  };

  const takeDue = () => waiting.take(clock.now(), maxLook);

  const lookAtDue = async (): Promise<void> => {
    for (let due = takeDue(); due.length > 0; due = isStopped ? [] : takeDue()) {
      await look(due).catch((err: unknown) => {
        log.warn({ err }, "cannot read how far notifications have come; trying again");
        for (const entry of due) entry.nak(retryMs);
      });
    }
  };

  const schedule = (dueMs: number) => {
    const atMs = Math.max(dueMs, clock.now() + gatherMs);
    if (isStopped || looking !== undefined || atMs >= timerAtMs) return;
    clearTimeout(timer);
    timerAtMs = atMs;
    timer = setTimeout(begin, atMs - clock.now());
  };

  const begin = () => {
    timerAtMs = Number.POSITIVE_INFINITY;
    looking = lookAtDue().finally(() => {
      looking = undefined;
      const nextMs = waiting.nextMs();
      if (nextMs !== undefined) schedule(nextMs);
    });
  };

  const consumers = await consume((entry) => {
    if (entry.kind !== "notification") return entry.ack();
    add(entry, toDueMs(entry, clock.now()));
  });

  return {
    counts,
    async catchUp() {
      await looking;
      clearTimeout(timer);
      if (!isStopped && looking === undefined) begin();
      await looking;
    },
    async stop() {
      isStopped = true;
      clearTimeout(timer);
      await consumers.pause();
      await looking;
      await consumers.stop();
    },
  };
}
