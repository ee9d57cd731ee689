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
