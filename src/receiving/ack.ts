import { wrongField } from "../errors.ts";
import type { Cursors } from "../inbox/cursors.ts";
import type { Inbox } from "../inbox/inbox.ts";
import { epochAt, type Position } from "../inbox/lineage.ts";
import type { Hub } from "./hub.ts";

/**
 * Records that a device has handled everything up to a position, and resolves to where its cursor is.
 *
 * Throws ArgsError (1001) for a sequence that cannot be this user's, NetworkError (90004) when that cannot be looked up.
 */
export type Acknowledge = (userId: string, deviceId: string, position: Position) => Promise<number>;

/** Creates the {@link Acknowledge}: it opens the session's window, and moves the device's cursor. */
export function createAcknowledge(hub: Hub, inbox: Inbox, cursors: Cursors): Acknowledge {
  /** A cursor beyond the inbox would swallow what comes. */
  const requireOwn = async (userId: string, deviceId: string, sequence: number): Promise<void> => {
    if (hub.wasSent(userId, deviceId, sequence) || (await inbox.mayHold(userId, sequence))) return;
    throw wrongField("sequence", "sequence was never assigned to a notification of this user");
  };

  return async (userId, deviceId, { epoch, sequence }) => {
    if (epoch === "") {
      await requireOwn(userId, deviceId, sequence);
      hub.acknowledge(userId, deviceId, sequence);
      return cursors.advance(userId, deviceId, sequence, epochAt(inbox.lineage(userId), sequence));
    }
    const place = await inbox.placeOf(userId, { epoch, sequence });
    if (!place.isStoreChanged) {
      await requireOwn(userId, deviceId, sequence);
      hub.acknowledge(userId, deviceId, sequence);
    }
    // What is left of an epoch that has ended is not beyond the inbox.
    return cursors.advance(userId, deviceId, place.sequence, place.epoch);
  };
}
