import { JetStreamApiError } from "@nats-io/jetstream";
import { headers as newHeaders } from "@nats-io/transport-node";
import { failure } from "../errors.ts";
import { storeBatch } from "./batch.ts";
import type { Broker } from "./connect.ts";
import { createGroupCommit, type Stored, type Write } from "./group-commit.ts";

/** JSStreamStoreFailedF: the store refused the message, for one of several reasons that share the code. */
const storeFailed = 10077;

/** Writes to the broker. */
export interface Publisher {
  /**
   * Stores one message under a subject of its own. Tries again while the broker is away, which is safe: the subject
   * can be taken once only. `refused` when the subject is taken (perhaps by an earlier try of this very call) or the
   * stream is full; the caller looks which.
   *
   * @param stream the stream that has the subject.
   * @throws NetworkError (90004) when the broker has not acknowledged within the send timeout. The message may be
   * stored all the same.
   */
  store(stream: string, write: Write): Promise<Stored>;
  /**
   * Stores messages of one stream, all or none. Tries again while the broker is away. `refused` when a subject is taken
   * or the stream is full.
   *
   * @throws NetworkError (90004) when the broker has not acknowledged within the send timeout.
   */
  storeAll(writes: readonly Write[]): Promise<Stored>;
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
  /** Whether the broker syncs every write to disk. */
  readonly isFsynced: () => boolean;
}

/** One try gets this long at most, in milliseconds: a write may be lost when a stream changes its leader. */
const tryTimeoutMs = 2_500;

/** Pause before the next try of a write that the broker did not answer, in milliseconds. */
const retryDelayMs = 50;

/** Creates the publisher of a broker connection. */
export function createPublisher(broker: Broker, options: PublisherOptions): Publisher {
  const streams = new Map<string, (write: Write) => Promise<Stored>>();

  const storeOne = async ({ subject, payload, headers }: Write): Promise<Stored> => {
    try {
      const ack = await broker.js.publish(subject, payload, {
        headers: toHeaders(headers),
        timeout: tryTimeoutMs,
        retries: 0,
      });
      return { kind: "stored", sequence: ack.seq };
    } catch (error) {
      if (!(error instanceof JetStreamApiError)) throw error;
      if (error.code === storeFailed) return { kind: "refused", reason: error.message };
      throw failure("NetworkError", `the broker refused the write: ${error.message}`, error);
    }
  };

  const storeAll = async (writes: readonly Write[]): Promise<Stored> => {
    const messages = writes.map((write) => ({ ...write, headers: toHeaders(write.headers) }));
    const stored = await storeBatch(broker, messages, tryTimeoutMs);
    return stored.kind === "stored" ? stored : { kind: "refused", reason: stored.reason };
  };

  const writesOf = (stream: string) => {
    let store = streams.get(stream);
    if (store === undefined) {
      store = createGroupCommit({ isWorthwhile: options.isFsynced, storeOne, storeAll });
      streams.set(stream, store);
    }
    return store;
  };

  /** Tries until the broker answers or the time is up. */
  const persist = async (attempt: () => Promise<Stored>): Promise<Stored> => {
    const deadlineMs = Date.now() + options.sendTimeoutMs;
    for (;;) {
      await broker.whenConnected(deadlineMs);
      try {
        return await whileConnected(broker, attempt(), deadlineMs);
      } catch (error) {
        if (error instanceof Error && error.name === "ConnectError") throw error;
        if (Date.now() + retryDelayMs >= deadlineMs) throw notInTime(error);
        await new Promise((resolve) => setTimeout(resolve, retryDelayMs));
      }
    }
  };

  return {
    store: (stream, write) => persist(() => writesOf(stream)(write)),
    storeAll: (writes) => persist(() => storeAll(writes)),
    async push(subject, payload) {
      await broker.whenConnected(Date.now() + options.sendTimeoutMs);
      broker.nc.publish(subject, payload);
    },
  };
}

/**
 * Waits for a write, in the queue and at the broker, until the caller's time is up. When the connection is lost, so is
 * the answer: the write is then tried again on the next one, at once.
 */
function whileConnected<T>(broker: Broker, work: Promise<T>, deadlineMs: number): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(notInTime()), deadlineMs - Date.now());
    const stopListening = broker.onDisconnect(() => reject(new Error("the connection to the broker was lost")));
    work.then(resolve, reject).finally(() => {
      clearTimeout(timer);
      stopListening();
    });
  });
}

function notInTime(cause?: unknown) {
  return failure("NetworkError", "the broker did not acknowledge the write in time", cause);
}

function toHeaders(headers: Readonly<Record<string, string>>) {
  const hdrs = newHeaders();
  for (const [name, value] of Object.entries(headers)) hdrs.set(name, value);
  return hdrs;
}
