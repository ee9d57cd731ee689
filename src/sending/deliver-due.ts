import { type DeliverDeps, deliver } from "./deliver.ts";
import { keyOfClientMsgId } from "./ids.ts";
import type { Sends } from "./record.ts";
import type { ScheduledSend } from "./schedule.ts";
import type { SyncSender } from "./sender-sync.ts";

/** What {@link deliverDue} needs. */
export interface DeliverDueDeps extends DeliverDeps {
  readonly sends: Pick<Sends, "claim" | "recalledAt">;
  readonly syncSender: SyncSender;
}

/** Delivers a scheduled send whose time has come, unless it was recalled meanwhile. */
export async function deliverDue(deps: DeliverDueDeps, due: ScheduledSend): Promise<void> {
  const { record, notification } = due;
  if ((await deps.sends.recalledAt(record.serverMsgId)) !== undefined) return;
  // The record was kept from when the send was accepted, and may be gone by now.
  await deps.sends.claim(keyOfClientMsgId(record.clientMsgId), record);
  await deliver(deps, due);
  await deps.syncSender(notification);
}
