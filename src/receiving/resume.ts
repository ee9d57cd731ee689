import { Start } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import type { Cursors } from "../inbox/cursors.ts";
import type { Inbox } from "../inbox/inbox.ts";
import { epochAt } from "../inbox/lineage.ts";
import type { Place } from "../inbox/places.ts";

/** Where a device asks to continue. */
export interface ResumeRequest {
  readonly userId: string;
  readonly deviceId: string;
  readonly start: Start;
  /** The device's own record of what it has handled. */
  readonly afterSequence: number | undefined;
  /** The epoch of that record; empty when the device does not say. */
  readonly epoch: string;
}

/** Finds the place after which a session continues. */
export type Resume = (request: ResumeRequest) => Promise<Place>;

/** Creates the {@link Resume} over the inboxes and the cursors. */
export function createResume(inbox: Inbox, cursors: Cursors): Resume {
  /** The place of a sequence of the store as it is. */
  const toPlace = (userId: string, sequence: number): Place => ({
    epoch: epochAt(inbox.lineage(userId), sequence),
    sequence,
    isStoreChanged: false,
  });

  return async ({ userId, deviceId, start, afterSequence, epoch }) => {
    if (afterSequence !== undefined) {
      if (epoch === "") {
        // A sequence that was never assigned is of a store that is gone: what is in this one is all new to the device.
        if (!(await inbox.isAssigned(userId, afterSequence))) return toPlace(userId, 0);
        const place = toPlace(userId, afterSequence);
        cursors.advance(userId, deviceId, afterSequence, place.epoch);
        return place;
      }
      const place = await inbox.placeOf(userId, { epoch, sequence: afterSequence });
      // The device acknowledges it with the gap.
      if (!place.isStoreChanged) cursors.advance(userId, deviceId, place.sequence, place.epoch);
      return place;
    }
    switch (start) {
      case Start.ALL:
        return toPlace(userId, 0);
      case Start.NEW: {
        const place = toPlace(userId, await inbox.newestSequence(userId));
        cursors.advance(userId, deviceId, place.sequence, place.epoch);
        return place;
      }
      default: {
        const cursor = await cursors.position(userId, deviceId);
        return cursor === undefined ? toPlace(userId, 0) : inbox.placeOf(userId, cursor);
      }
    }
  };
}
