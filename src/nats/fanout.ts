import { fromBinary, toBinary } from "@bufbuild/protobuf";
import type { Logger } from "pino";
import { failure } from "../errors.ts";
import { type Notification, NotificationSchema } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import type { Broker } from "./connect.ts";
import { type DirectGet, tooManyResults } from "./direct-get.ts";
import type { Publisher } from "./publish.ts";
import { declareStream } from "./streams.ts";
import { fanoutFilter, fanoutStreamSubjects, fanoutSubject, toPartition, toToken } from "./subjects.ts";
import { startWorker, workQueueStream } from "./work-queue.ts";

const streamName = "FANOUT";

/** Group sends are expanded in this many lanes, each in order; more instances than lanes would have nothing to do. */
const lanes = 8;

const versionHeader = "Mustreach-Group-Version";
const optionsHeader = "Mustreach-Options";

/** A group send that is to be expanded into the inboxes of the members. */
export interface FanoutJob {
  readonly notification: Notification;
  /** The version of the group whose members get it. */
  readonly groupVersion: number;
  readonly expiresAtMs?: number | undefined;
  readonly escalateAfterMs?: number | undefined;
  readonly operationId: string;
}

/** The group sends that wait to be expanded. */
export interface Fanout {
  /**
   * Queues a job, once for each client message id.
   *
   * @throws NetworkError (90004) when the broker did not acknowledge in time.
   */
  publish(job: FanoutJob): Promise<void>;
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
    async publish({ notification, groupVersion, ...rest }) {
      const lane = toPartition(toToken(notification.recvGroupId), lanes);
      const subject = fanoutSubject(lane, toToken(notification.clientMsgId));
      const stored = await publisher.store(streamName, {
        subject,
        payload: toBinary(NotificationSchema, notification),
        headers: { [versionHeader]: String(groupVersion), [optionsHeader]: encodeURIComponent(JSON.stringify(rest)) },
      });
      if (stored.kind === "stored") return;
      const waiting = await get(streamName, { last_by_subj: subject });
      // Queued already, or expanded in the meantime: then the next delivery of the same send finds it all there.
      if (waiting !== tooManyResults && waiting.messages.length > 0) return;
      throw failure("NetworkError", `the broker refused the write: ${stored.reason}`);
    },
    async work(expand) {
      const workers = await Promise.all(
        Array.from({ length: lanes }, (_, lane) =>
          startWorker(broker, {
            stream: streamName,
            durable: `fanout_${lane}`,
            filter: fanoutFilter(lane),
            work: (job, signal) =>
              expand(
                {
                  notification: fromBinary(NotificationSchema, job.data),
                  groupVersion: Number(job.headers?.get(versionHeader)),
                  ...JSON.parse(decodeURIComponent(job.headers?.get(optionsHeader) ?? "")),
                },
                signal,
              ),
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
