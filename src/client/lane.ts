/** A queue that runs one item at a time, in order. */
export interface Lane<T extends object> {
  /** Adds an item. Over the limit the oldest waiting one is dropped. */
  push(item: T): void;

  /** Forgets the waiting items; the one that runs goes on. */
  clear(): void;

  /** How many items the limit has dropped so far. */
  dropped(): number;

  /** Resolves when nothing runs or waits. */
  idle(): Promise<void>;
}

/**
 * Creates a lane.
 *
 * @param run handles one item. It must not reject.
 * @param limit how many items may wait. Default: any number.
 */
export function createLane<T extends object>(
  run: (item: T) => Promise<void>,
  limit = Number.POSITIVE_INFINITY,
): Lane<T> {
  const waiting: T[] = [];
  let droppedCount = 0;
  let busy = false;
  let running = Promise.resolve();

  async function runAll() {
    busy = true;
    for (let item = waiting.shift(); item !== undefined; item = waiting.shift()) await run(item);
    busy = false;
  }

  return {
    push(item) {
      waiting.push(item);
      // First of all, since an item that starts at once does not wait.
      if (!busy) running = runAll();
      if (waiting.length > limit) {
        waiting.shift();
        droppedCount++;
      }
    },
    clear() {
      waiting.length = 0;
    },
    dropped() {
      return droppedCount;
    },
    async idle() {
      while (busy) await running;
    },
  };
}
