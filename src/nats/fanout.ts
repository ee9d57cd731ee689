import type { Logger } from "pino";
import { failure } from "../errors.ts";
import type { Broker } from "./connect.ts";
import { type DirectGet, tooManyResults } from "./direct-get.ts";
import { decodeItem, encodeItem, type InboxItem, itemKey, type WriteOptions } from "./inbox-items.ts";
import type { Publisher } from "./publish.ts";
import { declareStream } from "./streams.ts";
import { fanoutFilter, fanoutStreamSubjects, fanoutSubject, messageToken, toPartition, toToken } from "./subjects.ts";
import { startWorker, workQueueStream } from "./work-queue.ts";

const streamName = "FANOUT";

/** Group sends are expanded in this many lanes, each in order; more instances than lanes would have nothing to do. */
const lanes = 8;

/** A group send that is to be expanded into the inboxes of the members. */
export interface FanoutJob extends WriteOptions {
  /** What each of them gets, in this order: the notification, the chat copy, or both. */
  readonly items: readonly InboxItem[];
  readonly groupId: string;
  /** The version of the group whose members get it. */
  readonly groupVersion: number;
}

/** The group sends that wait to be expanded. */
export interface Fanout {
  /**
   * Queues a job, once for each client message id.
   *
   * @throws NetworkError (90004) when the broker did not acknowledge in time.
   */
  publish(job: FanoutJob): Promise<void>;
  /**
   * Whether a notification to a group still waits or is being expanded.
   *
   * @throws NetworkError (90004) when the broker does not answer in time.
   */
  isQueued(groupId: string, clientMsgId: string): Promise<boolean>;
  /** Does the jobs, those of a group in order, together with the other instances. Resolves to how to stop. */
  work(expand: (job: FanoutJob, signal: AbortSignal) => Promise<void>): Promise<() => Promise<void>>;
}

/** Opens the queue of group sends. */
export async function openFanout(
  broker: Broker,
  publisher: Publisher,
  get: DirectGet,
  options: { readonly replicas: number; readonly log: Logger },
): Promise<Fanout> {
  await declareStream(broker, workQueueStream(streamName, fanoutStreamSubjects, options.replicas));
  return {
    async publish(job) {
      const lane = toPartition(toToken(job.groupId), lanes);
      const subject = fanoutSubject(lane, job.items.map((item) => itemKey(item).id).join("+"));
      const stored = await publisher.store(streamName, { subject, payload: encodeJob(job), headers: {} });
      if (stored.kind === "stored") return;
      const waiting = await get(streamName, { last_by_subj: subject });
      // Queued already, or expanded in the meantime: then the next delivery of the same send finds it all there.
      if (waiting !== tooManyResults && waiting.messages.length > 0) return;
      throw failure("NetworkError", `the broker refused the write: ${stored.reason}`);
    },
    async isQueued(groupId, clientMsgId) {
      const lane = toPartition(toToken(groupId), lanes);
      const id = toToken(clientMsgId);
      // Alone, or with its chat copy.
      const subjects = [id, `${id}+${messageToken(clientMsgId)}`].map((token) => fanoutSubject(lane, token));
      const found = await get(streamName, { multi_last: subjects });
      return found === tooManyResults || found.messages.length > 0;
    },
    async work(expand) {
      const workers = await Promise.all(
        Array.from({ length: lanes }, (_, lane) =>
          startWorker(broker, {
            stream: streamName,
            durable: `fanout_${lane}`,
            filter: fanoutFilter(lane),
            work: (job, signal) => expand(decodeJob(job.data), signal),
            log: options.log,
          }),
        ),
      );
      return async () => {
        await Promise.all(workers.map((worker) => worker.stop()));
      };
    },
  };
}

function encodeJob({ items, ...job }: FanoutJob): Buffer {
  const encoded = items.map((item) => ({ kind: item.kind, base64: Buffer.from(encodeItem(item)).toString("base64") }));
  return Buffer.from(JSON.stringify({ ...job, items: encoded }));
}

function decodeJob(payload: Uint8Array): FanoutJob {
  const { items, ...job }: Omit<FanoutJob, "items"> & { items: { kind: InboxItem["kind"]; base64: string }[] } =
    JSON.parse(Buffer.from(payload).toString("utf8"));
  return { ...job, items: items.map(({ kind, base64 }) => decodeItem(kind, Buffer.from(base64, "base64"))) };
}
