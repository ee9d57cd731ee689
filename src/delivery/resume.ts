import { Start } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import type { Cursors } from "../nats/cursors.ts";
import type { Inbox } from "../nats/inbox.ts";

/** Where a device asks to continue. */
export interface ResumeRequest {
  readonly userId: string;
  readonly deviceId: string;
  readonly start: Start;
  /** The device's own record of what it has handled. */
  readonly afterSequence: number | undefined;
}

/** Finds the sequence after which a session continues. */
export type Resume = (request: ResumeRequest) => Promise<number>;

/** Creates the {@link Resume} over the inboxes and the cursors. */
export function createResume(inbox: Inbox, cursors: Cursors): Resume {
  return async ({ userId, deviceId, start, afterSequence }) => {
    if (afterSequence !== undefined) {
      // A sequence that was never assigned is of a store that is gone: what is in this one is all new to the device.
      if (!(await inbox.isAssigned(userId, afterSequence))) return 0;
      cursors.advance(userId, deviceId, afterSequence);
      return afterSequence;
    }
    switch (start) {
      case Start.ALL:
        return 0;
      case Start.NEW: {
        const newest = await inbox.newestSequence(userId);
        cursors.advance(userId, deviceId, newest);
        return newest;
      }
      default:
        return (await cursors.read(userId, deviceId)) ?? 0;
    }
  };
}
