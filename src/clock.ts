/** What tells the time that promises are about: when something expires, is due, or is escalated. */
export interface Clock {
  /** Epoch milliseconds. */
  now(): number;
  /** What it showed when the machine's clock, by which the broker goes, showed this; both in epoch milliseconds. */
  at(machineMs: number): number;
  /** How far it is ahead of the machine's, in milliseconds. */
  aheadMs(): number;
  /** Undefined for one that never jumps. */
  readonly jumps: Jumps | undefined;
}

/** The jumps of a clock, always forwards. */
export interface Jumps {
  /** Calls `listener` before each: what is under way now belongs to the time before. */
  before(listener: () => Promise<void>): void;
  /** Calls `listener` after each, one after the other, in the order in which they were given. */
  after(listener: () => Promise<void>): void;
}

/** The machine's. */
export const systemClock: Clock = {
  now: () => Date.now(),
  at: (machineMs) => machineMs,
  aheadMs: () => 0,
  jumps: undefined,
};
