/** Options of {@link createPause}. */
export interface PauseOptions {
  /**
   * The longest pause after the first refusal, in milliseconds, doubled with each further one. The pause is a random part
   * of it, so that a webhook that comes back is not met by all at once.
   */
  readonly minDelayMs: number;
  /** What the longest pause grows to, in milliseconds. */
  readonly maxDelayMs: number;
  /** A number from 0 up to but not including 1. */
  readonly random: () => number;
}

/**
 * How long to wait before a webhook is asked again, in milliseconds: after so many refusals, from 1, and at least for as
 * long as it asks to wait.
 */
export type Pause = (refusals: number, retryAfterMs?: number) => number;

export function createPause({ minDelayMs, maxDelayMs, random }: PauseOptions): Pause {
  return (refusals, retryAfterMs = 0) =>
    Math.max(random() * Math.min(maxDelayMs, minDelayMs * 2 ** (refusals - 1)), retryAfterMs);
}
