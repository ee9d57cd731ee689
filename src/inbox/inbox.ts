import type { Broker } from "../broker/connect.ts";
import { toRefusal } from "../broker/faults.ts";
import type { DirectGet } from "../broker/reads/direct-get.ts";
import { findSurely } from "../broker/reads/leader.ts";
import { remove, type Write } from "../broker/write.ts";
import { type Clock, systemClock } from "../clock.ts";
import { forAll } from "../in-flight.ts";
import type { Publisher } from "../publishing/publish.ts";
import type { Epochs } from "./epochs.ts";
import {
  encodeItem,
  type InboxItem,
  isTombstone,
  itemHeaders,
  itemKey,
  ownerHeader,
  type WriteOptions,
  withRecipient,
} from "./items.ts";
import { type InboxPlace, inboxIdFilter, inboxSubject, locateInbox, toDay, toInboxId } from "./layout.ts";
import { notificationToken } from "./place-id.ts";
import { createPlaces, type Places } from "./places.ts";
import { createPlacing, type Placing } from "./placing.ts";
import { type InboxPage, type ReadOptions, readPage } from "./read-page.ts";

/** A write to an inbox that somebody else makes. */
export interface PreparedWrite {
  readonly stream: string;
  readonly write: Write;
  /** To be called with the sequence that it was given. */
  wrote(sequence: number): void;
}

/** The stored notifications of all users. */
export interface Inbox extends Places {
  /**
   * Stores an item in a user's inbox. Idempotent by user, kind and server message id; a notification that was withdrawn
   * is not stored again. Resolves to its sequence, or to that of what took its place.
   *
   * @throws NetworkError (90004) when the broker did not acknowledge in time, StoreFullError (90101) when it has no
   * space.
   */
  write(userId: string, item: InboxItem, options: WriteOptions): Promise<number>;
  readonly placing: Placing;
  /** What {@link write} stores, for who stores it together with something of its own. The item is of this moment. */
  prepare(userId: string, item: InboxItem, options: WriteOptions): PreparedWrite;
  /**
   * Stores an item in many inboxes, in atomic batches. As idempotent as {@link write}: what is there already is left. A
   * notification for nobody in particular is for each of them: there it has the user as its recipient.
   *
   * Throws as {@link write}; some of the inboxes have the item then.
   */
  writeMany(userIds: readonly string[], item: InboxItem, options: WriteOptions): Promise<void>;
  /** The sequences of a notification in the inboxes that hold it, by user id. */
  find(userIds: readonly string[], serverMsgId: string): Promise<ReadonlyMap<string, number>>;
  /** Removes what {@link find} found, for good. */
  remove(found: ReadonlyMap<string, number>): Promise<void>;
  /** {@link readPage} of a user's inbox. */
  read(userId: string, options: ReadOptions): Promise<InboxPage>;
}

/** An item that is written this long after it came to be is late, in milliseconds. */
const maxLateMs = 300_000;

/**
 * A batch of copies has at most this many. The broker takes about 2 ms to prepare one, and for the limit of the stream
 * goes through all messages before each: twice as many cost as much for each again. multi_last looks at most 1,024
 * subjects up.
 */
const maxCopies = 500;

/** Batches of copies under way: while the broker stores one, it reads the next. */
const maxCopyBatches = 2;

/** The payloads of a batch add up to about this, in bytes. */
const maxBatchBytes = 4_194_304;

/** Messages that are removed at a time. */
const maxRemovals = 32;

/** A write among many. */
interface Copy extends Write {
  /** Written under another day than the item's own, if at all. */
  readonly isLate: boolean;
  readonly partition: number;
  /** The subjects that the item may have in other days. */
  readonly anyDay: string;
}

/** A user with the place of the inbox. */
interface Owner extends InboxPlace {
  readonly userId: string;
}

