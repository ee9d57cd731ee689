import { failure } from "../errors.ts";
import type { Broker } from "./connect.ts";
import { isIncomplete, mayBeTaken, toRefusal } from "./faults.ts";
import { createGroupCommit } from "./group-commit.ts";
import { createLimit } from "./limit.ts";
import { untilAnswered } from "./until.ts";
import { type Stored, type Write, write } from "./write.ts";

/** Writes to the broker. */
export interface Publisher {
  /**
   * Stores one message under a subject of its own. Tries again while the broker is away, which is safe: the subject
   * can be taken once only. `refused` when the subject is taken (perhaps by an earlier try of this very call) or the
   * stream is full; the caller looks which.
   *
   * @param stream the stream that has the subject.
   * @throws NetworkError (90004) when the broker has not acknowledged within the send timeout: the message may be
   * stored all the same. TooManyRequestsError (429) when 128 MiB wait here already. ArgsError (1001) for one that is larger than the broker takes, BrokerRefusedError (90102) for
   * what it refuses for another reason.
   */
  store(stream: string, write: Write): Promise<Stored>;
  /**
   * Stores messages of one stream, all or none. Tries again while the broker is away. `refused` when a subject is taken
   * or the stream is full. Throws as {@link store}.
   */
  storeAll(writes: readonly Write[]): Promise<Stored>;
}

/** Decides, by subject, whether a write may leave. */
export interface WriteGate {
  /** Whether it may at this moment, on the connection as it is. */
  isOpen(subject: string): boolean;
  /**
   * Resolves when it may.
   *
   * @throws NetworkError (90004) when the broker does not answer in time.
   */
  open(subject: string): Promise<void>;
}

/** Options of {@link createPublisher}. */
export interface PublisherOptions {
  /** How long a write may take, with all its tries, in milliseconds. */
  readonly sendTimeoutMs: number;
  /** Whether the broker syncs every write to disk. */
  readonly isFsynced: () => boolean;
  /** Default: always open. */
  readonly gate?: WriteGate;
}

/** Writes that the broker is asked for at a time; more wait here. Where it syncs each write, batches come before. */
const maxInFlight = 1_024;

/** What is written at a time adds up to this, in bytes: a batch has 4 MiB, and two streams have two. */
const maxInFlightBytes = 33_554_432;

/** Writes that are asked for and not answered yet add up to this, in bytes; one more is refused. */
const maxHeldBytes = 134_217_728;

const alwaysOpen: WriteGate = { isOpen: () => true, open: async () => {} };

/** A write found the gate shut when its turn came: the connection is another than the one that it was opened for. */
const shut = Symbol("shut");

/** One try gets this long at most, in milliseconds: a write may be lost when a stream changes its leader. */
const tryTimeoutMs = 2_500;

/** Creates the publisher of a broker connection. */
export function createPublisher(broker: Broker, options: PublisherOptions): Publisher {
  const streams = new Map<string, (write: Write) => Promise<Stored>>();
  const limit = createLimit({ maxInFlight, maxWeight: maxInFlightBytes });
  let heldBytes = 0;

  const { gate = alwaysOpen } = options;

  /** Looks in the same turn in which the write leaves. */
  const requireOpen = (subject: string) => {
    if (!gate.isOpen(subject)) throw shut;
  };

  const leave = (writes: readonly Write[]): Promise<Stored> =>
    limit(bytesOf(writes), () => {
      for (const { subject } of writes) requireOpen(subject);
      return write(broker, writes, tryTimeoutMs);
    });

  const storeOne = async (one: Write): Promise<Stored> => {
    const stored = await leave([one]);
    if (stored.kind === "refused" && !mayBeTaken(stored)) throw toRefusal(stored);
    return stored;
  };

  const storeAll = async (writes: readonly Write[]): Promise<Stored> => {
    const stored = await leave(writes);
    // Nothing is wrong with it: the broker was too busy.
    if (stored.kind === "refused" && isIncomplete(stored)) throw toRefusal(stored);
    return stored;
  };

  const writesOf = (stream: string) => {
    let store = streams.get(stream);
    if (store === undefined) {
      store = createGroupCommit({ isWorthwhile: options.isFsynced, storeOne, storeAll });
      streams.set(stream, store);
    }
    return store;
  };

  /** Opens the gate, as often as it is shut again before the write has left. */
  const throughGate = async (subject: string, attempt: () => Promise<Stored>): Promise<Stored> => {
    for (;;) {
      await gate.open(subject);
      try {
        return await attempt();
      } catch (thrown) {
        if (thrown !== shut) throw thrown;
      }
    }
  };

  const persist = async (bytes: number, attempt: () => Promise<Stored>): Promise<Stored> => {
    if (heldBytes > 0 && heldBytes + bytes > maxHeldBytes) {
      throw failure("TooManyRequestsError", "this instance has as many writes waiting as it holds in memory");
    }
    heldBytes += bytes;
    try {
      return await untilAnswered(broker, Date.now() + options.sendTimeoutMs, attempt);
    } finally {
      heldBytes -= bytes;
    }
  };

  return {
    store: (stream, write) =>
      persist(write.payload.length, () => throughGate(write.subject, () => writesOf(stream)(write))),
    storeAll: (writes) => persist(bytesOf(writes), () => throughGate(writes[0]?.subject ?? "", () => storeAll(writes))),
  };
}

function bytesOf(writes: readonly Write[]): number {
  return writes.reduce((bytes, { payload }) => bytes + payload.length, 0);
}
