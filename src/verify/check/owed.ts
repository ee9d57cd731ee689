import { acceptance, type DeviceHistory, type History, membership, type Send } from "./history.ts";

/** What a device is to get, since when, and when it came. */
export interface Owed {
  readonly send: Send;
  /** When the send was answered. */
  readonly since: number;
  /** When it first came; undefined when it has not. */
  readonly came: number | undefined;
}

/** What each device is owed for certain: must-reach notifications that were accepted, and that nobody recalled. */
export function owedTo({ sends, groups }: History, { userId, sessions }: DeviceHistory): Owed[] {
  const cameAt = new Map<string, number>();
  for (const { events } of sessions) {
    for (const event of events) {
      if (event.kind === "notification" && !cameAt.has(event.data)) cameAt.set(event.data, event.at);
    }
  }
  const owed: Owed[] = [];
  for (const send of sends.values()) {
    const accepted = acceptance(send);
    if (accepted === undefined || send.level === 1 || send.recalls.length > 0) continue;
    const group = groups.get(send.recvGroupId);
    const isRecipient =
      group === undefined
        ? send.recvUserId === userId
        : membership(group, userId, accepted.from, accepted.until) === "always";
    if (isRecipient) owed.push({ send, since: accepted.until, came: cameAt.get(send.data) });
  }
  return owed;
}
