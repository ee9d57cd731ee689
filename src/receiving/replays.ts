import { failure } from "../errors.ts";

/** A session waits this long for its turn, in milliseconds, at most: longer than that it is better off elsewhere, or later. */
const maxReplayWaitMs = 5_000;

/**
 * Who is refused is told to come back after this long at least, in milliseconds, and at most: what lies beyond is spread at
 * random over the second half of that.
 */
const minRetryMs = 1_000;
const maxRetryMs = 30_000;

/** Those who are refused are told times that are this far apart at least, in milliseconds. */
const minPaceMs = 1;

/** What the newest weighs in the mean of how long a replay takes. */
const meanWeight = 0.05;

/** Bounds the replays under way in this process: what sessions read before they are ready. */
export interface Replays {
  /**
   * Looks whether a replay of the user would have its turn in time, before anything is asked of the broker for it.
   *
   * @throws ConnOverMaxNumLimit (1601) where so many wait that it would not, with a time to come back.
   */
  requireRoom(userId: string): void;
  /**
   * Replays when it is its turn: users take turns, so that many devices of one do not hold back those of another.
   *
   * @throws ConnOverMaxNumLimit (1601) when it did not come within 5 s, with a time to come back: it was not begun.
   */
  inTurn<T>(userId: string, replay: () => Promise<T>): Promise<T>;
}

interface Waiter {
  start(): void;
  readonly timer: NodeJS.Timeout;
}

/** Creates the bound; who waits does so for `maxWaitMs` at most. Each who is refused gets a time of its own, at the pace at which replays are done. */
export function createReplays(maxAtATime: number, maxWaitMs = maxReplayWaitMs): Replays {
  /** Who waits, by user, in the order of their turns. */
  const users = new Map<string, Waiter[]>();
  let underWay = 0;
  let waiting = 0;
  let meanMs = 0;
  /** The time that was told last, on the clock of performance.now(). */
  let toldMs = 0;

  /** A turn comes so often, in milliseconds, while all places are taken. */
  const paceMs = () => meanMs / maxAtATime;

  const refusal = () => {
    const now = performance.now();
    const first = now + minRetryMs + waiting * paceMs();
    toldMs = Math.min(Math.max(toldMs, first) + Math.max(paceMs(), minPaceMs), now + maxRetryMs);
    const afterMs = toldMs - now;
    const retryAfterMs = Math.round(afterMs < maxRetryMs ? afterMs : maxRetryMs * (0.5 + Math.random() / 2));
    return failure("ConnOverMaxNumLimit", "too many sessions are being opened here", undefined, { retryAfterMs });
  };

  const wait = (userId: string) =>
    new Promise<void>((resolve, reject) => {
      const queue = users.get(userId) ?? [];
      const giveUp = () => {
        queue.splice(queue.indexOf(waiter), 1);
        if (queue.length === 0) users.delete(userId);
        waiting--;
        reject(refusal());
      };
      const waiter: Waiter = { start: resolve, timer: setTimeout(giveUp, maxWaitMs) };
      queue.push(waiter);
      users.set(userId, queue);
      waiting++;
    });

  /** Takes who is next; its user is then behind all others. */
  const takeNext = (): Waiter | undefined => {
    for (const [userId, queue] of users) {
      const waiter = queue.shift();
      users.delete(userId);
      if (queue.length > 0) users.set(userId, queue);
      waiting--;
      return waiter;
    }
    return undefined;
  };

  const leave = () => {
    const next = takeNext();
    if (next === undefined) {
      underWay--;
      return;
    }
    clearTimeout(next.timer);
    next.start();
  };

  return {
    requireRoom(userId) {
      if (underWay < maxAtATime) return;
      const own = users.get(userId)?.length ?? 0;
      const turns = Math.min(waiting + 1, (own + 1) * (users.size + 1));
      if (turns * paceMs() > maxWaitMs) throw refusal();
    },

    async inTurn(userId, replay) {
      if (underWay < maxAtATime) underWay++;
      else await wait(userId);
      const startedMs = performance.now();
      try {
        const replayed = await replay();
        // What the broker did not answer says nothing of the pace.
        meanMs += (performance.now() - startedMs - meanMs) * meanWeight;
        return replayed;
      } finally {
        leave();
      }
    },
  };
}
