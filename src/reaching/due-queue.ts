/** Items that wait, each until a time of its own. */
export interface DueQueue<T> {
  add(item: T, dueMs: number): void;
  /** Takes what is due at `nowMs`, at most `limit`, the earliest first. */
  take(nowMs: number, limit: number): T[];
  /** When the next one is due, in epoch milliseconds; undefined when nothing waits. */
  nextMs(): number | undefined;
}

interface Waiting<T> {
  readonly item: T;
  readonly dueMs: number;
}

/** Creates an empty queue: a binary heap, so that an item costs a few comparisons however many wait. */
export function createDueQueue<T>(): DueQueue<T> {
  const heap: Waiting<T>[] = [];
  const dueAt = (index: number) => heap[index]?.dueMs ?? Number.POSITIVE_INFINITY;

  const swap = (a: number, b: number): void => {
    const [atA, atB] = [heap[a], heap[b]];
    if (atA === undefined || atB === undefined) return;
    heap[a] = atB;
    heap[b] = atA;
  };

  const rise = (from: number): void => {
    for (let index = from; index > 0; ) {
      const parent = (index - 1) >> 1;
      if (dueAt(parent) <= dueAt(index)) return;
      swap(parent, index);
      index = parent;
    }
  };

  const sink = (): void => {
    for (let index = 0; ; ) {
      const left = 2 * index + 1;
      const child = dueAt(left + 1) < dueAt(left) ? left + 1 : left;
      if (dueAt(index) <= dueAt(child)) return;
      swap(index, child);
      index = child;
    }
  };

  const takeFirst = (): T | undefined => {
    swap(0, heap.length - 1);
    const first = heap.pop();
    sink();
    return first?.item;
  };

  return {
    add(item, dueMs) {
      heap.push({ item, dueMs });
      rise(heap.length - 1);
    },
    take(nowMs, limit) {
      const taken: T[] = [];
      while (taken.length < limit && dueAt(0) <= nowMs) {
        const item = takeFirst();
        if (item === undefined) break;
        taken.push(item);
      }
      return taken;
    },
    nextMs: () => heap[0]?.dueMs,
  };
}
