/**
 * One unbroken life of a partition's store, from the first sequence that was assigned in it. Sequences of two epochs
 * may be the same number and mean two notifications: after a store was replaced by an older copy of itself, or lost.
 */
export interface Epoch {
  readonly id: string;
  readonly first: number;
}

/** The epochs that a partition's store knows of, oldest first; each ends where the next begins. */
export type Lineage = readonly Epoch[];

/** A place in an inbox. */
export interface Position {
  /** Empty before the first epoch that is known. */
  readonly epoch: string;
  readonly sequence: number;
}

/** The epoch of what is stored under a sequence. */
export function epochAt(lineage: Lineage, sequence: number): string {
  return lineage.findLast(({ first }) => first <= sequence)?.id ?? "";
}

/**
 * The last sequence of an epoch: Infinity for the newest, which goes on, and 0 for one that the store does not know.
 * What was stored before there were epochs ends where the first begins.
 */
export function endOf(lineage: Lineage, epoch: string): number {
  const index = lineage.findIndex(({ id }) => id === epoch);
  if (index === -1 && epoch !== "") return 0;
  const next = lineage[index + 1];
  return next === undefined ? Number.POSITIVE_INFINITY : next.first - 1;
}
