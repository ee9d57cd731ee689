import type { Bounds } from "./limits.ts";

/**
 * How often a peer may do something: a number of times at once, some more each second, and as many as are earned by what
 * is of use. A bucket of tokens, without a timer.
 */
export class Budget {
  private readonly most: number;
  private readonly perMs: number;
  private left: number;
  private filledAt: number;

  constructor(most: number, perSecond: number) {
    this.most = most;
    this.perMs = perSecond / 1_000;
    this.left = most;
    this.filledAt = performance.now();
  }

  /** @returns false when there is nothing left. */
  spend(): boolean {
    if (this.left < 1) {
      const now = performance.now();
      this.left = Math.min(this.most, this.left + (now - this.filledAt) * this.perMs);
      this.filledAt = now;
      if (this.left < 1) return false;
    }
    this.left--;
    return true;
  }

  earn(count: number): void {
    this.left = Math.min(this.most, this.left + count);
  }
}

/** How many gaps between the ids of streams are remembered, the last ones: clients leave none. */
export const maxGaps = 16;

/** The streams of a connection that have been reset, or that there will never be. */
export class Resets {
  private readonly budget: Budget;
  private readonly maxRemembered: number;
  private remembered: Set<number> | undefined = undefined;
  private gaps: (readonly [after: number, before: number])[] | undefined = undefined;

  constructor({ resets, resetsPerSecond, rememberedResets }: Bounds) {
    this.budget = new Budget(resets, resetsPerSecond);
    this.maxRemembered = rememberedResets;
  }

  /** Counts one that the peer has reset, or has made be reset. @returns false when they are too many. */
  count(): boolean {
    return this.budget.spend();
  }

  /** Remembers one that was reset before its request had ended: frames of it may still be on their way (RFC 9113, 5.1). */
  remember(streamId: number): void {
    this.remembered ??= new Set();
    this.remembered.add(streamId);
    if (this.remembered.size <= this.maxRemembered) return;
    const [oldest] = this.remembered;
    if (oldest !== undefined) this.remembered.delete(oldest);
  }

  isRemembered(streamId: number): boolean {
    return this.remembered?.has(streamId) === true;
  }

  /** A stream was opened: those between it and the last one are closed without having been used (5.1.1). */
  skip(after: number, before: number): void {
    if (before - after <= 2) return;
    this.gaps ??= [];
    if (this.gaps.push([after, before]) > maxGaps) this.gaps.shift();
  }

  isSkipped(streamId: number): boolean {
    return this.gaps?.some(([after, before]) => streamId > after && streamId < before) === true;
  }
}
