import type { Broker } from "../connect.ts";
import { type ConsumeOptions, consume, type Delivery } from "./consume.ts";
import type { ConsumerSpec } from "./declare.ts";

/**
 * A job whose worker has given no sign of life for this long is given to another, in milliseconds: what waits behind the
 * job of one that was killed waits so long. A worker that was only slow does it as well, which does no harm.
 */
const ackWaitMs = 2_500;

/** How often a worker gives one, in milliseconds: two may be late. */
const aliveEveryMs = 800;

/**
 * The wait before a job that failed is tried again, in milliseconds: doubled from the first to the last. What waits behind
 * it waits too, so it is not long: when the broker is well again, the job has to be done soon.
 */
const retryMs = { first: 200, last: 1_600 } as const;

/** Where the jobs of a durable consumer are. */
export interface JobSpec {
  readonly stream: string;
  readonly durable: string;
  readonly filter: string;
}

/** The durable consumer of jobs: one at a time, over all instances. */
export function jobConsumer(spec: JobSpec): ConsumerSpec {
  return { ...spec, ackWaitMs, maxAckPending: 1 };
}

/** Jobs, and how they are done. */
export interface WorkOptions<J> extends JobSpec, Pick<ConsumeOptions, "log"> {
  /** Reads a job. One for which it throws is dropped, and told in the log: it would fail each time, and block the rest. */
  readonly decode: (payload: Uint8Array) => J;
  /** Does a job. It is called again, here or elsewhere, until it resolves, so it must be idempotent. */
  readonly work: (job: J, signal: AbortSignal) => Promise<void>;
}

/**
 * Does the jobs of a durable consumer, one at a time over all instances, in order. Resolves to how to stop: a job under
 * way is given up and done again by another.
 *
 * @throws when the broker refuses the consumer or does not answer.
 */
export async function work<J>(broker: Broker, options: WorkOptions<J>): Promise<() => Promise<void>> {
  const { decode, work, log, stream, durable, filter } = options;
  const stopping = new AbortController();
  const { signal } = stopping;
  let underWay = Promise.resolve();

  const handle = async (job: J, delivery: Delivery): Promise<void> => {
    const alive = setInterval(delivery.working, aliveEveryMs);
    try {
      await work(job, signal);
      // A job that is acknowledged into nowhere would be done twice, and hold up its lane until then.
      await delivery.doubleAck();
    } catch (err) {
      if (signal.aborted) return;
      const delayMs = Math.min(retryMs.last, retryMs.first * 2 ** Math.min(delivery.count - 1, 10));
      log.warn({ err, durable, deliveries: delivery.count, delayMs }, "a job failed; it is tried again");
      delivery.nak(delayMs);
    } finally {
      clearInterval(alive);
    }
  };

  const jobs = await consume(broker, {
    ...jobConsumer({ stream, durable, filter }),
    log,
    // One asked for ahead: the broker, which gives out one at a time, has it on its way when one is done. Not more: an
    // instance that is frozen, or out of reach, holds up the others for an ack wait with each.
    maxHeld: 2,
    onDelivery(delivery) {
      const job = decode(delivery.payload);
      underWay = underWay.then(() => handle(job, delivery));
    },
  });
  return async () => {
    stopping.abort();
    await jobs.pause();
    await underWay;
    await jobs.stop();
  };
}
