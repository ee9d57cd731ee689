import { create, toBinary } from "@bufbuild/protobuf";
import type { Logger } from "pino";
import type { Broker } from "../broker/connect.ts";
import { work } from "../broker/consumers/work.ts";
import { judge, toRefusal } from "../broker/faults.ts";
import type { DirectGet } from "../broker/reads/direct-get.ts";
import type { Collapsing } from "../collapsing/collapse.ts";
import { decodeStored } from "../decode-stored.ts";
import { errorTable, failure, toErrorFacts } from "../errors.ts";
import { MessageSchema, NotificationSchema } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import { FanoutJobSchema } from "../gen/mustreach/store/v1/job_pb.ts";
import type { Inbox } from "../inbox/inbox.ts";
import { type InboxItem, itemKey, type WriteOptions } from "../inbox/items.ts";
import type { Publisher } from "../publishing/publish.ts";
import type { Recalls } from "../recalling/findings.ts";
import { fanoutJobs, fanoutStream, fanoutSubject, laneOf, lanes } from "./layout.ts";

/** How often a job is queued that was done whenever it was looked for. */
const maxTries = 5;

/** Members are written this many at a time, so that a recall in between stops the rest. */
const chunkSize = 5_000;

/** A send to a group or a list that is to be expanded into the inboxes of the members, or the users. */
export interface FanoutJob extends WriteOptions {
  /** What each of them gets, in this order: the notification, its chat copy, or both. */
  readonly items: readonly InboxItem[];
  /** Empty for a list. */
  readonly groupId: string;
  /** The version of the group whose members get it. */
  readonly groupVersion: number;
  /** The users of a list. */
  readonly recvUserIds: readonly string[];
}

/** The sends to groups and lists that wait to be expanded. */
export interface Fanout {
  /**
   * Queues a job, once for each send.
   *
   * @throws NetworkError (90004) when the broker did not acknowledge in time, StoreFullError (90101) when it has no
   * space.
   */
  publish(job: FanoutJob): Promise<void>;
  /** Does the jobs, those of a group, or of the same list, in order, together with the other instances. Resolves to how to stop. */
  work(expand: (job: FanoutJob, signal: AbortSignal) => Promise<void>): Promise<() => Promise<void>>;
}

export function createFanout(broker: Broker, publisher: Publisher, get: DirectGet, log: Logger): Fanout {
  return {
    async publish(job) {
      const subject = fanoutSubject(laneOf(job), job.items.map((item) => itemKey(item).id).join("+"));
      const write = { subject, payload: encodeFanoutJob(job), headers: {} };
      for (let tried = 1; ; tried++) {
        const stored = await publisher.store(fanoutStream, write);
        if (stored.kind === "stored") return;
        // Queued already.
        if ((await get.last(fanoutStream, subject)) !== undefined) return;
        // Or done between the two looks: queued again, it finds everything there. A full stream is no such thing.
        const refusal = toRefusal(stored);
        if (judge(refusal).kind !== "retry" || tried === maxTries) throw refusal;
      }
    },
    async work(expand) {
      const stops = await Promise.all(
        Array.from({ length: lanes }, (_, lane) =>
          work(broker, {
            ...fanoutJobs(lane),
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

/** The members of a group at a version. */
export type MembersAt = (groupId: string, version: number) => Promise<readonly string[]>;

export interface ExpandDeps {
  readonly inbox: Pick<Inbox, "writeMany">;
  readonly recalls: Pick<Recalls, "recalledAt">;
  readonly membersAt: MembersAt;
  readonly collapsing: Collapsing;
  /** Recalls again a send that was recalled while it was being expanded. */
  readonly recallAgain: (serverMsgId: string, operationId: string) => Promise<void>;
}

/**
 * Expands a send into the inboxes of those who were members of the group when it was sent, or are in its list. A worker that is killed leaves the
 * rest to the next one: copies that are there already are left as they are.
 */
export async function expand(deps: ExpandDeps, job: FanoutJob, signal: AbortSignal): Promise<void> {
  const { inbox, recalls, membersAt, recallAgain, collapsing } = deps;
  const { items, groupId, groupVersion, recvUserIds, ...options } = job;
  const members = groupId === "" ? recvUserIds : await membersAt(groupId, groupVersion);
  const own = items.find((item) => item.kind === "notification")?.notification;
  const collapsible = own?.collapseKey ? own : undefined;
  const announced = collapsible && (await collapsing.announce(collapsible, groupVersion, options.report !== undefined));
  for (const item of items) {
    // Only notifications are recalled.
    const serverMsgId = item.kind === "notification" ? item.notification.serverMsgId : "";
    const isRecalled = async () => serverMsgId !== "" && (await recalls.recalledAt(serverMsgId)) !== undefined;
    for (let start = 0; start < members.length && !(await isRecalled()); start += chunkSize) {
      signal.throwIfAborted();
      await inbox.writeMany(members.slice(start, start + chunkSize), item, options);
    }
    // It may have ended halfway.
    if (await isRecalled()) await recallAgain(serverMsgId, job.operationId).catch(unlessGone);
  }
  if (collapsible !== undefined && announced !== undefined)
    await collapsing.settle(collapsible, announced, job.operationId);
}

/** The mark of a recall may outlive the record of its send: then nothing is left that could be recalled. */
function unlessGone(error: unknown): void {
  if (toErrorFacts(error).errCode !== errorTable.RecordNotFoundError.errCode) throw error;
}

/** The stored form of a job. The notification is in it once, so that a job is hardly larger than what it writes. */
export function encodeFanoutJob({ items, groupVersion, report, ...job }: FanoutJob) {
  const { expiresAtMs = 0, escalateAfterMs = 0 } = job;
  const own = items.find((item) => item.kind === "notification")?.notification;
  const copy = items.find((item) => item.kind === "message")?.message;
  const notification = own ?? copy?.notification;
  if (notification === undefined) throw new TypeError("a job without a notification");
  return toBinary(
    FanoutJobSchema,
    create(FanoutJobSchema, {
      ...job,
      recvUserIds: [...job.recvUserIds],
      groupVersion: BigInt(groupVersion),
      notification: toBinary(NotificationSchema, notification),
      mustReach: own !== undefined,
      ...(copy && {
        chatPlace: { conversationId: copy.conversationId, conversationSequence: copy.conversationSequence },
      }),
      expiresAtMs: BigInt(expiresAtMs),
      escalateAfterMs: BigInt(escalateAfterMs),
      report: report !== undefined,
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
  const { groupId, recvUserIds, operationId, chatPlace } = job;
  const notification = decodeStored(NotificationSchema, job.notification);
  if ((groupId === "") === (recvUserIds.length === 0) || notification.serverMsgId === "") {
    throw failure("ServerInternalError", "what is stored is a fan-out without a recipient or a notification");
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
    recvUserIds,
    expiresAtMs: Number(job.expiresAtMs) || undefined,
    escalateAfterMs: Number(job.escalateAfterMs) || undefined,
    operationId,
    report: job.report ? "send" : undefined,
  };
}
