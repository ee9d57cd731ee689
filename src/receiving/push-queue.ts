import { fromBinary } from "@bufbuild/protobuf";
import { type Notification, NotificationSchema } from "../gen/mustreach/delivery/v1/delivery_pb.ts";

/** An online push, decoded once for all sessions that have it waiting. */
export interface Push {
  readonly notification: Notification;
  /** What it takes in memory, in bytes. */
  readonly bytes: number;
  /** How many queues hold it. */
  holders: number;
}

/** The online pushes that wait for one session. */
export interface PushQueue {
  /** Adds one; the oldest make room for it. */
  add(push: Push): void;
  /** Takes the oldest. */
  take(): Notification | undefined;
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
}

/** Pushes that wait for one session, at most. */
const maxPushes = 256;

/** What waits for one session takes at most this, in bytes; the newest push is kept whatever its size. */
const maxQueueBytes = 4_194_304;

/** What a push takes besides its data, in bytes: the object, its ids and its key, about. */
const overheadBytes = 1_024;

/** Decodes an online push. */
export function toPush(encoded: Uint8Array): Push {
  const notification = fromBinary(NotificationSchema, encoded);
  const { data } = notification;
  // V8 takes two bytes for each character of a text that has any beyond Latin-1.
  const isWide = /[^\0-\xff]/.test(data);
  return { notification, bytes: overheadBytes + data.length * (isWide ? 2 : 1), holders: 0 };
}

/**
 * Creates the memory for pushes of an instance.
 *
 * @param maxBytes what all of them take at most, and more than one can; then the session that has had pushes waiting for
 * the longest time loses its oldest.
 */
export function createPushMemory(maxBytes: number): PushMemory {
  /** Queues that are not empty, by how long they have not been. */
  const waiting = new Set<{ drop(): void }>();
  let totalBytes = 0;

  const openQueue = (): PushQueue => {
    let pushes: Push[] = [];
    let bytes = 0;
    let dropped = 0;
    let isClosed = false;

    const release = (push: Push): void => {
      bytes -= push.bytes;
      if (--push.holders === 0) totalBytes -= push.bytes;
    };
    const shift = (): Push | undefined => {
      const push = pushes.shift();
      if (push !== undefined) release(push);
      if (pushes.length === 0) waiting.delete(queue);
      return push;
    };
    const queue = {
      drop(): void {
        shift();
        dropped++;
      },
    };

    return {
      add(push) {
        if (isClosed) return;
        if (push.holders++ === 0) totalBytes += push.bytes;
        bytes += push.bytes;
        pushes.push(push);
        waiting.add(queue);
        while (pushes.length > maxPushes || (bytes > maxQueueBytes && pushes.length > 1)) queue.drop();
        for (const longest of waiting) {
          while (totalBytes > maxBytes && waiting.has(longest)) longest.drop();
          if (totalBytes <= maxBytes) break;
        }
      },
      take: () => shift()?.notification,
      isEmpty: () => pushes.length === 0,
      dropped: () => dropped,
      close() {
        isClosed = true;
        for (const push of pushes) release(push);
        pushes = [];
        waiting.delete(queue);
      },
    };
  };

  return { openQueue, bytes: () => totalBytes };
}
