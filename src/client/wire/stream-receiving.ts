import type { Cursor } from "./cursor.ts";
import type { CallOptions, Delivery, Receiving, Subscription } from "./delivery.ts";
import type { MustreachClientError } from "./error.ts";
import type { Received } from "./event.ts";
import { withDeadline } from "./wait.ts";

/** A session whose stream goes both ways. */
export interface ReceiveStream {
  /** The next event. */
  next(): Promise<IteratorResult<Received, unknown>>;
  acknowledge(cursor: Cursor): void;
  pause(): void;
  /** Everything up to a sequence was acknowledged by a call. */
  acknowledged(sequence: bigint): void;
  close(): void;
}

export interface StreamReceivingOptions {
  /** Opens a stream, which ends with the signal. */
  readonly open: (request: Subscription, options: CallOptions) => ReceiveStream;

  /** Whether the service itself said it, so that another way would not help. */
  readonly isOfService: (thrown: unknown) => boolean;

  /** Whether nobody answered at all, which tells nothing of this way. */
  readonly isUnreachable: (thrown: unknown) => boolean;

  /** What was thrown, as an error of the client. */
  readonly toError: (thrown: unknown) => MustreachClientError;

  /** A stream that had begun, and was broken by what is in between. */
  readonly toBroken: (thrown: unknown) => MustreachClientError;

  /** As of {@link Receiving}. */
  readonly turn: () => Promise<void>;

  /** Told once why another way is taken. */
  readonly debug: (problem: unknown) => void;

  /** That other way, and `ack`. */
  readonly other: Delivery;
}

/** How long a stream may take to begin, in milliseconds: a proxy that keeps back what a device says lets nothing begin. */
const beginMs = 3_000;

/** How long the other way is taken where a stream could not begin, before one is tried again, in milliseconds. */
const retryMs = 600_000;

/** The service by a stream of both directions, where it and all that is in between can do that; else by another way. */
export function createStreamReceiving(options: StreamReceivingOptions): Receiving {
  const { open, isOfService, isUnreachable, toError, toBroken, turn, debug, other } = options;
  let session: ReceiveStream | undefined;
  let retryAt = 0;
  let isTold = false;

  function giveUp(problem: unknown) {
    // One that could not connect may have come a moment too early.
    if (!isUnreachable(problem)) retryAt = Date.now() + retryMs;
    if (isTold) return;
    isTold = true;
    debug(problem);
  }

  return {
    async *subscribe(request, options) {
      const { signal } = options;
      let problem: unknown;
      if (Date.now() >= retryAt) {
        let stream: ReceiveStream | undefined;
        let hasBegun = false;
        try {
          stream = open(request, options);
          for (;;) {
            const { done, value } = hasBegun ? await stream.next() : await withDeadline(beginMs, signal, stream.next);
            if (done === true && hasBegun) return;
            if (done === true) throw new Error("the stream ended at once");
            hasBegun = true;
            session = stream;
            yield value;
          }
        } catch (thrown) {
          if (signal.aborted || isOfService(thrown)) throw toError(thrown);
          if (hasBegun) throw toBroken(thrown);
          problem = thrown;
        } finally {
          if (session === stream) session = undefined;
          stream?.close();
        }
      }
      for await (const event of other.subscribe(request, options)) {
        // It is not the network, nor the service.
        if (problem !== undefined) giveUp(problem);
        problem = undefined;
        yield event;
      }
    },
    async ack(request, options) {
      const answer = await other.ack(request, options);
      session?.acknowledged(request.sequence);
      return answer;
    },
    acknowledge(cursor) {
      session?.acknowledge(cursor);
      return session !== undefined;
    },
    pause() {
      session?.pause();
    },
    turn,
  };
}
