declare const clock: unique symbol;

/** A moment at which to give up, on the clock of `performance.now()`: it stays where it is when the machine's clock is set. */
export type Deadline = number & { readonly [clock]: "monotonic" };

/** The moment in so many milliseconds. */
export function deadlineIn(ms: number): Deadline {
  return (performance.now() + ms) as Deadline;
}

/** How far away it is, in milliseconds: 0 or less when it is over. */
export function leftUntil(deadline: Deadline): number {
  return deadline - performance.now();
}