/** Creates the inbox over the partition streams. */
export function createInbox(
  broker: Broker,
  publisher: Publisher,
  get: DirectGet,
  partitions: number,
  epochs: Epochs,
  clock: Clock = systemClock,
): Inbox {
  const locate = (userId: string) => locateInbox(userId, partitions);

  /** Where an item of this moment is stored, by the place of the inbox. */
  const addressing = (item: InboxItem) => {
    const { id, timeMs } = itemKey(item);
    const now = clock.now();
    // A session that is up to date looks into the buckets of the last minutes only, so nothing may be written into an
    // older one. What is late is looked for in all of them, and written into today's.
    const isLate = now - timeMs > maxLateMs;
    const day = toDay(isLate ? now : timeMs);
    return ({ user, partition, stream }: InboxPlace) => {
      const subject = inboxSubject(partition, user, day, id);
      return { partition, stream, subject, isLate, anyDay: inboxIdFilter(partition, user, id) };
    };
  };

  /** Users by the stream that their inboxes are in, in parts of this size. */
  const byStream = (userIds: readonly string[], size: number) => {
    const owners = userIds.map((userId): Owner => ({ userId, ...locate(userId) }));
    return [...Map.groupBy(owners, ({ stream }) => stream)].map(([stream, all]) => ({
      stream,
      parts: Array.from({ length: Math.ceil(all.length / size) }, (_, n) => all.slice(n * size, (n + 1) * size)),
    }));
  };

  /** Those of some copies that are in no day's bucket yet. */
  const absentOf = async (stream: string, copies: readonly Copy[]): Promise<readonly Copy[]> => {
    const filters = copies.map(({ anyDay }) => anyDay);
    const present = new Set((await get.lastOf(stream, filters)).map(({ subject }) => toInboxId(subject)));
    return copies.filter(({ subject }) => !present.has(toInboxId(subject)));
  };

  /** Stores copies in one batch, without those that an earlier try has stored. */
  const storeAbsent = async (stream: string, copies: readonly Copy[]): Promise<void> => {
    let absent = copies[0]?.isLate ? await absentOf(stream, copies) : copies;
    while (absent.length > 0) {
      const partition = absent[0]?.partition ?? 0;
      const before = epochs.beforeWrite(partition);
      const stored = await publisher.storeAll(absent);
      if (stored.kind === "stored") return epochs.wrote(partition, before, stored.sequence);
      const remaining = await absentOf(stream, absent);
      // None of them is there, so the refusal was about space.
      if (remaining.length === absent.length) throw toRefusal(stored);
      absent = remaining;
    }
  };

  const prepare = (userId: string, item: InboxItem, options: WriteOptions) => {
    const { partition, stream, subject, isLate, anyDay } = addressing(item)(locate(userId));
    const before = epochs.beforeWrite(partition);
    const wrote = (sequence: number) => epochs.wrote(partition, before, sequence);
    const write: Write = { subject, payload: encodeItem(item), headers: itemHeaders(userId, item, options) };
    return { stream, write, wrote, isLate, anyDay };
  };

  return {
    prepare,

    placing: createPlacing(broker, publisher, get, partitions, epochs),

    async write(userId, item, options) {
      const { stream, write, wrote, isLate, anyDay } = prepare(userId, item, options);
      const earlier = isLate ? await get.last(stream, anyDay) : undefined;
      if (earlier !== undefined) return earlier.sequence;
      const stored = await publisher.store(stream, write);
      if (stored.kind === "stored") {
        wrote(stored.sequence);
        return stored.sequence;
      }
      const taken = await findSurely(broker, get, stream, { last: write.subject });
      // The subject is free, so the refusal was about space.
      if (taken === undefined) throw toRefusal(stored);
      return taken.sequence;
    },

    async writeMany(userIds, item, options) {
      const payload = encodeItem(item);
      const address = addressing(item);
      const headers = itemHeaders("", item, options);
      const isForEach = hasNoRecipient(item);
      const layOut = (owner: Owner): Copy => ({
        ...address(owner),
        payload: isForEach ? withRecipient(payload, owner.userId) : payload,
        headers: { ...headers, ...ownerHeader(owner.userId) },
      });
      const size = Math.max(1, Math.min(maxCopies, Math.floor(maxBatchBytes / payload.length)));
      const streams = byStream(userIds, size);
      await forAll(streams, streams.length, ({ stream, parts }) =>
        forAll(parts, maxCopyBatches, (part) => storeAbsent(stream, part.map(layOut))),
      );
    },

    async find(userIds, serverMsgId) {
      const found = new Map<string, number>();
      const id = notificationToken(serverMsgId);
      for (const { stream, parts } of byStream(userIds, maxCopies)) {
        for (const asked of parts) {
          const userIdOf = new Map(asked.map(({ user, userId }) => [`${user}.${id}`, userId]));
          const filters = asked.map(({ partition, user }) => inboxIdFilter(partition, user, id));
          for (const message of await get.lastOf(stream, filters)) {
            const userId = userIdOf.get(toInboxId(message.subject));
            if (userId !== undefined && !isTombstone(message)) found.set(userId, message.sequence);
          }
        }
      }
      return found;
    },

    async remove(found) {
      await forAll([...found], maxRemovals, ([userId, sequence]) => remove(broker, locate(userId).stream, sequence));
    },

    read: (userId, options) => readPage({ get, epochs, clock }, locate(userId), options),

    ...createPlaces(broker, get, partitions, epochs),
  };
}

function hasNoRecipient(item: InboxItem): boolean {
  return item.kind === "notification" && item.notification.recvUserId === "" && item.notification.recvGroupId === "";
}
