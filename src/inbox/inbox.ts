import type { Broker } from "../broker/connect.ts";
import type { DirectGet } from "../broker/direct-get.ts";
import { toRefusal } from "../broker/faults.ts";
import { findSurely } from "../broker/leader.ts";
import { remove, type Write } from "../broker/write.ts";
import type { Publisher } from "../publishing/publish.ts";
import type { Epochs } from "./epochs.ts";
import { encodeItem, type InboxItem, isTombstone, itemHeaders, itemKey, type WriteOptions } from "./items.ts";
import { inboxIdFilter, inboxSubject, locateInbox, toDay, toInboxId } from "./layout.ts";
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
   * is not stored again.
   *
   * @throws NetworkError (90004) when the broker did not acknowledge in time, StoreFullError (90101) when it has no
   * space.
   */
  write(userId: string, item: InboxItem, options: WriteOptions): Promise<void>;
  readonly placing: Placing;
  /** What {@link write} stores, for who stores it together with something of its own. The item is of this moment. */
  prepare(userId: string, item: InboxItem, options: WriteOptions): PreparedWrite;
  /**
   * Stores an item in many inboxes, in atomic batches. As idempotent as {@link write}: what is there already is left.
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

/** A batch of copies has at most this many: multi_last looks at most 1,024 subjects up. */
const maxCopies = 500;

/** The payloads of a batch add up to about this, in bytes. */
const maxBatchBytes = 4_194_304;

/** A write among many. */
interface Copy extends Write {
  /** Written under another day than the item's own, if at all. */
  readonly isLate: boolean;
  readonly partition: number;
  /** The subjects that the item may have in other days. */
  readonly anyDay: string;
}

/** Creates the inbox over the partition streams. */
export function createInbox(
  broker: Broker,
  publisher: Publisher,
  get: DirectGet,
  partitions: number,
  epochs: Epochs,
): Inbox {
  const locate = (userId: string) => locateInbox(userId, partitions);

  const address = (userId: string, item: InboxItem) => {
    const { user, partition, stream } = locate(userId);
    const { id, timeMs } = itemKey(item);
    const now = Date.now();
    // A session that is up to date looks into the buckets of the last minutes only, so nothing may be written into an
    // older one. What is late is looked for in all of them, and written into today's.
    const isLate = now - timeMs > maxLateMs;
    const subject = inboxSubject(partition, user, toDay(isLate ? now : timeMs), id);
    return { userId, partition, stream, subject, isLate, anyDay: inboxIdFilter(partition, user, id) };
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
    const { partition, stream, subject, isLate, anyDay } = address(userId, item);
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
      if (isLate && (await get.last(stream, anyDay)) !== undefined) return;
      const stored = await publisher.store(stream, write);
      if (stored.kind === "stored") {
        wrote(stored.sequence);
      } else if ((await findSurely(broker, get, stream, { last: write.subject })) === undefined) {
        // The subject is free, so the refusal was about space.
        throw toRefusal(stored);
      }
    },

    async writeMany(userIds, item, options) {
      const payload = encodeItem(item);
      const copies = userIds.map((userId) => ({
        ...address(userId, item),
        payload,
        headers: itemHeaders(userId, item, options),
      }));
      const batchSize = Math.max(1, Math.min(maxCopies, Math.floor(maxBatchBytes / payload.length)));
      for (const [stream, ofStream] of Map.groupBy(copies, (copy) => copy.stream)) {
        for (let start = 0; start < ofStream.length; start += batchSize) {
          await storeAbsent(stream, ofStream.slice(start, start + batchSize));
        }
      }
    },

    async find(userIds, serverMsgId) {
      const found = new Map<string, number>();
      const id = notificationToken(serverMsgId);
      const places = userIds.map((userId) => ({ userId, ...locate(userId) }));
      for (const [stream, ofStream] of Map.groupBy(places, (place) => place.stream)) {
        for (let start = 0; start < ofStream.length; start += maxCopies) {
          const asked = ofStream.slice(start, start + maxCopies);
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
      const remaining = [...found];
      const worker = async () => {
        for (let next = remaining.pop(); next !== undefined; next = remaining.pop()) {
          const [userId, sequence] = next;
          await remove(broker, locate(userId).stream, sequence);
        }
      };
      await Promise.all(Array.from({ length: 32 }, worker));
    },

    read: (userId, options) => readPage({ get, epochs }, locate(userId), options),

    ...createPlaces(broker, get, partitions, epochs),
  };
}
