import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { failure } from "../errors.ts";
import { type Notification, NotificationSchema } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import type { Broker } from "./connect.ts";
import { type DirectGet, type DirectMessage, tooManyResults } from "./direct-get.ts";
import type { Publisher } from "./publish.ts";
import { inboxDayFilter, inboxFilter, inboxStream, inboxSubject, toDay, toPartition, toToken } from "./subjects.ts";

/** A notification in a user's inbox. */
export interface InboxEntry {
  /** As the device gets it, with its sequence. */
  readonly notification: Notification;
  readonly sequence: number;
  /** When it is no longer worth delivering, in epoch milliseconds; undefined: when the retention ends. */
  readonly expiresAtMs: number | undefined;
}

/** What {@link Inbox.read} found. */
export interface InboxPage {
  /** In the order of their sequence. */
  readonly entries: readonly InboxEntry[];
  /** The inbox is known up to here: what follows `after` and is not above this is in `entries`. */
  readonly throughSequence: number;
  /** How many more there are now. */
  readonly pending: number;
}

/** Options of {@link Inbox.write}. */
export interface WriteOptions {
  readonly expiresAtMs?: number | undefined;
  readonly operationId: string;
}

/** Options of {@link Inbox.read}. */
export interface ReadOptions {
  /** Read what follows this sequence. */
  readonly after: number;
  /** At most this many entries. */
  readonly limit: number;
  /** Everything stored before this moment (epoch milliseconds) is known already: older day buckets are not asked. */
  readonly knownUntilMs?: number | undefined;
}

/** The stored notifications of all users. */
export interface Inbox {
  /**
   * Stores a notification in its recipient's inbox. Idempotent by recipient, send time's day and client message id.
   *
   * @throws NetworkError (90004) when the broker did not acknowledge in time, or the store is full.
   */
  write(userId: string, notification: Notification, options: WriteOptions): Promise<void>;
  /**
   * Reads what follows a sequence, in order: the one way in which notifications leave the store, for replay, live
   * delivery and reconciliation alike.
   *
   * @throws NetworkError (90004) when the broker does not answer in time.
   */
  read(userId: string, options: ReadOptions): Promise<InboxPage>;
  /** The sequence of a user's newest stored notification; 0 when there is none. */
  newestSequence(userId: string): Promise<number>;
  /** Whether a sequence can have been assigned to a notification of this user. */
  isAssigned(userId: string, sequence: number): Promise<boolean>;
}

/** Clocks of instances and the broker may differ by this much around midnight, in milliseconds. */
const maxClockSkewMs = 600_000;

/** A page ends with the notification that reaches this size, in bytes. */
const maxPageBytes = 1_048_576;

const expiresHeader = "Mustreach-Expires";
const operationHeader = "Mustreach-Operation-Id";

/** Creates the inbox over the partition streams. */
export function createInbox(broker: Broker, publisher: Publisher, get: DirectGet, partitions: number): Inbox {
  /** The highest sequence known to be assigned, by partition. */
  const assigned = new Array<number>(partitions).fill(0);

  const locate = (userId: string) => {
    const user = toToken(userId);
    const partition = toPartition(user, partitions);
    return { user, partition, stream: inboxStream(partition) };
  };

  const lastBySubject = async (stream: string, subject: string): Promise<DirectMessage | undefined> => {
    const found = await get(stream, { last_by_subj: subject });
    return found === tooManyResults ? undefined : found.messages[0];
  };

  return {
    async write(userId, notification, options) {
      const { user, partition, stream } = locate(userId);
      const subject = inboxSubject(
        partition,
        user,
        toDay(Number(notification.sendTime)),
        toToken(notification.clientMsgId),
      );
      const stored = await publisher.store(stream, {
        subject,
        payload: toBinary(NotificationSchema, notification),
        headers: {
          [operationHeader]: encodeURIComponent(options.operationId),
          ...(options.expiresAtMs === undefined ? {} : { [expiresHeader]: String(options.expiresAtMs) }),
        },
      });
      if (stored.kind === "stored") {
        assigned[partition] = Math.max(assigned[partition] ?? 0, stored.sequence);
      } else if ((await lastBySubject(stream, subject)) === undefined) {
        // The subject is free, so the refusal was about space.
        throw failure("NetworkError", `the notification store refused the write: ${stored.reason}`);
      }
    },

    async read(userId, { after, limit, knownUntilMs }) {
      const { user, partition, stream } = locate(userId);
      const start = { seq: after + 1, batch: limit, max_bytes: maxPageBytes };
      const filters =
        knownUntilMs === undefined
          ? [inboxFilter(partition, user)]
          : daysSince(knownUntilMs).map((day) => inboxDayFilter(partition, user, day));
      const indexed = await get(stream, { multi_last: filters, ...start });
      // More than 1,024 notifications in these days: read along the stream instead, at about 2 ms of the broker's CPU
      // a page where the index needs 0.1 ms.
      const found =
        indexed === tooManyResults
          ? await get(stream, { next_by_subj: inboxFilter(partition, user), ...start })
          : indexed;
      if (found === tooManyResults) throw failure("NetworkError", "the broker cannot read the store");
      const entries = found.messages.map(toEntry);
      const last = entries.at(-1)?.sequence ?? after;
      const throughSequence = found.pending === 0 ? Math.max(last, found.upToSequence ?? 0) : last;
      assigned[partition] = Math.max(assigned[partition] ?? 0, throughSequence);
      return { entries, throughSequence, pending: found.pending };
    },

    async newestSequence(userId) {
      const { user, partition, stream } = locate(userId);
      return (await lastBySubject(stream, inboxFilter(partition, user)))?.sequence ?? 0;
    },

    async isAssigned(userId, sequence) {
      const { partition, stream } = locate(userId);
      if (sequence > (assigned[partition] ?? 0)) {
        // Only an instance that has just started, or a caller that makes sequences up, gets here.
        await broker.whenConnected(Date.now() + 1_000);
        const info = await broker.jsm.streams.info(stream).catch((cause: unknown) => {
          throw failure("NetworkError", "the broker did not answer in time", cause);
        });
        assigned[partition] = Math.max(assigned[partition] ?? 0, info.state.last_seq);
      }
      return sequence <= (assigned[partition] ?? 0);
    },
  };
}

function daysSince(timeMs: number): number[] {
  const first = toDay(timeMs - maxClockSkewMs);
  const last = toDay(Date.now() + maxClockSkewMs);
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}

function toEntry(message: DirectMessage): InboxEntry {
  const notification = fromBinary(NotificationSchema, message.payload);
  notification.sequence = BigInt(message.sequence);
  const expires = message.header(expiresHeader);
  return { notification, sequence: message.sequence, expiresAtMs: expires === "" ? undefined : Number(expires) };
}
