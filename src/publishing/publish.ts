import type { Broker } from "../broker/connect.ts";
import { again, untilAnswered } from "../broker/until.ts";
import type { Followed, Stored, Write } from "../broker/write.ts";
import { deadlineIn } from "../deadline.ts";
import { failure } from "../errors.ts";
import { createLimit } from "../in-flight.ts";
import { bytesOf, createGroupCommit, type GroupCommit } from "./group-commit.ts";

/** Writes to the broker. */
export interface Publisher {
  /**
   * Stores one message under a subject of its own. Tries again while the broker is away, which is safe: the subject
   * can be taken once only. `refused` when the subject is taken (perhaps by an earlier try of this very call) or the
   * stream is full; the caller looks which.
   *
   * @param stream the stream that has the subject.
   * @param follower is stored only if `write` is, in the same round trip. It may not be although `write` is, when
   * another publisher comes between or an answer is lost: then the caller stores it.
   * @throws NetworkError (90004) when the broker has not acknowledged within the send timeout: the message may be
   * stored all the same. TooManyRequestsError (429) when 128 MiB wait here already. ArgsError (1001) for one that is
   * larger than the broker takes, BrokerRefusedError (90102) for what it refuses for another reason.
   */
  store(stream: string, write: Write, follower?: Write): Promise<Followed>;
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

export interface PublisherOptions {
  /** How long a write may take, with all its tries, in milliseconds. */
  readonly sendTimeoutMs: number;
  /** Whether the broker syncs every write to disk. */
  readonly isFsynced: () => boolean;
  /** Whether the streams have replicas. Default false. */
  readonly isReplicated?: boolean;
  /** Default: always open. */
  readonly gate?: WriteGate;
  /** Told of each write that was acknowledged, also of one that was refused, how long it took. Default: nobody is. */
  readonly onAnswered?: (seconds: number) => void;
}

/** Writes that the broker is asked for at a time; more wait here. Where it syncs each write, batches come before. */
const maxInFlight = 1_024;

/** What is written at a time adds up to this, in bytes: a batch has 4 MiB, and two streams have two each. */
const maxInFlightBytes = 33_554_432;

/** Writes that are asked for and not answered yet add up to this, in bytes; one more is refused. */
const maxHeldBytes = 134_217_728;

/** A write found the gate shut when its turn came: the connection is another than the one that it was opened for. */
const shut = Symbol("shut");

export function createPublisher(broker: Broker, options: PublisherOptions): Publisher {
  const { sendTimeoutMs, isFsynced: isWorthwhile, isReplicated = false, onAnswered } = options;
  const { gate = { isOpen: () => true, open: async () => {} } } = options;
  const streams = new Map<string, GroupCommit>();
  const limit = createLimit(maxInFlight, maxInFlightBytes);
  let heldBytes = 0;

  const requireOpen = (writes: readonly Write[]) => {
    for (const { subject } of writes) if (!gate.isOpen(subject)) throw shut;
  };
  const open = () => createGroupCommit({ broker, isWorthwhile, isReplicated, requireOpen, limit });
  /** Of no stream in particular: what is stored all at once waits for nothing. */
  const { storeAll } = open();

  const storeIn = (stream: string) => {
    let commit = streams.get(stream);
    if (commit === undefined) {
      commit = open();
      streams.set(stream, commit);
    }
    return commit.store;
  };

  const persist = async <T>(writes: readonly Write[], store: () => Promise<T>): Promise<T> => {
    const bytes = bytesOf(writes);
    if (heldBytes > 0 && heldBytes + bytes > maxHeldBytes) {
      throw failure("TooManyRequestsError", "this instance has as many writes waiting as it holds in memory");
    }
    heldBytes += bytes;
    const startedMs = performance.now();
    try {
      const answer: T = await untilAnswered<T>(broker, deadlineIn(sendTimeoutMs), async () => {
        for (const { subject } of writes) if (!gate.isOpen(subject)) await gate.open(subject);
        return store().catch((thrown: unknown) => {
          if (thrown !== shut) throw thrown;
          return again;
        });
      });
      onAnswered?.((performance.now() - startedMs) / 1_000);
      return answer;
    } finally {
      heldBytes -= bytes;
    }
  };

  return {
    store: (stream, write, follower) =>
      persist(follower === undefined ? [write] : [write, follower], () => storeIn(stream)(write, follower)),
    storeAll: (writes) => persist(writes, () => storeAll(writes)),
  };
}
