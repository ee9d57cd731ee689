import type { Chat } from "../chat/chat.ts";
import { toConversationId, toParties } from "../chat/conversation-id.ts";
import type { Notification } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import type { Inbox } from "../inbox/inbox.ts";
import type { InboxItem } from "../inbox/items.ts";
import type { Fanout } from "./fan-out-queue.ts";
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

/** Stores what a send leaves behind for its recipients; {@link createDeliver} makes it. */
export type Deliver = (delivery: Delivery) => Promise<void>;

/** Options of {@link createDeliver}. */
export interface DeliverOptions {
  readonly inbox: Pick<Inbox, "write">;
  readonly fanout: Pick<Fanout, "publish">;
  readonly chat: Pick<Chat, "append">;
}

/**
 * Creates the delivery: a must-reach notification, and the chat copy, go into the inbox of the user, or into the queue
 * from which the members of the group get them. Doing it again changes nothing.
 *
 * Throws NetworkError (90004) when the broker did not acknowledge in time.
 */
export function createDeliver({ inbox, fanout, chat }: DeliverOptions): Deliver {
  return async ({ record, notification, sendMsg, escalateAfterMs, operationId }) => {
    const items: InboxItem[] = record.mustReach ? [{ kind: "notification", notification }] : [];
    if (sendMsg) {
      const parties = toParties(notification);
      const message = await chat.append({ conversationId: toConversationId(parties), parties, notification });
      items.push({ kind: "message", message });
    }
    if (items.length === 0) return;
    const options = { expiresAtMs: record.expiresAtMs || undefined, escalateAfterMs, operationId };
    if (record.recvGroupId === "") {
      // In this order, which is then the device's.
      for (const item of items) await inbox.write(record.recvUserId, item, options);
    } else {
      await fanout.publish({ items, groupId: record.recvGroupId, groupVersion: record.groupVersion, ...options });
    }
  };
}
