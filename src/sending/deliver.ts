import { toAddressing } from "../addressing.ts";
import type { Chat } from "../chat/chat.ts";
import { toConversationId, toParties } from "../chat/conversation-id.ts";
import type { Collapsing } from "../collapsing/collapse.ts";
import type { Notification } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import type { Inbox, PreparedWrite } from "../inbox/inbox.ts";
import type { InboxItem, WriteOptions } from "../inbox/items.ts";
import type { Fanout } from "./fan-out.ts";
import type { SendRecord } from "./record.ts";

/** What is to be stored of a send. */
export interface Delivery {
  readonly record: SendRecord;
  readonly notification: Notification;
  /** Whether a chat copy is stored in the conversation, and delivered, as well. */
  readonly sendMsg: boolean;
  readonly escalateAfterMs: number | undefined;
  readonly operationId: string;
}

/** What {@link deliver} and {@link soleWrite} need. */
export interface DeliverDeps {
  readonly inbox: Pick<Inbox, "write" | "prepare">;
  readonly fanout: Pick<Fanout, "publish">;
  readonly chat: Pick<Chat, "append">;
  readonly collapsing: Collapsing;
}

/**
 * Stores what a send leaves behind: a must-reach notification, and the chat copy, go into the inbox of the user, or into
 * the queue from which the members of the group, or the users of the list, get them. Doing it again changes nothing.
 *
 * @throws NetworkError (90004) when the broker did not acknowledge in time.
 */
export async function deliver(deps: DeliverDeps, delivery: Delivery): Promise<void> {
  const { inbox, fanout, chat, collapsing } = deps;
  const { record, notification, sendMsg } = delivery;
  const items: InboxItem[] = record.mustReach ? [{ kind: "notification", notification }] : [];
  if (sendMsg) {
    const parties = toParties(notification);
    const message = await chat.append({ conversationId: toConversationId(parties), parties, notification });
    items.push({ kind: "message", message });
  }
  if (items.length === 0) return;
  const options = toWriteOptions(delivery);
  const { recvUserId, recvGroupId: groupId, recvUserIds, groupVersion } = record;
  if (recvUserId === "") return fanout.publish({ items, groupId, groupVersion, recvUserIds, ...options });
  const isCollapsible = record.collapseKey !== "";
  if (isCollapsible) await collapsing.announce(notification, 0, record.reportKey !== undefined);
  // In this order, which is then the device's.
  const sequences: number[] = [];
  for (const item of items) sequences.push(await inbox.write(recvUserId, item, options));
  if (isCollapsible) await collapsing.settle(notification, sequences[0] ?? 0, delivery.operationId);
}

/** The write that is all of a delivery: one notification for one user, now. Undefined for any other. */
export function soleWrite({ inbox }: DeliverDeps, delivery: Delivery): PreparedWrite | undefined {
  const { record, notification, sendMsg } = delivery;
  if (!record.mustReach || record.recvUserId === "" || sendMsg || record.deliverAtMs > 0) return undefined;
  if (record.collapseKey !== "") return undefined;
  return inbox.prepare(record.recvUserId, { kind: "notification", notification }, toWriteOptions(delivery));
}

function toWriteOptions({ record, escalateAfterMs, operationId }: Delivery): WriteOptions {
  const report = record.reportKey === undefined ? undefined : "send";
  const expiresAtMs = record.expiresAtMs || undefined;
  return { expiresAtMs, escalateAfterMs, devices: toAddressing(record), operationId, report };
}
