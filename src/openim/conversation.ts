import type { Lineage } from "../inbox/lineage.ts";

/**
 * How far apart the numbers of two neighbours in an inbox are, as a Go device has them. It takes a push without asking when
 * the last number of all that it has gathered by then is as many above its own as there are: with this, never. So it
 * always asks for what it lacks, from its own number on, and the answer is all of that.
 */
const stride = 1_000;

/** A number that no notification reaches: whoever is told of it asks for everything beyond its own. */
export const unreachedNumber = Number.MAX_SAFE_INTEGER;

/** The number of a place in an inbox. */
export function toNumber(sequence: number): number {
  return sequence * stride;
}

/** The place in an inbox of a device whose number this is. */
export function toSequence(number: number): number {
  return Math.floor(number / stride);
}

/**
 * The conversation in which a user's notifications of an epoch of the store are. A device keeps a number for each, so
 * what it has of one epoch says nothing of another, in which the same sequences may mean others.
 */
export function conversationId(userId: string, epoch: string): string {
  return epoch === "" ? `n_mustreach_${userId}` : `n_mustreach_${userId}_${epoch}`;
}

/** How many epochs a device is asked for at most: each is a question of its own. */
const maxEpochs = 64;

/** The epochs in which a device may have a number, the oldest first: also what was stored before there were any. */
export function epochsOf(lineage: Lineage): readonly string[] {
  const ids = lineage.map(({ id }) => id);
  const isFromBefore = (lineage[0]?.first ?? 1) > 1;
  return (isFromBefore ? ["", ...ids] : ids).slice(-maxEpochs);
}
