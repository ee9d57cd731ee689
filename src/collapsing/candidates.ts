import { create, toBinary } from "@bufbuild/protobuf";
import type { Broker } from "../broker/connect.ts";
import { toRefusal } from "../broker/faults.ts";
import type { DirectGet } from "../broker/reads/direct-get.ts";
import { findSurely } from "../broker/reads/leader.ts";
import { again, untilAnswered } from "../broker/until.ts";
import { remove } from "../broker/write.ts";
import { deadlineIn } from "../deadline.ts";
import { decodeStored } from "../decode-stored.ts";
import type { Notification } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import { CollapseRecordSchema } from "../gen/mustreach/store/v1/send_pb.ts";
import { isTombstone } from "../inbox/items.ts";
import { inboxIdFilter, locateInbox, toInboxId } from "../inbox/layout.ts";
import { notificationToken } from "../inbox/place-id.ts";
import type { Publisher } from "../publishing/publish.ts";
import { type Topic, toTopic } from "./layout.ts";

/** A notification that has a collapse key. */
export type Collapsible = Pick<
  Notification,
  "serverMsgId" | "clientMsgId" | "key" | "sendTime" | "recvUserId" | "recvGroupId" | "collapseKey"
>;

/** A send that was announced, and was not replaced yet as far as is known. */
export interface Candidate {
  readonly serverMsgId: string;
  readonly clientMsgId: string;
  /** When it was delivered, in epoch milliseconds. */
  readonly sendTime: number;
  /** The version of the group whose members are the recipients; 0 for a send to a user. */
  readonly groupVersion: number;
  /** The key of the notification, where what becomes of it is reported. */
  readonly reportKey: string | undefined;
  /** Of its announcement. */
  readonly sequence: number;
}

/** Where a candidate's notification is in the inbox: its sequence, or withdrawn. */
export type CandidatePlace = number | "withdrawn";

/**
 * The sends of each collapse key and recipient that were not replaced yet. Each method throws NetworkError (90004) when
 * the broker does not answer in time.
 */
export interface Candidates {
  /**
   * Announces a send, before its notification is stored: whoever stores a newer one finds it. Idempotent. Resolves to the
   * sequence of the announcement. Throws StoreFullError (90101) when the broker has no space.
   *
   * @param isReported whether what becomes of it is reported.
   */
  add(notification: Collapsible, groupVersion: number, isReported: boolean): Promise<number>;
  /**
   * Some of the sends announced, the first to be so first.
   *
   * @param since what a replica that answers has to have.
   */
  list(notification: Collapsible, since: number): Promise<{ candidates: readonly Candidate[]; isLast: boolean }>;
  /** Where the notifications of sends to a user are, by server message id; those that are not stored are not in it. */
  placesOf(
    notification: Collapsible,
    candidates: readonly Candidate[],
    since: number,
  ): Promise<ReadonlyMap<string, CandidatePlace>>;
  /** Forgets a send that was replaced or withdrawn. */
  remove(notification: Collapsible, candidate: Candidate): Promise<void>;
}

/** Sends that are looked at together: multi_last looks at most 1,024 subjects up, and each may be in two days. */
const maxCandidates = 500;

export function createCandidates(
  broker: Broker,
  publisher: Publisher,
  get: DirectGet,
  { partitions, timeoutMs }: { readonly partitions: number; readonly timeoutMs: number },
): Candidates {
  /** What the index has, as of a sequence or later: a replica that answers may lag behind. Undefined for too many. */
  const indexSince = ({ stream }: Topic, filters: readonly string[], since: number, count?: number) =>
    untilAnswered(broker, deadlineIn(timeoutMs), async () => {
      const page = await get.index(stream, filters, { from: 1, ...(count !== undefined && { count }) });
      // An empty answer does not say how far the replica is.
      if (page === undefined || (page.upToSequence ?? 0) >= since) return page;
      return again;
    });

  return {
    async add(notification, groupVersion, isReported) {
      const { serverMsgId, clientMsgId, key, sendTime } = notification;
      const { stream, subject } = toTopic(notification, partitions);
      const record = create(CollapseRecordSchema, {
        ...{ serverMsgId, clientMsgId, sendTime, groupVersion: BigInt(groupVersion) },
        reportKey: isReported ? key : "",
      });
      const write = { subject: subject(serverMsgId), payload: toBinary(CollapseRecordSchema, record), headers: {} };
      const stored = await publisher.store(stream, write);
      if (stored.kind === "stored") return stored.sequence;
      const first = await findSurely(broker, get, stream, { last: write.subject });
      if (first === undefined) throw toRefusal(stored);
      return first.sequence;
    },

    async list(notification, since) {
      const topic = toTopic(notification, partitions);
      // With what was stored last, so that the answer is never empty.
      const own = notification.recvUserId === "" ? [] : [ownFilter(notification, partitions)];
      const filters = [topic.filter, ...own];
      const indexed = await indexSince(topic, filters, since, maxCandidates);
      const page = indexed ?? (await get.along(topic.stream, topic.filter, { from: 1, count: maxCandidates }));
      const announced = page.messages.filter(({ subject }) => subject.startsWith("collapse"));
      const candidates = announced.map(({ payload, sequence }): Candidate => {
        const { serverMsgId, clientMsgId, reportKey, ...numbers } = decodeStored(CollapseRecordSchema, payload);
        const [sendTime, groupVersion] = [Number(numbers.sendTime), Number(numbers.groupVersion)];
        return { serverMsgId, clientMsgId, sendTime, groupVersion, reportKey: reportKey || undefined, sequence };
      });
      return { candidates, isLast: page.pending === 0 };
    },

    async placesOf(notification, candidates, since) {
      const topic = toTopic(notification, partitions);
      const { user, partition } = locateInbox(notification.recvUserId, partitions);
      const idOf = new Map(
        candidates.map(({ serverMsgId }) => [`${user}.${notificationToken(serverMsgId)}`, serverMsgId]),
      );
      const filters = candidates.map(({ serverMsgId }) =>
        inboxIdFilter(partition, user, notificationToken(serverMsgId)),
      );
      const page = await indexSince(topic, filters, since);
      const places = new Map<string, CandidatePlace>();
      for (const message of page?.messages ?? []) {
        const serverMsgId = idOf.get(toInboxId(message.subject));
        if (serverMsgId === undefined) continue;
        if (!isTombstone(message)) places.set(serverMsgId, message.sequence);
        else if (!places.has(serverMsgId)) places.set(serverMsgId, "withdrawn");
      }
      return places;
    },

    async remove(notification, { sequence }) {
      await remove(broker, toTopic(notification, partitions).stream, sequence, false);
    },
  };
}

function ownFilter({ recvUserId, serverMsgId }: Collapsible, partitions: number): string {
  const { user, partition } = locateInbox(recvUserId, partitions);
  return inboxIdFilter(partition, user, notificationToken(serverMsgId));
}
