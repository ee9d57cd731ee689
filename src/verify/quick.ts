/**
 * What `--quick` and the tests do: as many kinds of faults as two minutes have room for, and so little besides that two
 * cores are not what everything waits for.
 */
export const quick = {
  /** How long, and a round of it, in seconds. */
  seconds: 120,
  roundSeconds: 30,
  users: 12,
  groups: 6,
  /** Calls a second of all callers. */
  rate: 20,
} as const;

/** The longest pause of each caller between two calls, in milliseconds, for so many calls a second of all: it is half on average. */
export function toMaxPauseMs(rate: number, writers: number): number {
  return Math.max(1, Math.round((2_000 * writers) / rate));
}
