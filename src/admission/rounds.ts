/** Lets callers go on by turns. */
export interface Rounds {
  /**
   * Resolves when it is the caller's turn; undefined when it is at once. Each turn is to end with {@link leave}.
   *
   * @param maxWaitMs who waits withdraws after so long, in milliseconds. Default: never.
   * @returns whether it is the caller's turn: false once it has withdrawn.
   */
  enter(callerId: string, maxWaitMs?: number): Promise<boolean> | undefined;
  /** The turn is over: the next begins. */
  leave(): void;
  /** How many wait. */
  waiting(): number;
  /** How many turns end, at most, before the caller would have one that it asks for now; 0 when it would at once. */
  turnsUntil(callerId: string): number;
}

/** Ends a wait: with its turn, or without. */
type EndWait = (isTurn: boolean) => void;

/**
 * Creates rounds: so many turns at a time, and of those who wait one of each caller after the other, however many each
 * has waiting.
 */
export function createRounds(maxTurns: number): Rounds {
  /** What waits, by caller; the first caller is the next. */
  const callers = new Map<string, EndWait[]>();
  let turns = 0;
  let waiting = 0;

  const withdrawAfter = (maxWaitMs: number, callerId: string, resolve: EndWait): EndWait => {
    const endWait: EndWait = (isTurn) => {
      clearTimeout(timer);
      resolve(isTurn);
    };
    const timer = setTimeout(() => {
      const others = callers.get(callerId)?.filter((other) => other !== endWait) ?? [];
      if (others.length === 0) callers.delete(callerId);
      else callers.set(callerId, others);
      waiting--;
      endWait(false);
    }, maxWaitMs);
    return endWait;
  };

  return {
    enter(callerId, maxWaitMs) {
      if (turns < maxTurns) {
        turns++;
        return undefined;
      }
      return new Promise((resolve) => {
        const endWait = maxWaitMs === undefined ? resolve : withdrawAfter(maxWaitMs, callerId, resolve);
        const own = callers.get(callerId);
        if (own === undefined) callers.set(callerId, [endWait]);
        else own.push(endWait);
        waiting++;
      });
    },
    leave() {
      for (const [callerId, own] of callers) {
        const next = own.shift();
        callers.delete(callerId);
        if (own.length > 0) callers.set(callerId, own);
        waiting--;
        next?.(true);
        return;
      }
      turns--;
    },
    waiting: () => waiting,
    turnsUntil(callerId) {
      if (turns < maxTurns) return 0;
      const own = callers.get(callerId)?.length ?? 0;
      return Math.min(waiting + 1, (own + 1) * (callers.size + 1));
    },
  };
}
