import type { Followed, Stored, Write } from "./write.ts";

/**
 * With this many that wait, a batch is cheaper than single writes: it costs the broker about 2 ms of preparation, and a
 * single write 0.2 ms for its sync.
 */
const minBatchWrites = 16;

/** A batch is not made larger than this, so that its first message does not wait long for its last. */
const maxBatchMessages = 512;

/** The payloads of a batch add up to at most this, in bytes. */
const maxBatchBytes = 4_194_304;

interface GroupCommitOptions {
  /** Whether the broker syncs every write to disk: only then is a batch ever cheaper. */
  readonly isWorthwhile: () => boolean;
  /** Stores one message, and a second if nothing comes between. */
  readonly storeFollowed: (write: Write, follower: Write) => Promise<Followed>;
  /** Stores all or none, in order; its sequence is that of the last. */
  readonly storeAll: (writes: readonly Write[]) => Promise<Stored>;
}

/** Stores a message, and a follower only with it. */
export type GroupCommit = (write: Write, follower?: Write) => Promise<Followed>;

interface Waiting {
  readonly write: Write;
  readonly follower: Write | undefined;
  resolve(stored: Followed | Promise<Followed>): void;
}

/**
 * Creates the writes of one stream. Where the broker syncs each write to disk, many that wait share one sync: measured
 * at 20 to 25 thousand sends of two messages a second, 512 at a time, against 1.7 thousand, 8 at a time. A lone write is
 * sent at once.
 */
export function createGroupCommit(options: GroupCommitOptions): GroupCommit {
  const queue: Waiting[] = [];
  let singles = 0;
  let isBatching = false;

  const store: GroupCommit = (write, follower) =>
    follower === undefined ? options.storeAll([write]) : options.storeFollowed(write, follower);

  const single = ({ write, follower, resolve }: Waiting): void => {
    singles++;
    resolve(
      store(write, follower).finally(() => {
        singles--;
        next();
      }),
    );
  };

  const batch = async (taken: readonly Waiting[]): Promise<void> => {
    isBatching = true;
    const writes = taken.flatMap(messagesOf);
    const stored = await options.storeAll(writes).catch(() => undefined);
    isBatching = false;
    // One duplicate rejects the batch, and an answer may be lost: each is then written alone, which is idempotent.
    if (stored?.kind === "stored") {
      let sequence = stored.sequence - writes.length;
      for (const { follower, resolve } of taken) {
        sequence++;
        resolve({ kind: "stored", sequence, followedAt: follower && ++sequence });
      }
    } else {
      for (const waiting of taken) single(waiting);
    }
    next();
  };

  const next = (): void => {
    if (queue.length >= minBatchWrites && !isBatching) void batch(takeBatch(queue));
    while (queue.length > 0 && singles < minBatchWrites && !isBatching) {
      const waiting = queue.shift();
      if (waiting !== undefined) single(waiting);
    }
  };

  return (write, follower) => {
    if (!options.isWorthwhile()) return store(write, follower);
    return new Promise((resolve) => {
      queue.push({ write, follower, resolve });
      next();
    });
  };
}

function messagesOf({ write, follower }: Waiting): Write[] {
  return follower === undefined ? [write] : [write, follower];
}

function takeBatch(queue: Waiting[]): Waiting[] {
  let bytes = 0;
  let messages = 0;
  let count = 0;
  for (const waiting of queue) {
    for (const { payload } of messagesOf(waiting)) {
      bytes += payload.length;
      messages++;
    }
    if (count > 0 && (bytes > maxBatchBytes || messages > maxBatchMessages)) break;
    count++;
  }
  return queue.splice(0, count);
}
