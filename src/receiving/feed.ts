import { Gap_Reason, type Message, type Notification, type Recall } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import type { InboxEntry } from "../inbox/items.ts";
import { epochAt } from "../inbox/lineage.ts";
import type { Place } from "../inbox/places.ts";
import type { InboxPage } from "../inbox/read-page.ts";

/**
 * A read asks for at most this many notifications: few at first, since a device may have taken none of them when it is
 * gone again, and four times as many each time that there are more, so that a page stays small whatever the window.
 */
const pageEntries = { first: 16, last: 128 } as const;

/** Pauses before a hinted notification that a replica does not have yet is looked for again, in milliseconds. */
const lagRetryMs = [5, 20, 80, 320] as const;

/** A feed that was read to its end this recently, in milliseconds, has lost nothing to the retention. */
const maxUncheckedMs = 60_000;

/** Reads what follows `after`; `wanted` is the sequence that is known to be there, 0 when none is. */
export type ReadInbox = (request: {
  readonly after: number;
  /** The epoch of `after`. Default: before the first. */
  readonly epoch?: string;
  readonly limit: number;
  readonly wanted: number;
  readonly knownUntilMs: number | undefined;
}) => Promise<InboxPage>;

/** The lowest sequence that the inbox may still hold; lower ones are gone. */
export type OldestSequence = () => Promise<number>;

/** What a device is to be told next from its inbox; `sequence` is what it acknowledges. */
export type FeedItem =
  | { readonly kind: "notification"; readonly sequence: number; readonly notification: Notification }
  | { readonly kind: "message"; readonly sequence: number; readonly message: Message }
  | { readonly kind: "recall"; readonly sequence: number; readonly recall: Recall }
  | FeedGap;

/** A range that the device is not sent. */
export interface FeedGap {
  readonly kind: "gap";
  readonly from: number;
  readonly sequence: number;
  readonly epoch: string;
  readonly reason: Gap_Reason;
}

/** A device's way through its user's inbox, a page at a time. */
export interface Feed {
  /** Takes the next item of the page in memory; undefined when the page is used up. */
  take(): FeedItem | undefined;
  /** Whether the inbox may hold more than the page in memory. */
  mayHaveMore(): boolean;
  /**
   * Reads the next page.
   *
   * @throws NetworkError (90004) when the broker does not answer; the feed is where it was.
   */
  load(limit: number): Promise<void>;
  /** A notification with this sequence was stored. */
  hint(sequence: number): void;
  /** A hint may have been lost: look. */
  reconcile(): void;
  /** How many notifications follow what was taken, as of the last read. */
  pending(): number;
  /** The highest sequence known to be there. */
  latestSequence(): number;
}

export interface FeedOptions {
  /** The feed begins after this; 0 is the beginning, from which nothing can be missing. */
  readonly resume: Place;
  readonly read: ReadInbox;
  readonly oldestSequence: OldestSequence;
  /** Called when there may be more to load. */
  readonly onMore: () => void;
  /** Called when the store was replaced, and what was taken from it is not all there: the feed is at its end. */
  readonly onStoreChanged: () => void;
}

export function createFeed({ resume, read, oldestSequence, onMore, onStoreChanged }: FeedOptions): Feed {
  let page: InboxEntry[] = [];
  /** Gaps before the page. */
  const gaps: FeedGap[] = [];
  let pendingAfterPage = 0;
  /** The inbox is in hand up to here: everything up to it was taken or is in the page. */
  let { sequence: through, epoch } = resume;
  // Nobody can acknowledge 0; that a session begins there says enough.
  if (resume.isStoreChanged && through > 0) {
    gaps.push({ kind: "gap", from: through, sequence: through, epoch, reason: Gap_Reason.STORE_CHANGED });
  }
  let hinted = 0;
  let stale = true;
  let knownUntilMs: number | undefined;
  let lagRetries = 0;
  let maxEntries: number = pageEntries.first;

  const reconcile = () => {
    stale = true;
    onMore();
  };

  /** What the retention has removed between what is in hand and a page that was read before we look. */
  const findLost = async ({ entries, lineage }: InboxPage): Promise<FeedGap | undefined> => {
    const first = entries[0]?.sequence ?? Number.POSITIVE_INFINITY;
    const last = Math.min(await oldestSequence(), first) - 1;
    if (last <= through) return undefined;
    return {
      kind: "gap",
      from: through + 1,
      sequence: last,
      epoch: epochAt(lineage, last),
      reason: Gap_Reason.RETENTION,
    };
  };

  return {
    take() {
      const gap = gaps.shift();
      if (gap !== undefined) return gap;
      const entry = page.shift();
      if (entry === undefined) return undefined;
      const { sequence } = entry;
      const now = Date.now();
      if (!isExpired(entry, now)) return entry;
      let last = entry;
      for (let next = page[0]; next !== undefined && isExpired(next, now); next = page[0]) {
        last = next;
        page.shift();
      }
      return {
        kind: "gap",
        from: sequence,
        sequence: last.sequence,
        epoch: last.epoch,
        reason: Gap_Reason.EXPIRED,
      };
    },
    mayHaveMore: () => stale,
    async load(limit) {
      const startedMs = Date.now();
      // Before the read: a hint that comes while it is under way must lead to another one.
      stale = false;
      try {
        const wanted = hinted > through ? hinted : 0;
        const at = { after: through, epoch };
        const found = await read({ ...at, limit: Math.min(limit, maxEntries), wanted, knownUntilMs });
        if (found.isStoreChanged) {
          onStoreChanged();
          return;
        }
        let lost: FeedGap | undefined;
        if (through > 0 && (knownUntilMs === undefined || startedMs - knownUntilMs > maxUncheckedMs)) {
          lost = await findLost(found);
        }
        if (lost !== undefined) gaps.push(lost);
        page = [...found.entries];
        through = Math.max(through, found.throughSequence, lost?.sequence ?? 0);
        epoch = epochAt(found.lineage, through);
        pendingAfterPage = found.pending;
      } catch (error) {
        stale = true;
        throw error;
      }
      if (pendingAfterPage > 0) {
        maxEntries = Math.min(maxEntries * 4, pageEntries.last);
        stale = true;
        return;
      }
      knownUntilMs = startedMs;
      // A replica that lags behind the one that sent the hint. If it stays behind, the next heartbeat looks again.
      const retryMs = through < hinted ? lagRetryMs[lagRetries++] : undefined;
      if (retryMs !== undefined) setTimeout(reconcile, retryMs).unref();
    },
    hint(sequence) {
      if (sequence <= hinted) return;
      hinted = sequence;
      lagRetries = 0;
      if (sequence > through) reconcile();
    },
    reconcile,
    pending: () => page.length + pendingAfterPage,
    latestSequence: () => Math.max(through, hinted),
  };
}

function isExpired(entry: InboxEntry, nowMs: number): boolean {
  return entry.expiresAtMs !== undefined && entry.expiresAtMs <= nowMs;
}
