import { DiscardPolicy, JetStreamApiError } from "@nats-io/jetstream";
import type { Logger } from "pino";
import { failure } from "../errors.ts";
import type { Broker } from "./connect.ts";
import { type DirectGet, tooManyResults } from "./direct-get.ts";
import type { Publisher } from "./publish.ts";
import { declareStream } from "./streams.ts";
import { dueFilter, dueSubject, scheduleStreamSubjects, scheduleSubject } from "./subjects.ts";
import { startWorker, workQueueStream } from "./work-queue.ts";

const streamName = "SCHEDULE";

/** The sends that wait for their time, kept by the broker (ADR-51). */
export interface Schedule {
  /**
   * Keeps a payload until its time, once for each key.
   *
   * @throws NetworkError (90004) when the broker did not acknowledge in time.
   */
  add(key: string, atMs: number, payload: Uint8Array): Promise<void>;
  /** Drops what waits under a key; false when nothing does, or its time has come. */
  cancel(key: string): Promise<boolean>;
  /** Handles what is due, together with the other instances. Resolves to how to stop. */
  work(deliver: (payload: Uint8Array) => Promise<void>): Promise<() => Promise<void>>;
}

/** Opens the schedule, and creates it on first use. */
export async function openSchedule(
  broker: Broker,
  publisher: Publisher,
  get: DirectGet,
  options: { readonly replicas: number; readonly log: Logger },
): Promise<Schedule> {
  await declareStream(broker, {
    ...workQueueStream(streamName, scheduleStreamSubjects, options.replicas),
    // Schedules exclude `discard: new` (ADR-51): a second add replaces the first, which is the same.
    discard: DiscardPolicy.Old,
    discard_new_per_subject: false,
    allow_msg_schedules: true,
    allow_msg_ttl: true,
  });

  const find = async (subject: string): Promise<number | undefined> => {
    const found = await get(streamName, { last_by_subj: subject });
    return found === tooManyResults ? undefined : found.messages[0]?.sequence;
  };

  return {
    async add(key, atMs, payload) {
      const subject = scheduleSubject(key);
      const headers = {
        "Nats-Schedule": `@at ${new Date(atMs).toISOString()}`,
        "Nats-Schedule-Target": dueSubject(key),
      };
      const stored = await publisher.store(streamName, { subject, payload, headers });
      if (stored.kind === "stored") return;
      throw failure("NetworkError", `the broker refused the write: ${stored.reason}`);
    },
    async cancel(key) {
      const sequence = await find(scheduleSubject(key));
      if (sequence === undefined) return false;
      try {
        return await broker.jsm.streams.deleteMessage(streamName, sequence, true);
      } catch (cause) {
        // It has become due in the meantime.
        if (cause instanceof JetStreamApiError) return false;
        throw failure("NetworkError", "the broker did not answer in time", cause);
      }
    },
    async work(deliver) {
      const worker = await startWorker(broker, {
        stream: streamName,
        durable: "due",
        filter: dueFilter,
        work: (job) => deliver(job.data),
        log: options.log,
      });
      return () => worker.stop();
    },
  };
}
