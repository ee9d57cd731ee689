import { setImmediate as endOfTurn } from "node:timers/promises";
import { isFor } from "../../addressing.ts";
import { type DeviceCursor, hasGot } from "../../cursors/device-cursors.ts";
import { Gap_Reason } from "../../gen/mustreach/delivery/v1/delivery_pb.ts";
import type { InboxEntry, ItemMarks } from "../../inbox/items.ts";
import { epochAt, type Position } from "../../inbox/lineage.ts";
import type { Place } from "../../inbox/places.ts";
import type { InboxPage, ReadWay } from "../../inbox/read-page.ts";
import { Timer, type TimerOwner } from "../../timer-wheel.ts";
import type { FeedGap, FeedItem, FeedOwner, FeedSource } from "./feed-item.ts";

/**
 * A read asks for at most this many notifications: few at first, since a device may have taken none of them when it is
 * gone again, and four times as many each time that there are more, so that a page stays small whatever the window.
 */
const pageEntries = { first: 16, last: 512 } as const;

/** Pauses before a hinted notification that a replica does not have yet is looked for again, in milliseconds. */
const lagRetryMs = [5, 20, 80, 320, 1_000, 2_000, 4_000] as const;

/** A feed that was read to its end this recently, in milliseconds, has lost nothing to the retention. */
const maxUncheckedMs = 60_000;

/** The index is asked again so much later, in milliseconds, when it had too many. */
const longForMs = 600_000;

/** What was read for a feed. */
interface Reading {
  readonly startedMs: number;
  readonly found: InboxPage;
  readonly lost: FeedGap | undefined;
  /** The cursors of the user's devices, read after the page, if that has something that one of them may have settled. */
  readonly cursors: readonly DeviceCursor[];
}

const nothing: readonly InboxEntry[] = [];
const nobody: readonly DeviceCursor[] = [];

/**
 * A device's way through its user's inbox, a page at a time. While a device that keeps up is sent one of the largest
 * pages, the next is read.
 */
export class Feed implements TimerOwner {
  readonly #source: FeedSource;
  readonly #owner: FeedOwner;
  /** What was read; what comes before `#at` was taken. */
  #page: readonly InboxEntry[] = nothing;
  #at = 0;
  /** Gaps before the page. */
  #gaps: FeedGap[] | undefined = undefined;
  #cursors: readonly DeviceCursor[] = nobody;
  /** What was settled since those were read; undefined when nothing was. */
  #settled: Set<number> | undefined = undefined;
  #reads = 0;
  #pendingAfterPage = 0;
  /** The inbox is in hand up to here: everything up to it was taken or is in the page. */
  #through: number;
  #epoch: string;
  #hinted = 0;
  #isStale = true;
  /** When the feed was last at the end of the inbox, in epoch milliseconds; 0 before. */
  #knownUntilMs = 0;
  #lagRetries = 0;
  /** When the index had too many, in epoch milliseconds. */
  #longAtMs = Number.NEGATIVE_INFINITY;
  /** The page after the one in memory. */
  #ahead: Promise<Reading> | undefined = undefined;
  #maxEntries: number = pageEntries.first;
  #lagTimer: Timer | undefined = undefined;

  /** @param resume the feed begins after this; 0 is the beginning, from which nothing can be missing. */
  constructor({ sequence, epoch, isStoreChanged }: Place, source: FeedSource, owner: FeedOwner) {
    this.#source = source;
    this.#owner = owner;
    this.#through = sequence;
    this.#epoch = epoch;
    // Nobody can acknowledge 0; that a session begins there says enough.
    if (isStoreChanged && sequence > 0) {
      this.#gaps = [{ kind: "gap", from: sequence, sequence, epoch, reason: Gap_Reason.STORE_CHANGED }];
    }
  }

