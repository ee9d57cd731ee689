/** How far a device has handled its notifications. */
export interface Cursor {
  /** The sequence, as the notification had it. */
  readonly sequence: bigint;

  /** The epoch of the sequence: sequences of a store that was replaced are given again, in another epoch. */
  readonly epoch: string;
}

/** Before everything. */
export const beginning: Cursor = { sequence: 0n, epoch: "" };
