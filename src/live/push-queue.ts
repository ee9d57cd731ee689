import { toEventFrame } from "../inbox/event-frame.ts";

/** An online push, encoded once for all sessions that get it. */
export interface Push {
  /** The event; see {@link toEventFrame}. */
  readonly frame: Uint8Array;
  /** What it takes in memory, in bytes. */
  readonly bytes: number;
  /** How many queues hold it. */
  holders: number;
}

/** The online pushes that wait for one session. */
export interface PushQueue {
  /** Adds one; the oldest make room for it. */
  add(push: Push): void;
  /** Takes the oldest, as an event. */
  take(): Uint8Array | undefined;
  /** The event of a push that nothing waits before: it is as if it was added and taken. */
  pass(push: Push): Uint8Array;
  isEmpty(): boolean;
  /** How many have made room so far. */
  dropped(): number;
  /** Forgets all, and takes no more. */
  close(): void;
}

/** The online pushes that wait on an instance. */
export interface PushMemory {
  openQueue(): PushQueue;
  /** What they take, in bytes: each once, however many sessions wait for it. */
  bytes(): number;
  /** How many were taken since the start, each for each session. */
  taken(): number;
  /** How many have made room for others since the start, each for each session. */
  dropped(): number;
}

/** Pushes that wait for one session, at most. */
export const maxPushes = 256;

/** What waits for one session takes at most this, in bytes; the newest push is kept whatever its size. */
export const maxQueueBytes = 4_194_304;

/** What a push takes besides its frame, in bytes: the objects and the places in queues, about. */
const overheadBytes = 256;

/** Makes an event of an online push, a Notification as it was published. */
export function toPush(notification: Uint8Array): Push {
  const frame = toEventFrame("notification", notification);
  return { frame, bytes: overheadBytes + frame.length, holders: 0 };
}

/**
 * Creates the memory for pushes of an instance.
 *
 * @param maxBytes what all of them take at most, and more than one can; then the session that has had pushes waiting for
 * the longest time loses its oldest.
 */
export function createPushMemory(maxBytes: number): PushMemory {
  const memory: Memory = { maxBytes, totalBytes: 0, waiting: new Set(), taken: 0, dropped: 0 };
  return {
    openQueue: () => new Queue(memory),
    bytes: () => memory.totalBytes,
    taken: () => memory.taken,
    dropped: () => memory.dropped,
  };
}

interface Memory {
  readonly maxBytes: number;
  totalBytes: number;
  /** Queues that are not empty, by how long they have not been. */
  readonly waiting: Set<Queue>;
  taken: number;
  dropped: number;
}

class Queue implements PushQueue {
  readonly #memory: Memory;
  /** The oldest first; undefined while there are none. */
  #pushes: Push[] | undefined = undefined;
  #bytes = 0;
  #dropped = 0;
  #isClosed = false;

  constructor(memory: Memory) {
    this.#memory = memory;
  }

  add(push: Push): void {
    if (this.#isClosed) return;
    const { maxBytes, waiting } = this.#memory;
    if (push.holders++ === 0) this.#memory.totalBytes += push.bytes;
    this.#bytes += push.bytes;
    if (this.#pushes === undefined) waiting.add(this);
    this.#pushes ??= [];
    const pushes = this.#pushes;
    pushes.push(push);
    while (pushes.length > maxPushes || (this.#bytes > maxQueueBytes && pushes.length > 1)) this.#drop();
    for (const longest of waiting) {
      while (this.#memory.totalBytes > maxBytes && waiting.has(longest)) longest.#drop();
      if (this.#memory.totalBytes <= maxBytes) break;
    }
  }

  take(): Uint8Array | undefined {
    const push = this.#shift();
    return push && this.pass(push);
  }

  pass({ frame }: Push): Uint8Array {
    this.#memory.taken++;
    return frame;
  }

  isEmpty(): boolean {
    return this.#pushes === undefined;
  }

  dropped(): number {
    return this.#dropped;
  }

  close(): void {
    this.#isClosed = true;
    for (const push of this.#pushes ?? []) this.#release(push);
    this.#empty();
  }

  #drop(): void {
    this.#shift();
    this.#dropped++;
    this.#memory.dropped++;
  }

  #shift(): Push | undefined {
    const push = this.#pushes?.shift();
    if (push !== undefined) this.#release(push);
    if (this.#pushes?.length === 0) this.#empty();
    return push;
  }

  #release(push: Push): void {
    this.#bytes -= push.bytes;
    if (--push.holders === 0) this.#memory.totalBytes -= push.bytes;
  }

  #empty(): void {
    this.#pushes = undefined;
    this.#memory.waiting.delete(this);
  }
}
