import { beginning, type Cursor } from "./wire/cursor.ts";
import { isFatal, type MustreachClientError, toClientError } from "./wire/error.ts";
import { type Patience, wait } from "./wire/wait.ts";

export interface AckerOptions {
  /** Tells the service once. Resolves to whether it has answered: else a later session or {@link Acker.idle} tells it again. */
  readonly call: (cursor: Cursor) => Promise<boolean>;

  /** Resolves when what is acknowledged together has been. Default: nothing is waited for. */
  readonly gather?: (() => Promise<void>) | undefined;

  /** Between attempts, when a call fails. */
  readonly patience: Patience;

  /** Aborted when the client closes: then a failed call is not tried again. */
  readonly draining: AbortSignal;

  /** Told of each failed call. */
  readonly onError: (error: MustreachClientError) => void;
}

export type Acker = ReturnType<typeof createAcker>;

/** Tells the service how far the device is. */
export function createAcker({ call, gather, patience, draining, onError }: AckerOptions) {
  let wanted = beginning;
  let acked = beginning;
  let isAnswered = true;
  let knownByService = 0n;
  let busy = false;
  let running = Promise.resolve();
  let retryNow = new AbortController();

  async function run() {
    busy = true;
    while (wanted !== acked && wanted.sequence > 0n) {
      await gather?.();
      const cursor = wanted;
      const lastAttempt = draining.aborted;
      try {
        isAnswered = await call(cursor);
        acked = cursor;
        patience.reset();
      } catch (thrown) {
        const error = toClientError(thrown);
        onError(error);
        if (lastAttempt || isFatal(error)) break;
        await wait(patience.next(error), AbortSignal.any([draining, retryNow.signal]));
      }
    }
    busy = false;
  }

  function start() {
    if (!busy) running = run();
  }

  return {
    /** Acknowledges everything up to a cursor. At most one call is on its way; the next carries the last. */
    ack(cursor: Cursor) {
      if (cursor.sequence !== wanted.sequence || cursor.epoch !== wanted.epoch) wanted = cursor;
      if (cursor.sequence <= knownByService) acked = wanted;
      start();
    },
    /**
     * A session has begun of which the service knows that everything up to `known` is acknowledged. What is above that
     * is acknowledged again: the service may have stopped before it stored it.
     */
    renew(known: bigint) {
      knownByService = known;
      acked = wanted.sequence <= known ? wanted : beginning;
      patience.reset();
      retryNow.abort();
      retryNow = new AbortController();
      start();
    },
    /**
     * Resolves when everything is acknowledged, or when the attempt after the start of draining has failed.
     *
     * @param options.isAnswered whether the service has to have answered.
     */
    async idle(options: { readonly isAnswered: boolean }) {
      while (busy) await running;
      if (!options.isAnswered || isAnswered) return;
      acked = beginning;
      start();
      while (busy) await running;
    },
  };
}