  /** Takes the next item of the page in memory; undefined when the page is used up. */
  take(): FeedItem | undefined {
    if (this.#gaps !== undefined) {
      const gap = this.#gaps.shift();
      if (this.#gaps.length === 0) this.#gaps = undefined;
      return gap;
    }
    const entry = this.#shift();
    const now = entry?.expiresAtMs === undefined ? 0 : this.#source.clock.now();
    if (entry === undefined || !isExpired(entry, now))
      return entry?.marks?.isUserScoped ? this.#unlessSettled(entry, entry.marks) : entry;
    let last = entry;
    for (let next = this.#page[this.#at]; next !== undefined && isExpired(next, now); next = this.#page[this.#at]) {
      last = next;
      this.#shift();
    }
    const { sequence, epoch } = last;
    return { kind: "gap", from: entry.sequence, sequence, epoch, reason: Gap_Reason.EXPIRED };
  }

  /** Whether there is nothing to take without another read. */
  isUsedUp(): boolean {
    return this.#page === nothing && this.#gaps === undefined;
  }

  /** Whether the inbox may hold more than the page in memory. */
  mayHaveMore(): boolean {
    return this.#isStale || this.#ahead !== undefined;
  }

  /**
   * Reads the next page; the last one is to be used up.
   *
   * @throws NetworkError (90004) when the broker does not answer; the feed is where it was.
   */
  async load(limit: number): Promise<void> {
    const reading = this.#ahead ?? this.#read(limit);
    this.#ahead = undefined;
    const { startedMs, found, lost, cursors } = await reading;
    if (found.isStoreChanged) {
      this.#owner.onStoreChanged();
      return;
    }
    if (found.isLong) this.#longAtMs = startedMs;
    this.#accept(found, lost);
    this.#cursors = cursors;
    if (this.#pendingAfterPage > 0) {
      this.#isStale = true;
      if (this.#maxEntries === pageEntries.last) await this.#readAhead(limit);
      this.#maxEntries = Math.min(this.#maxEntries * 4, pageEntries.last);
      return;
    }
    // Of the days since then, it may have few enough.
    if (this.#knownUntilMs === 0) this.#longAtMs = Number.NEGATIVE_INFINITY;
    this.#knownUntilMs = startedMs;
    // A replica that lags behind the one that sent the hint. If it stays behind, the next heartbeat looks again.
    const retryMs = this.#through < this.#hinted ? lagRetryMs[this.#lagRetries++] : undefined;
    if (retryMs === undefined) return;
    this.#lagTimer ??= new Timer(this);
    this.#source.timers.set(this.#lagTimer, retryMs);
  }

  /** A notification with this sequence was stored. */
  hint(sequence: number): void {
    if (sequence <= this.#hinted) return;
    this.#hinted = sequence;
    this.#lagRetries = 0;
    if (sequence > this.#through) this.reconcile();
  }

  /** Another device has acknowledged notifications for the user: those that are about to be sent are not. */
  settle(sequences: readonly number[]): void {
    if (this.#reads === 0 && this.#page === nothing) return;
    this.#settled = new Set([...(this.#settled ?? []), ...sequences]);
  }

  /** A hint may have been lost: look. */
  reconcile(): void {
    this.#isStale = true;
    this.#owner.onMore();
  }

  onTime(): void {
    this.#lagTimer = undefined;
    this.reconcile();
  }

  /** Up to where the inbox is in hand. */
  position(): Position {
    return { sequence: this.#through, epoch: this.#epoch };
  }

  /** How many notifications follow what was taken, as of the last read. */
  pending(): number {
    return this.#page.length - this.#at + this.#pendingAfterPage;
  }

  /** The highest sequence known to be there. */
  latestSequence(): number {
    return Math.max(this.#through, this.#hinted);
  }

  /** Looks for nothing any more. */
  close(): void {
    if (this.#lagTimer !== undefined) this.#source.timers.clear(this.#lagTimer);
  }

  async #read(limit: number): Promise<Reading> {
    const startedMs = this.#source.clock.now();
    this.#reads++;
    // Before the read: a hint that comes while it is under way must lead to another one.
    this.#isStale = false;
    try {
      const found = await this.#source.read({
        after: this.#through,
        epoch: this.#epoch,
        limit: Math.min(limit, this.#maxEntries),
        wanted: this.#hinted > this.#through ? this.#hinted : 0,
        // A clock that was set back says nothing of what was stored meanwhile: everything is asked for.
        knownUntilMs: this.#knownUntilMs > startedMs ? undefined : this.#knownUntilMs || undefined,
        way: this.#wayAt(startedMs),
      });
      const isLongAgo = startedMs - this.#knownUntilMs > maxUncheckedMs;
      const isChecked = this.#through > 0 && isLongAgo && !found.isStoreChanged;
      const lost = isChecked ? await this.#findLost(found) : undefined;
      const isSettling = found.entries.some((entry) => entry.marks?.isUserScoped && this.#isOwn(entry));
      return { startedMs, found, lost, cursors: isSettling ? await this.#source.readCursors() : nobody };
    } catch (error) {
      this.#isStale = true;
      throw error;
    } finally {
      this.#reads--;
    }
  }

  #wayAt(nowMs: number): ReadWay {
    // Also a clock that was set back far has it asked again.
    if (Math.abs(nowMs - this.#longAtMs) >= longForMs) return "index";
    return this.#pendingAfterPage > 0 ? "along" : "next";
  }

  async #readAhead(limit: number): Promise<void> {
    this.#ahead = this.#read(limit);
    this.#ahead.catch(() => {}); // Who loads it hears of it.
    // The broker is asked at the end of this turn: it reads while the page is sent.
    await endOfTurn();
  }

  #shift(): InboxEntry | undefined {
    const entry = this.#page[this.#at++];
    if (this.#at >= this.#page.length) {
      this.#page = nothing;
      this.#at = 0;
    }
    return entry;
  }

  #accept({ entries, throughSequence, lineage, pending }: InboxPage, lost: FeedGap | undefined): void {
    if (lost !== undefined) this.#gaps = [...(this.#gaps ?? []), lost];
    const own = entries.every((entry) => this.#isOwn(entry)) ? entries : entries.filter((entry) => this.#isOwn(entry));
    this.#page = own.length === 0 ? nothing : own;
    this.#at = 0;
    this.#through = Math.max(this.#through, throughSequence, lost?.sequence ?? 0);
    this.#epoch = epochAt(lineage, this.#through);
    this.#pendingAfterPage = pending;
  }

  #unlessSettled(entry: InboxEntry, marks: ItemMarks): FeedItem {
    const { sequence, epoch, devices } = entry;
    const { deviceId } = this.#owner;
    const isSettled =
      this.#settled?.has(sequence) ||
      this.#cursors.some((cursor) => cursor.deviceId !== deviceId && hasGot(cursor, sequence, devices));
    return isSettled ? { kind: "settled", sequence, epoch, marks } : entry;
  }

  #isOwn({ devices }: InboxEntry): boolean {
    return isFor(devices, this.#owner.deviceId);
  }

  /** What the retention has removed between what is in hand and a page that was read before we look. */
  async #findLost({ entries, lineage }: InboxPage): Promise<FeedGap | undefined> {
    const first = entries[0]?.sequence ?? Number.POSITIVE_INFINITY;
    const last = Math.min(await this.#source.oldestSequence(), first) - 1;
    if (last <= this.#through) return undefined;
    return {
      kind: "gap",
      from: this.#through + 1,
      sequence: last,
      epoch: epochAt(lineage, last),
      reason: Gap_Reason.RETENTION,
    };
  }
}

function isExpired(entry: InboxEntry, nowMs: number): boolean {
  return entry.expiresAtMs !== undefined && entry.expiresAtMs <= nowMs;
}
