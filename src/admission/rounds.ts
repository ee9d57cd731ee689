/** Lets callers go on by turns. */
export interface Rounds {
  /** Resolves when it is the caller's turn; undefined when it is at once. */
  enter(callerId: string): Promise<void> | undefined;
  /** The turn is over: the next begins. */
  leave(): void;
}

/**
 * Creates rounds: so many turns at a time, and of those who wait one of each caller after the other, however many each
 * has waiting.
 */
export function createRounds(maxTurns: number): Rounds {
  /** What waits, by caller; the first caller is the next. */
  const waiting = new Map<string, (() => void)[]>();
  let turns = 0;

  return {
    enter(callerId) {
      if (turns < maxTurns) {
        turns++;
        return undefined;
      }
      return new Promise((resolve) => {
        const own = waiting.get(callerId);
        if (own === undefined) waiting.set(callerId, [resolve]);
        else own.push(resolve);
      });
    },
    leave() {
      for (const [callerId, own] of waiting) {
        const next = own.shift();
        waiting.delete(callerId);
        if (own.length > 0) waiting.set(callerId, own);
        next?.();
        return;
      }
      turns--;
    },
  };
}
