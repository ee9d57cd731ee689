import type { Backoff } from "./backoff.ts";
import { isFatal, type MustreachClientError, toClientError } from "./error.ts";
import { wait } from "./wait.ts";

/** Tells the service how far the device is. */
export interface Acker {
  /** Acknowledges everything up to a sequence. At most one call is on its way; the next carries the highest. */
  ack(sequence: bigint): void;

  /**
   * A session has begun of which the service knows that everything up to `known` is acknowledged. What is above that
   * is acknowledged again: the service may have stopped before it stored it.
   */
  renew(known: bigint): void;

  /** Resolves when everything is acknowledged, or when the attempt after the start of draining has failed. */
  idle(): Promise<void>;
}

/** What an {@link Acker} needs. */
export interface AckerOptions {
  /** Makes one Ack call. */
  readonly call: (sequence: bigint) => Promise<void>;

  /** Between attempts, when a call fails. */
  readonly backoff: Backoff;

  /** Aborted when the client closes: then a failed call is not tried again. */
  readonly draining: AbortSignal;

  /** Told of each failed call. */
  readonly onError: (error: MustreachClientError) => void;
}

/** Creates an acker that has nothing to acknowledge. */
export function createAcker({ call, backoff, draining, onError }: AckerOptions): Acker {
  let wanted = 0n;
  let acked = 0n;
  let busy = false;
  let running = Promise.resolve();
  let retryNow = new AbortController();

  async function run() {
    busy = true;
    while (wanted > acked) {
      const sequence = wanted;
      const lastAttempt = draining.aborted;
      try {
        await call(sequence);
        if (sequence > acked) acked = sequence;
        backoff.reset();
      } catch (thrown) {
        const error = toClientError(thrown);
        onError(error);
        if (lastAttempt || isFatal(error)) break;
        await wait(backoff.next(), AbortSignal.any([draining, retryNow.signal]));
      }
    }
    busy = false;
  }

  function start() {
    if (!busy) running = run();
  }

  return {
    ack(sequence) {
      if (sequence > wanted) wanted = sequence;
      start();
    },
    renew(known) {
      acked = known;
      backoff.reset();
      retryNow.abort();
      retryNow = new AbortController();
      start();
    },
    async idle() {
      while (busy) await running;
    },
  };
}
