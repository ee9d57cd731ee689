import {
  AckPolicy,
  DiscardPolicy,
  type JsMsg,
  RetentionPolicy,
  StorageType,
  type StreamConfig,
} from "@nats-io/jetstream";
import { nanos } from "@nats-io/transport-node";
import type { Logger } from "pino";
import type { Broker } from "./connect.ts";
import { declareConsumer } from "./declare-consumer.ts";

/** A job whose worker has given no sign of life for this long is given to another, in milliseconds. */
const ackWaitMs = 10_000;

/** How often a worker gives one, in milliseconds. */
const aliveEveryMs = 3_000;

/** The wait before a job that failed is tried again, in milliseconds: doubled from the first to the last. */
const retryMs = { first: 200, last: 30_000 } as const;

/** How long one request for a job waits at the broker, in milliseconds. */
const pullMs = 20_000;

/** The declaration of a stream whose messages are jobs, each removed when it is done. */
export function workQueueStream(
  name: string,
  subjects: string[],
  replicas: number,
): Partial<StreamConfig> & { name: string } {
  return {
    name,
    subjects,
    retention: RetentionPolicy.Workqueue,
    storage: StorageType.File,
    num_replicas: replicas,
    discard: DiscardPolicy.New,
    // A job is queued once: a second publish of it is refused while it waits.
    max_msgs_per_subject: 1,
    discard_new_per_subject: true,
    allow_direct: true,
  };
}

/** Options of {@link startWorker}. */
export interface WorkerOptions<J> {
  readonly stream: string;
  /** The durable consumer that the workers of all instances share. */
  readonly durable: string;
  /** The subjects of its jobs. */
  readonly filter: string;
  /** Reads a job. One for which it throws is dropped, and told in the log: it would fail each time, and block the rest. */
  readonly decode: (payload: Uint8Array) => J;
  /** Does a job. It is called again, here or elsewhere, until it resolves, so it must be idempotent. */
  readonly work: (job: J, signal: AbortSignal) => Promise<void>;
  readonly log: Logger;
}

/** A worker; one job at a time over all instances, in order. */
export interface Worker {
  /** Stops; a job under way is given up and done again by another. */
  stop(): Promise<void>;
}

/** Starts a worker of a durable consumer, and creates the consumer on first use. */
export async function startWorker<J>(broker: Broker, options: WorkerOptions<J>): Promise<Worker> {
  const { stream, durable, filter, decode, work, log } = options;
  const stopping = new AbortController();
  await declareConsumer(broker, stream, {
    durable_name: durable,
    filter_subject: filter,
    ack_policy: AckPolicy.Explicit,
    ack_wait: nanos(ackWaitMs),
    // One at a time keeps the jobs of a lane in order, whichever instance does them.
    max_ack_pending: 1,
    max_deliver: -1,
  });

  const read = (job: JsMsg): J | undefined => {
    try {
      return decode(job.data);
    } catch (err) {
      const { subject, seq: sequence } = job;
      log.error(
        { err, durable, stream, subject, sequence },
        "a job cannot be read and is dropped: nobody gets what it was",
      );
      job.term("it cannot be read");
      return undefined;
    }
  };

  const handle = async (job: JsMsg): Promise<void> => {
    const content = read(job);
    if (content === undefined) return;
    const alive = setInterval(() => job.working(), aliveEveryMs);
    try {
      await work(content, stopping.signal);
      // Confirmed: a job that is acknowledged into nowhere would be done twice.
      await job.ackAck();
    } catch (err) {
      if (stopping.signal.aborted) return;
      const delayMs = Math.min(retryMs.last, retryMs.first * 2 ** Math.min(job.info.deliveryCount - 1, 10));
      log.warn({ err, durable, deliveries: job.info.deliveryCount, delayMs }, "a job failed; it is tried again");
      job.nak(delayMs);
    } finally {
      clearInterval(alive);
    }
  };

  const run = async (): Promise<void> => {
    const consumer = await broker.js.consumers.get(stream, durable);
    while (!stopping.signal.aborted) {
      try {
        await broker.whenConnected(Date.now() + pullMs);
        const job = await abortable(consumer.next({ expires: pullMs }), stopping.signal);
        if (job !== null) await handle(job);
      } catch (err) {
        if (stopping.signal.aborted) return;
        log.debug({ err, durable }, "cannot ask for jobs now");
        await new Promise((resolve) => setTimeout(resolve, retryMs.first));
      }
    }
  };

  const running = run().catch((err: unknown) => log.error({ err, durable }, "a worker has ended"));
  return {
    async stop() {
      stopping.abort();
      await running;
    },
  };
}

function abortable<T>(promise: Promise<T>, signal: AbortSignal): Promise<T | null> {
  if (signal.aborted) return Promise.resolve(null);
  return new Promise((resolve, reject) => {
    const stop = () => resolve(null);
    signal.addEventListener("abort", stop, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
  });
}
