import { wrongField } from "../errors.ts";
import type { Cursors } from "../nats/cursors.ts";
import type { Inbox } from "../nats/inbox.ts";
import type { Hub } from "./hub.ts";

/**
 * Records that a device has handled everything up to a sequence, and resolves to where its cursor is.
 *
 * Throws ArgsError (1001) for a sequence that was never assigned, NetworkError (90004) when that cannot be looked up.
 */
export type Acknowledge = (userId: string, deviceId: string, sequence: number) => Promise<number>;

/** Creates the {@link Acknowledge}: it opens the session's window, and moves the device's cursor. */
export function createAcknowledge(hub: Hub, inbox: Inbox, cursors: Cursors): Acknowledge {
  return async (userId, deviceId, sequence) => {
    // A cursor beyond the inbox would swallow what comes.
    if (!(await inbox.isAssigned(userId, sequence))) throw wrongField("sequence", "sequence was never assigned");
    hub.acknowledge(userId, deviceId, sequence);
    return cursors.advance(userId, deviceId, sequence);
  };
}
