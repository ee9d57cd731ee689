/** A body that is being received, as a budget sees it. */
export interface Body {
  /** The bytes that are kept for it. Changes only while it is in no budget. */
  capacity: number;
  /** Ends it, and takes it out of its budgets. */
  readonly giveWay: () => void;
}

/** Bounds the bytes that are kept for bodies under way. */
export interface BodyBudget {
  add(body: Body): void;
  remove(body: Body): void;
  /** Makes bodies give way when they are too many, until a quarter is free again. */
  enforce(): void;
}

/** What a body counts at least, in bytes: what it costs besides its own. */
export const minBodyBytes = 4_096;

/**
 * Creates a budget. When it is exceeded, the largest body gives way, and of those of about one size the oldest: who
 * fills the budget with unfinished bodies loses them, and a small honest one gets through.
 */
export function createBodyBudget(maxBytes: number): BodyBudget {
  /** Bodies by the power of two that they reach, each in order of arrival there. */
  const sizeClasses: Set<Body>[] = Array.from({ length: 32 }, () => new Set());
  let total = 0;

  const classOf = (body: Body) => sizeClasses[Math.floor(Math.log2(countOf(body)))];

  return {
    add(body) {
      classOf(body)?.add(body);
      total += countOf(body);
    },
    remove(body) {
      if (classOf(body)?.delete(body)) total -= countOf(body);
    },
    enforce() {
      if (total <= maxBytes) return;
      // Of many that are never finished, each place that comes free would be filled by the others at the speed of the wire.
      while (total > maxBytes * 0.75) {
        const [oldest] = sizeClasses.findLast((bodies) => bodies.size > 0) ?? [];
        if (oldest === undefined) return;
        oldest.giveWay();
      }
    },
  };
}

function countOf({ capacity }: Body): number {
  return Math.max(capacity, minBodyBytes);
}
