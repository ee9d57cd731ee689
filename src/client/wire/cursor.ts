import type { Received } from "./event.ts";

/** How far a device has handled its notifications. */
export interface Cursor {
  /** The sequence, as the notification had it. */
  readonly sequence: bigint;

  /** The epoch of the sequence: sequences of a store that was replaced are given again, in another epoch. */
  readonly epoch: string;
}

/** Before everything. */
export const beginning: Cursor = { sequence: 0n, epoch: "" };

/** @internal The place of an event in the user's order, with the sequence 0 when it has none. */
export function placeOf({ event }: Received): Cursor {
  switch (event.case) {
    case "notification":
    case "recall":
    case "settled":
      return event.value;
    case "message":
      return event.value.notification ?? beginning;
    case "gap":
      return { sequence: event.value.to, epoch: event.value.epoch };
    default:
      return beginning;
  }
}
