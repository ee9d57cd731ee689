import { JetStreamApiError } from "@nats-io/jetstream";
import type { MsgHdrs } from "@nats-io/transport-node";
import { failure } from "../errors.ts";
import type { Broker } from "./connect.ts";

/** JSStreamStoreFailedF: the store refused the message, for one of several reasons that share the code. */
const storeFailed = 10077;

/** What came of {@link Publisher.store}. */
export type Stored =
  | { readonly kind: "stored"; readonly stream: string; readonly sequence: number }
  | { readonly kind: "refused"; readonly reason: string };

/** Writes to the broker. */
export interface Publisher {
  /**
   * Stores one message under a subject of its own. Tries again while the broker is away, which is safe: the subject
   * can be taken once only. `refused` when the subject is taken (perhaps by an earlier try of this very call) or the
   * stream is full; the caller looks which.
   *
   * @throws NetworkError (90004) when the broker has not acknowledged within the send timeout. The message may be
   * stored all the same.
   */
  store(subject: string, payload: Uint8Array, headers: MsgHdrs): Promise<Stored>;
  /**
   * Publishes to whoever listens now; nothing is stored or acknowledged.
   *
   * @throws NetworkError (90004) when the broker stays away for the send timeout.
   */
  push(subject: string, payload: Uint8Array): Promise<void>;
}

/** Options of {@link createPublisher}. */
export interface PublisherOptions {
  /** How long a write may take, with all its tries, in milliseconds. */
  readonly sendTimeoutMs: number;
}

/** Creates the publisher of a broker connection. */
export function createPublisher(broker: Broker, options: PublisherOptions): Publisher {
  return {
    async store(subject, payload, headers) {
      const deadlineMs = Date.now() + options.sendTimeoutMs;
      for (;;) {
        await broker.whenConnected(deadlineMs);
        try {
          // One try gets a second at most, so that a broker that was restarted in between is asked again.
          const timeout = Math.max(1, Math.min(1_000, deadlineMs - Date.now()));
          const ack = await broker.js.publish(subject, payload, { headers, timeout, retries: 0 });
          return { kind: "stored", stream: ack.stream, sequence: ack.seq };
        } catch (error) {
          if (error instanceof JetStreamApiError) {
            if (error.code === storeFailed) return { kind: "refused", reason: error.message };
            throw failure("NetworkError", `the broker refused the write: ${error.message}`, error);
          }
          if (Date.now() + retryDelayMs >= deadlineMs) {
            throw failure("NetworkError", "the broker did not acknowledge the write in time", error);
          }
          await new Promise((resolve) => setTimeout(resolve, retryDelayMs));
        }
      }
    },
    async push(subject, payload) {
      await broker.whenConnected(Date.now() + options.sendTimeoutMs);
      broker.nc.publish(subject, payload);
    },
  };
}

/** Pause before the next try of a write that the broker did not answer, in milliseconds. */
const retryDelayMs = 50;
