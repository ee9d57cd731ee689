import type { Deliver } from "./deliver.ts";
import { keyOfClientMsgId } from "./ids.ts";
import type { Sends } from "./record.ts";
import type { ScheduledSend } from "./schedule.ts";
import type { SyncSender } from "./sender-sync.ts";

/** Creates what is done when a scheduled send is due: it is delivered, unless it was recalled meanwhile. */
export function createDeliverDue(sends: Pick<Sends, "claim" | "recalledAt">, deliver: Deliver, syncSender: SyncSender) {
  return async (due: ScheduledSend): Promise<void> => {
    const { record, notification } = due;
    if ((await sends.recalledAt(record.serverMsgId)) !== undefined) return;
    // The record was kept from when the send was accepted, and may be gone by now.
    await sends.claim(keyOfClientMsgId(record.clientMsgId), record);
    await deliver(due);
    await syncSender(notification);
  };
}
