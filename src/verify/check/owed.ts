import { groupRivals, mayBeReplaced } from "./collapsed.ts";
import { acceptance, type DeviceHistory, type History, type Send } from "./history.ts";
import { isCertainlyFor } from "./recipients.ts";

/** What a device is to get, since when, and when it came. */
export interface Owed {
  readonly send: Send;
  /** When the send was answered, or due if that was later. */
  readonly since: number;
  /** When it first came, or was told to be settled; undefined when neither. */
  readonly came: number | undefined;
}

/**
 * What a device is owed for certain: must-reach notifications that were accepted, that nobody recalled, that do not expire
 * soon, and that no other has replaced.
 */
export function owedTo(history: History, device: DeviceHistory): Owed[] {
  const { sends, groups } = history;
  const cameAt = new Map<string, number>();
  for (const { events } of device.sessions) {
    for (const event of events) {
      if (event.kind !== "notification" && event.kind !== "settled") continue;
      if (!cameAt.has(event.data)) cameAt.set(event.data, event.at);
    }
  }
  const rivals = groupRivals(history);
  const owed: Owed[] = [];
  for (const send of sends.values()) {
    const accepted = acceptance(send);
    if (accepted === undefined || send.level === 1 || send.recalls.length > 0) continue;
    // A consumer at the broker gets what is stored, also what has expired.
    if (send.ttlSeconds > 0 && device.kind !== "native") continue;
    // OpenIM's SDKs are not told that it was settled.
    if (send.isSettledByOne && device.kind === "openim") continue;
    if (!isCertainlyFor(groups, send, device) || mayBeReplaced(send, rivals)) continue;
    owed.push({ send, since: Math.max(accepted.until, send.dueAt), came: cameAt.get(send.data) });
  }
  return owed;
}
