/** Room for works under way, of which slow ones do not hold up the others. */
export interface Slots {
  /** Begins a work as soon as there is room, in the order in which they came. It must not reject. */
  run(work: () => Promise<void>): void;
  /** Begins no more, and resolves when what is under way is done. */
  stop(): Promise<void>;
}

export interface SlotOptions {
  /** At most this many works at a time that are not slow. */
  readonly maxPrompt: number;
  /** How long a work is under way before it is slow, and makes room for another, in milliseconds. */
  readonly slowMs: number;
  /** At most this many works at a time, slow or not. */
  readonly maxUnderWay: number;
}

export function createSlots({ maxPrompt, slowMs, maxUnderWay }: SlotOptions): Slots {
  const queue: (() => Promise<void>)[] = [];
  const underWay = new Set<Promise<void>>();
  let prompt = 0;

  const begin = (work: () => Promise<void>): void => {
    let isSlow = false;
    const timer = setTimeout(() => {
      isSlow = true;
      prompt--;
      next();
    }, slowMs);
    prompt++;
    const done = work().finally(() => {
      clearTimeout(timer);
      if (!isSlow) prompt--;
      underWay.delete(done);
      next();
    });
    underWay.add(done);
  };

  const next = (): void => {
    while (prompt < maxPrompt && underWay.size < maxUnderWay) {
      const work = queue.shift();
      if (work === undefined) return;
      begin(work);
    }
  };

  return {
    run(work) {
      queue.push(work);
      next();
    },
    async stop() {
      queue.length = 0;
      await Promise.all(underWay);
    },
  };
}
