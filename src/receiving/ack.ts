import type { Cursors } from "../cursors/cursors.ts";
import { wrongField } from "../errors.ts";
import type { Inbox } from "../inbox/inbox.ts";
import { epochAt, type Position } from "../inbox/lineage.ts";
import type { Hub } from "./hub.ts";

export interface AcknowledgeDeps {
  readonly hub: Pick<Hub, "wasSent" | "acknowledge">;
  readonly inbox: Pick<Inbox, "mayHold" | "lineage" | "placeOf">;
  readonly cursors: Pick<Cursors, "advance">;
}

/**
 * Records that a device has handled everything up to a position: opens the session's window, and moves the device's
 * cursor. Resolves to where that is.
 *
 * @throws ArgsError (1001) for a sequence that cannot be this user's, NetworkError (90004) when that cannot be looked up.
 */
export async function acknowledge(
  deps: AcknowledgeDeps,
  userId: string,
  deviceId: string,
  { epoch, sequence }: Position,
): Promise<number> {
  const { hub, inbox, cursors } = deps;
  const openWindow = async () => {
    // A cursor beyond the inbox would swallow what comes.
    if (!hub.wasSent(userId, deviceId, sequence) && !(await inbox.mayHold(userId, sequence))) {
      throw wrongField("sequence", "sequence was never assigned to a notification of this user");
    }
    hub.acknowledge(userId, deviceId, sequence);
  };

  if (epoch === "") {
    await openWindow();
    return cursors.advance(userId, deviceId, sequence, epochAt(inbox.lineage(userId), sequence));
  }
  const place = await inbox.placeOf(userId, { epoch, sequence });
  // What is left of an epoch that has ended is not beyond the inbox.
  if (!place.isStoreChanged) await openWindow();
  return cursors.advance(userId, deviceId, place.sequence, place.epoch);
}
