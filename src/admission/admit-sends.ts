import { createRefusals } from "../refusals.ts";
import { createLatencyLimit, type LatencyLimit } from "./latency-limit.ts";
import { createRounds } from "./rounds.ts";

/** Who sends, and how much. */
export interface SendAsk {
  /** The user of the token, or the name of the certificate. */
  readonly callerId: string;
  /** What it costs, in sends of one notification: a batch of some is more than one. */
  readonly count: number;
  /** Whether how long it takes tells of the broker: one notification that is stored. */
  readonly isMeasured: boolean;
}

/** Bounds the sends under way in this process. */
export interface SendAdmission {
  /**
   * Runs a send when there is room for it. One of more notifications than there is room for runs when its caller has
   * none under way, and counts for all the room.
   *
   * @throws TooManyRequestsError (429) when there is none; nothing was done.
   */
  admit<T>(ask: SendAsk, send: () => Promise<T>): Promise<T>;
  /** Sends under way. */
  inFlight(): number;
  /** How many there may be now. */
  limit(): number;
  /** Sends that were refused since the start. */
  refused(): number;
}

/**
 * A caller may have this many times what is left free, so that something always is (Choudhury and Hahne's dynamic
 * thresholds): one alone gets four fifths of the limit, two get four ninths each, and who comes next finds room.
 */
const freeFactor = 4;

/**
 * With no more than this under way, or half of the fixed bound, a caller is refused only at that bound, whatever the others
 * have.
 */
export const minShare = 16;

/**
 * Sends that are at work at a time, one of each caller after the other; what else is under way waits for its turn. As
 * many fill the broker's batches. A batch of the caller's own takes no turn: it is few writes.
 */
export const maxAtWork = 128;

/**
 * A refused caller is asked to wait for so long, in milliseconds: at random, so that not all come back at once. One that has
 * more than its least share under way, up to eight times as long while a crowd lasts.
 */
const minWaitMs = 500;
const maxWaitMs = 1_500;

/**
 * Creates the admission of sends.
 *
 * @param maxInFlight the fixed bound.
 * @param limit the bound that follows the broker, below that. Default: by {@link createLatencyLimit}.
 */
export function createSendAdmission(
  maxInFlight: number,
  limit: LatencyLimit = createLatencyLimit(maxInFlight),
): SendAdmission {
  const callers = new Map<string, number>();
  const rounds = createRounds(maxAtWork);
  const least = Math.min(minShare, Math.floor(maxInFlight / 2));
  let inFlight = 0;
  let refused = 0;

  const weigh = (count: number, own: number): number => {
    if (own + count <= least && inFlight + count <= maxInFlight) return count;
    const room = Math.floor((freeFactor * (limit.current - inFlight) - own) / (1 + freeFactor));
    if (count <= room) return count;
    return own === 0 && room > 0 ? room : 0;
  };

  return {
    async admit({ callerId, count, isMeasured }, send) {
      const own = callers.get(callerId) ?? 0;
      const weight = weigh(count, own);
      if (weight === 0) {
        refused++;
        limit.refuse();
        throw tooMany(own > least ? limit.patience : 1);
      }
      callers.set(callerId, own + weight);
      inFlight += weight;
      const inFlightThen = inFlight;
      const startedMs = performance.now();
      const turn = count === 1 ? rounds.enter(callerId) : undefined;
      if (turn !== undefined) await turn;
      try {
        const sent = await send();
        if (isMeasured) limit.observe(startedMs, performance.now(), inFlightThen);
        return sent;
      } finally {
        if (count === 1) rounds.leave();
        inFlight -= weight;
        const rest = (callers.get(callerId) ?? 0) - weight;
        if (rest === 0) callers.delete(callerId);
        else callers.set(callerId, rest);
      }
    },
    inFlight: () => inFlight,
    limit: () => limit.current,
    refused: () => refused,
  };
}

const refuse = createRefusals(
  "TooManyRequestsError",
  "this caller has as many sends under way as there is room for; none of this was sent",
);

function tooMany(patience: number) {
  return refuse(patience * (minWaitMs + Math.random() * (maxWaitMs - minWaitMs)));
}
