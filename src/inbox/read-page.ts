import type { DirectGet, DirectMessage, Page, Range } from "../broker/reads/direct-get.ts";
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
  /** The index was asked, and there are more than it answers. */
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
  /** Default: by the index. */
  readonly way?: ReadWay | undefined;
}

/**
 * How a page is looked for: by the `index`, and `along` the stream if that has too many; at once `along`, after a page
 * that was {@link InboxPage.isLong}; or one after the `next`, where few are expected to follow in an inbox that is long.
 */
export type ReadWay = "index" | "along" | "next";

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

/** So many are read one after the other, before a page is. */
const maxSingly = 4;

/**
 * Reads what follows a sequence, in order: the one way in which notifications leave the store, for replay, live delivery
 * and reconciliation alike.
 *
 * @throws NetworkError (90004) when the broker does not answer in time.
 */
export async function readPage(deps: ReadDeps, place: InboxPlace, options: ReadOptions): Promise<InboxPage> {
  const { get, epochs, clock } = deps;
  const { user, partition, stream } = place;
  const { after, epoch = "", limit, knownUntilMs, way = "index" } = options;
  await epochs.refresh(partition);
  const known = epochs.lineage(partition);
  const range = { from: after + 1, count: limit, maxBytes: Math.min(limit * pageBytes.each, pageBytes.total) };
  const filters =
    knownUntilMs === undefined
      ? [inboxFilter(partition, user)]
      : daysBetween(knownUntilMs, clock.now()).map((day) => inboxDayFilter(partition, user, day));
  const marker = markerFilter(partition);
  // With the markers of epochs, so that what follows one is known to.
  const indexed = way === "index" ? await get.index(stream, [...filters, marker], range) : undefined;
  const own = inboxFilter(partition, user);
  const along = () => (way === "next" ? readSingly(get, stream, own, range) : get.along(stream, own, range));
  const found = indexed ?? (await along());
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
  // What was read one by one may be of two stores then.
  if (way === "next" && lineage !== known) return readPage(deps, place, { ...options, way: "along" });
  if (after > 0 && epochs.placeOf(partition, { epoch, sequence: after }) < after) {
    return { entries: [], throughSequence: after, pending: 0, lineage, isLong: false, isStoreChanged: true };
  }
  epochs.saw(partition, throughSequence);
  const entries = messages.map((message) => toEntry(message, epochAt(lineage, message.sequence)));
  const isLong = way === "index" && indexed === undefined;
  return { entries, throughSequence, pending: found.pending, lineage, isLong, isStoreChanged: false };
}

/** The same page, where it is a short one, without asking how many match: of what a page costs, most is that. */
async function readSingly(get: DirectGet, stream: string, filter: string, range: Required<Range>): Promise<Page> {
  const messages: DirectMessage[] = [];
  let { from, count, maxBytes } = range;
  while (messages.length < maxSingly && count > 1) {
    const next = await get.next(stream, filter, from);
    if (next === undefined) return { messages, pending: 0, upToSequence: undefined };
    // The page ends with it: how many follow is to be known.
    if (next.payload.length >= maxBytes) break;
    messages.push(next);
    from = next.sequence + 1;
    count--;
    maxBytes -= next.payload.length;
  }
  const rest = await get.along(stream, filter, { from, count, maxBytes });
  return { ...rest, messages: [...messages, ...rest.messages] };
}

function isMarker({ subject }: DirectMessage): boolean {
  return parseInboxPartition(subject) === undefined;
}

function daysBetween(fromMs: number, nowMs: number): number[] {
  const first = toDay(fromMs - maxClockSkewMs);
  const last = toDay(nowMs + maxClockSkewMs);
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}
