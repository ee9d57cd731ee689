import { createRounds } from "../admission/rounds.ts";
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

/** Creates the bound; who waits does so for `maxWaitMs` at most. Each who is refused gets a time of its own, at the pace at which replays are done. */
export function createReplays(maxAtATime: number, maxWaitMs = maxReplayWaitMs): Replays {
  const rounds = createRounds(maxAtATime);
  let meanMs = 0;
  /** The time that was told last, on the clock of performance.now(). */
  let toldMs = 0;

  /** A turn comes so often, in milliseconds, while all places are taken. */
  const paceMs = () => meanMs / maxAtATime;

  const refusal = () => {
    const now = performance.now();
    const first = now + minRetryMs + rounds.waiting() * paceMs();
    toldMs = Math.min(Math.max(toldMs, first) + Math.max(paceMs(), minPaceMs), now + maxRetryMs);
    const afterMs = toldMs - now;
    const retryAfterMs = Math.round(afterMs < maxRetryMs ? afterMs : maxRetryMs * (0.5 + Math.random() / 2));
    return failure("ConnOverMaxNumLimit", "too many sessions are being opened here", undefined, { retryAfterMs });
  };

  return {
    requireRoom(userId) {
      if (rounds.turnsUntil(userId) * paceMs() > maxWaitMs) throw refusal();
    },

    async inTurn(userId, replay) {
      const turn = rounds.enter(userId, maxWaitMs);
      if (turn !== undefined && !(await turn)) throw refusal();
      const startedMs = performance.now();
      try {
        const replayed = await replay();
        // What the broker did not answer says nothing of the pace.
        meanMs += (performance.now() - startedMs - meanMs) * meanWeight;
        return replayed;
      } finally {
        rounds.leave();
      }
    },
  };
}
