/** Runs work with the same key in turn. */
export type Turns = <T>(key: string, work: () => Promise<T>) => Promise<T>;

/**
 * Creates turns: work with the same key runs one after the other, in the order of the calls, and of all work at most
 * `maxAtOnce` at a time. What fails does not stop what follows.
 */
export function createTurns(maxAtOnce: number): Turns {
  /** The last call of each key that has work. */
  const last = new Map<string, Promise<unknown>>();
  const waiting: (() => void)[] = [];
  let running = 0;

  const run = async <T>(work: () => Promise<T>): Promise<T> => {
    // Whoever is woken takes over the place of who has finished.
    if (running < maxAtOnce) running++;
    else await new Promise<void>((resolve) => waiting.push(resolve));
    try {
      return await work();
    } finally {
      const next = waiting.shift();
      if (next === undefined) running--;
      else next();
    }
  };

  return (key, work) => {
    const turn = (last.get(key) ?? Promise.resolve()).then(
      () => run(work),
      () => run(work),
    );
    last.set(key, turn);
    return turn.finally(() => {
      if (last.get(key) === turn) last.delete(key);
    });
  };
}
