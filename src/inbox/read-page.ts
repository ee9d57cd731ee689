import type { DirectGet, DirectMessage } from "../broker/reads/direct-get.ts";
import type { Clock } from "../clock.ts";
import type { Epochs } from "./epochs.ts";
import { type InboxEntry, isTombstone, toEntry } from "./items.ts";
import { type InboxPlace, inboxDayFilter, inboxFilter, markerFilter, parseInboxPartition, toDay } from "./layout.ts";
import { epochAt, type Lineage } from "./lineage.ts";

/** What {@link readPage} found. */
export interface InboxPage {
  /** In the order of their sequence. */
  readonly entries: readonly InboxEntry[];
  /** The inbox is known up to here: what follows `after` and is not above this is in `entries`. */
  readonly throughSequence: number;
  /** How many more there are now. */
  readonly pending: number;
  /** Of the partition, by which the entries are labelled. */
  readonly lineage: Lineage;
  /** There are more than the index answers. */
  readonly isLong: boolean;
  /** The store does not hold any more what the read was to follow: it was replaced. Then nothing was found. */
  readonly isStoreChanged: boolean;
}

/** Options of {@link readPage}. */
export interface ReadOptions {
  /** Read what follows this sequence. */
  readonly after: number;
  /** The epoch of that sequence. Default: before the first. */
  readonly epoch?: string;
  /** At most this many entries. */
  readonly limit: number;
  /** Everything stored before this moment (epoch milliseconds) is known already: older day buckets are not asked. */
  readonly knownUntilMs?: number | undefined;
  /** Whether a page was {@link InboxPage.isLong} a moment ago: then the index is not asked. Default false. */
  readonly isLong?: boolean | undefined;
}

/** What {@link readPage} needs. */
export interface ReadDeps {
  readonly get: DirectGet;
  readonly epochs: Epochs;
  readonly clock: Pick<Clock, "now">;
}

/** An item's time may be this far from the broker's, in milliseconds: what is not {@link maxLateMs late}, and skew. */
export const maxClockSkewMs = 600_000;

/**
 * A page ends with the notification that reaches this size for each that is asked for, in bytes, or `total`: a short
 * page is also a small one.
 */
const pageBytes = { each: 8_192, total: 1_048_576 } as const;

/**
 * Reads what follows a sequence, in order: the one way in which notifications leave the store, for replay, live delivery
 * and reconciliation alike.
 *
 * @throws NetworkError (90004) when the broker does not answer in time.
 */
export async function readPage(deps: ReadDeps, place: InboxPlace, options: ReadOptions): Promise<InboxPage> {
  const { get, epochs, clock } = deps;
  const { user, partition, stream } = place;
  const { after, epoch = "", limit, knownUntilMs, isLong = false } = options;
  await epochs.refresh(partition);
  const range = { from: after + 1, count: limit, maxBytes: Math.min(limit * pageBytes.each, pageBytes.total) };
  const filters =
    knownUntilMs === undefined
      ? [inboxFilter(partition, user)]
      : daysBetween(knownUntilMs, clock.now()).map((day) => inboxDayFilter(partition, user, day));
  const marker = markerFilter(partition);
  // With the markers of epochs, so that what follows one is known to.
  const indexed = isLong ? undefined : await get.index(stream, [...filters, marker], range);
  const found = indexed ?? (await get.along(stream, inboxFilter(partition, user), range));
  const last = found.messages.at(-1)?.sequence ?? after;
  // A page along the stream is without them. From the newest that is known on, there is one at least.
  const newest = epochs.lineage(partition).at(-1)?.first ?? 1;
  const marked = indexed ?? (await get.index(stream, [marker], { from: newest }));
  const upTo = marked?.upToSequence ?? (indexed === undefined ? 0 : Number.POSITIVE_INFINITY);
  // The stream has gone back, or this is a replica that lags behind.
  if (upTo < last) await epochs.look(partition);
  // The connection may be another by now.
  await epochs.refresh(partition);
  // Another instance may have begun an epoch since the last look, which the page does not show when it began before.
  await epochs.know(partition, after, epoch);
  for (const message of marked?.messages ?? []) if (isMarker(message)) epochs.learn(partition, message);
  const messages = found.messages.filter((message) => !isMarker(message) && !isTombstone(message));
  const throughSequence = found.pending === 0 ? Math.max(last, found.upToSequence ?? 0) : last;
  // No await from here on: what was read is labelled and judged by one lineage.
  const lineage = epochs.lineage(partition);
  if (after > 0 && epochs.placeOf(partition, { epoch, sequence: after }) < after) {
    return { entries: [], throughSequence: after, pending: 0, lineage, isLong: false, isStoreChanged: true };
  }
  epochs.saw(partition, throughSequence);
  const entries = messages.map((message) => toEntry(message, epochAt(lineage, message.sequence)));
  const isLongNow = indexed === undefined;
  return { entries, throughSequence, pending: found.pending, lineage, isLong: isLongNow, isStoreChanged: false };
}

function isMarker({ subject }: DirectMessage): boolean {
  return parseInboxPartition(subject) === undefined;
}

function daysBetween(fromMs: number, nowMs: number): number[] {
  const first = toDay(fromMs - maxClockSkewMs);
  const last = toDay(nowMs + maxClockSkewMs);
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}
