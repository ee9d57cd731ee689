/**
 * A queue that runs one item at a time, in order.
 *
 * @param run handles one item. It must not reject.
 * @param limit how many items may wait. Default: any number.
 */
export function createLane<T extends object>(run: (item: T) => Promise<void>, limit = Number.POSITIVE_INFINITY) {
  const waiting: T[] = [];
  let dropped = 0;
  let busy = false;
  let running = Promise.resolve();

  async function runAll() {
    busy = true;
    for (let item = waiting.shift(); item !== undefined; item = waiting.shift()) await run(item);
    busy = false;
  }

  async function idle() {
    while (busy) await running;
  }

  return {
    /** Adds an item. Over the limit the oldest waiting one is dropped. */
    push(item: T) {
      waiting.push(item);
      // First of all, since an item that starts at once does not wait.
      if (!busy) running = runAll();
      if (waiting.length > limit) {
        waiting.shift();
        dropped++;
      }
    },
    /** Forgets the waiting items; the one that runs goes on. */
    clear() {
      waiting.length = 0;
    },
    /** How many items the limit has dropped so far. */
    dropped: () => dropped,
    /** Resolves when nothing runs or waits. */
    idle,
    /** Forgets what waits and resolves when nothing runs. */
    drain() {
      waiting.length = 0;
      return idle();
    },
  };
}
