import { toRefusal } from "../broker/faults.ts";
import type { DirectGet } from "../broker/reads/direct-get.ts";
import { toPartition, toToken } from "../broker/subjects.ts";
import { type Clock, systemClock } from "../clock.ts";
import { isTombstone, tombstoneHeaders } from "../inbox/items.ts";
import { inboxIdFilter, inboxStream, inboxSubject, parseInboxSubject, toDay } from "../inbox/layout.ts";
import { notificationToken } from "../inbox/place-id.ts";
import { maxClockSkewMs } from "../inbox/read-page.ts";
import type { Publisher } from "../publishing/publish.ts";

/** The places of withdrawn notifications. */
export interface Tombstones {
  /**
   * Takes the place of a notification in the inboxes that do not hold it. A subject can be taken once: nobody can store
   * it there any more, on whatever instance, and however long the write has been under way. Tombstones are shown to
   * nobody. Idempotent.
   *
   * Resolves to the sequences where the notification is instead: once these are removed, and it is called again and
   * finds none, there is none and will be none.
   *
   * @throws NetworkError (90004) when the broker did not acknowledge in time, StoreFullError (90101) when it has no
   * space; some of the places are taken then.
   */
  place(
    userIds: readonly string[],
    notification: WithdrawnNotification,
    operationId: string,
  ): Promise<ReadonlyMap<string, number>>;
}

/** A notification that nobody is to get. */
export interface WithdrawnNotification {
  readonly serverMsgId: string;
  /** Its `sendTime`, in epoch milliseconds. */
  readonly sendTimeMs: number;
}

/** Subjects that are looked at together: multi_last looks at most 1,024 up, and a batch has at most 1,000. */
const maxSubjects = 1_000;

/** Creates the tombstones, which share the streams and subjects of the inboxes. */
export function createTombstones(
  publisher: Publisher,
  get: DirectGet,
  partitions: number,
  clock: Clock = systemClock,
): Tombstones {
  /** As {@link Tombstones.place}, for users of one partition. */
  const placeSome = async (
    partition: number,
    userIdOf: ReadonlyMap<string, string>,
    id: string,
    days: readonly number[],
    operationId: string,
  ): Promise<ReadonlyMap<string, number>> => {
    const stream = inboxStream(partition);
    const filters = [...userIdOf.keys()].map((user) => inboxIdFilter(partition, user, id));
    for (let before = Number.POSITIVE_INFINITY; ; ) {
      const present = await get.lastOf(stream, filters);
      const held = new Map<string, number>();
      for (const message of present) {
        const userId = userIdOf.get(parseInboxSubject(message.subject));
        if (userId !== undefined && !isTombstone(message)) held.set(userId, message.sequence);
      }
      const taken = new Set(present.map(({ subject }) => subject));
      const absent = [...userIdOf].flatMap(([user, userId]) =>
        held.has(userId)
          ? []
          : days
              .map((day) => inboxSubject(partition, user, day, id))
              .filter((subject) => !taken.has(subject))
              .map((subject) => ({ subject, payload: noBytes, headers: tombstoneHeaders(userId, operationId) })),
      );
      if (absent.length === 0) return held;
      const stored = await publisher.storeAll(absent);
      if (stored.kind === "stored") return held;
      // Nothing was taken meanwhile, so the refusal was about space; or a replica that lags behind has answered.
      if (absent.length >= before) throw toRefusal(stored);
      before = absent.length;
    }
  };

  return {
    async place(userIds, { serverMsgId, sendTimeMs }, operationId) {
      const id = notificationToken(serverMsgId);
      const now = clock.now();
      // A write that is late goes into the bucket of its day; its clock may be another.
      const days = [...new Set([sendTimeMs, now - maxClockSkewMs, now + maxClockSkewMs].map(toDay))];
      // Besides, the notification may be in a day of its own.
      const maxUsers = Math.floor(maxSubjects / (days.length + 1));
      const held = new Map<string, number>();
      const users = userIds.map((userId) => [toToken(userId), userId] as const);
      for (const [partition, ofPartition] of Map.groupBy(users, ([user]) => toPartition(user, partitions))) {
        for (let start = 0; start < ofPartition.length; start += maxUsers) {
          const some = new Map(ofPartition.slice(start, start + maxUsers));
          for (const [userId, sequence] of await placeSome(partition, some, id, days, operationId)) {
            held.set(userId, sequence);
          }
        }
      }
      return held;
    },
  };
}

const noBytes = new Uint8Array();
