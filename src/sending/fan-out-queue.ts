import { create, toBinary } from "@bufbuild/protobuf";
import type { Logger } from "pino";
import type { Broker } from "../broker/connect.ts";
import { decodeStored } from "../broker/decode-stored.ts";
import { type DirectGet, tooManyResults } from "../broker/direct-get.ts";
import { toRefusal } from "../broker/faults.ts";
import type { Publisher } from "../broker/publish.ts";
import { toPartition, toToken } from "../broker/subjects.ts";
import { work } from "../broker/work.ts";
import { failure } from "../errors.ts";
import { MessageSchema, NotificationSchema } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import { FanoutJobSchema } from "../gen/mustreach/store/v1/job_pb.ts";
import { type InboxItem, itemKey, type WriteOptions } from "../inbox/items.ts";
import { fanoutFilter, fanoutStream, fanoutSubject } from "./layout.ts";

/** Group sends are expanded in this many lanes, each in order; more instances than lanes would have nothing to do. */
const lanes = 8;

/** A group send that is to be expanded into the inboxes of the members. */
export interface FanoutJob extends WriteOptions {
  /** What each of them gets, in this order: the notification, its chat copy, or both. */
  readonly items: readonly InboxItem[];
  readonly groupId: string;
  /** The version of the group whose members get it. */
  readonly groupVersion: number;
}

/** The group sends that wait to be expanded. */
export interface Fanout {
  /**
   * Queues a job, once for each send.
   *
   * @throws NetworkError (90004) when the broker did not acknowledge in time, StoreFullError (90101) when it has no
   * space.
   */
  publish(job: FanoutJob): Promise<void>;
  /** Does the jobs, those of a group in order, together with the other instances. Resolves to how to stop. */
  work(expand: (job: FanoutJob, signal: AbortSignal) => Promise<void>): Promise<() => Promise<void>>;
}

/** Creates the queue of group sends over its stream. */
export function createFanout(broker: Broker, publisher: Publisher, get: DirectGet, log: Logger): Fanout {
  return {
    async publish(job) {
      const lane = toPartition(toToken(job.groupId), lanes);
      const subject = fanoutSubject(lane, job.items.map((item) => itemKey(item).id).join("+"));
      const stored = await publisher.store(fanoutStream, { subject, payload: encodeFanoutJob(job), headers: {} });
      if (stored.kind === "stored") return;
      const waiting = await get(fanoutStream, { last_by_subj: subject });
      // Queued already, or expanded in the meantime: then the next delivery of the same send finds it all there.
      if (waiting !== tooManyResults && waiting.messages.length > 0) return;
      throw toRefusal(stored);
    },
    async work(expand) {
      const stops = await Promise.all(
        Array.from({ length: lanes }, (_, lane) =>
          work(broker, {
            stream: fanoutStream,
            durable: `fanout_${lane}`,
            filter: fanoutFilter(lane),
            decode: decodeFanoutJob,
            work: expand,
            log,
          }),
        ),
      );
      return async () => void (await Promise.all(stops.map((stop) => stop())));
    },
  };
}

/** The stored form of a job. The notification is in it once, so that a job is hardly larger than what it writes. */
export function encodeFanoutJob({ items, groupVersion, expiresAtMs = 0, escalateAfterMs = 0, ...job }: FanoutJob) {
  const own = items.find((item) => item.kind === "notification")?.notification;
  const copy = items.find((item) => item.kind === "message")?.message;
  const notification = own ?? copy?.notification;
  if (notification === undefined) throw new TypeError("a job without a notification");
  return toBinary(
    FanoutJobSchema,
    create(FanoutJobSchema, {
      ...job,
      groupVersion: BigInt(groupVersion),
      notification: toBinary(NotificationSchema, notification),
      mustReach: own !== undefined,
      ...(copy && {
        chatPlace: { conversationId: copy.conversationId, conversationSequence: copy.conversationSequence },
      }),
      expiresAtMs: BigInt(expiresAtMs),
      escalateAfterMs: BigInt(escalateAfterMs),
    }),
  );
}

/**
 * Reads the stored form of a job.
 *
 * @throws ServerInternalError (500) for bytes that are none.
 */
export function decodeFanoutJob(payload: Uint8Array): FanoutJob {
  const job = decodeStored(FanoutJobSchema, payload);
  const { groupId, operationId, chatPlace } = job;
  const notification = decodeStored(NotificationSchema, job.notification);
  if (groupId === "" || notification.serverMsgId === "") {
    throw failure("ServerInternalError", "what is stored is a fan-out without a group or a notification");
  }
  const items: InboxItem[] = job.mustReach ? [{ kind: "notification", notification }] : [];
  if (chatPlace !== undefined) {
    const { conversationId, conversationSequence } = chatPlace;
    items.push({
      kind: "message",
      message: create(MessageSchema, { conversationId, conversationSequence, notification }),
    });
  }
  return {
    items,
    groupId,
    groupVersion: Number(job.groupVersion),
    expiresAtMs: Number(job.expiresAtMs) || undefined,
    escalateAfterMs: Number(job.escalateAfterMs) || undefined,
    operationId,
  };
}
