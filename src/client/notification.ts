import type { Notification, Recall, Settled } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import type { Plain, PlainGap, PlainMessage } from "./wire/event.ts";

/** A business notification as a listener gets it, under OpenIM's names. */
export interface BusinessNotification {
  /** The kind of business event. */
  readonly key: string;

  /** The business payload, as the sender gave it. */
  readonly data: string;

  /** Mustreach's id of the notification: 32 lower-case hex digits. */
  readonly serverMsgID: string;

  /** The sender's idempotency key, or a generated id of 32 lower-case hex digits. */
  readonly clientMsgID: string;

  /** When it was sent, in milliseconds since the Unix epoch: when Mustreach accepted it, or its sendAt. */
  readonly sendTime: number;

  /** Who sent it: a system notification id or a user id. */
  readonly sendUserID: string;

  /** The receiving user; empty for a notification to a group. */
  readonly recvUserID: string;

  /** The receiving group; empty for a notification to a user. */
  readonly recvGroupID: string;

  /** 1: online push. 2: must-reach. */
  readonly reliabilityLevel: number;

  /** The place in the user's total order, increasing but not contiguous. 0 for an online push. */
  readonly sequence: bigint;

  /** What it is about: it takes the place of what is shown of this key and recipient. Empty: of nothing. */
  readonly collapseKey: string;

  /** The trace of its send (W3C traceparent); empty for none. Listeners run in a span that continues it. */
  readonly traceparent: string;
}

/** The chat copy of a notification that was sent with sendMsg = true. */
export interface ChatMessage extends BusinessNotification {
  /** `si_<a>_<b>` for two users, `sg_<group>` for a group. */
  readonly conversationID: string;

  /** The copy's place in the conversation, from 1. */
  readonly conversationSequence: bigint;
}

/** A notification that its sender withdrew, or that a newer one replaced; this device may not have got it. */
export interface RecalledNotification {
  /** Mustreach's id of the notification. */
  readonly serverMsgID: string;

  /** Its idempotency key. */
  readonly clientMsgID: string;

  /** The place of the recall in the user's total order. */
  readonly sequence: bigint;

  /** The newer notification of the same collapseKey that replaced it; empty when its sender withdrew it. */
  readonly replacedByServerMsgID: string;
}

/** A notification that another device of the user has acknowledged for all of them; this device may have got it. */
export interface SettledNotification {
  /** Mustreach's id of the notification. */
  readonly serverMsgID: string;

  /** Its idempotency key. */
  readonly clientMsgID: string;

  /** The place of the notification in the user's total order. */
  readonly sequence: bigint;
}

/** A range of sequences in which stored notifications will not be delivered. */
export interface NotificationGap {
  /** The first sequence of the range, inclusive. */
  readonly from: bigint;

  /** The last sequence of the range, inclusive. */
  readonly to: bigint;

  /**
   * Why: older than the retention (some may have been removed), past their ttlSeconds, recalled by the sender, or a
   * reason that this version does not know. With `storeChanged`, the service has an older copy of its store, or another
   * one: what came after `to` there is gone, this device continues there, and `from` is `to`.
   */
  readonly reason: "retention" | "expired" | "recalled" | "storeChanged" | "unknown";
}

/** @internal Translates from the wire. */
export function toBusinessNotification(wire: Plain<Notification>): BusinessNotification {
  return {
    key: wire.key,
    data: wire.data,
    serverMsgID: wire.serverMsgId,
    clientMsgID: wire.clientMsgId,
    sendTime: Number(wire.sendTime),
    sendUserID: wire.sendUserId,
    recvUserID: wire.recvUserId,
    recvGroupID: wire.recvGroupId,
    reliabilityLevel: wire.reliabilityLevel,
    sequence: wire.sequence,
    collapseKey: wire.collapseKey,
    traceparent: wire.traceparent,
  };
}

/** @internal Translates from the wire; undefined for a copy without content, which this version does not know. */
export function toChatMessage({
  conversationId,
  conversationSequence,
  notification,
}: PlainMessage): ChatMessage | undefined {
  if (notification === undefined) return undefined;
  return { ...toBusinessNotification(notification), conversationID: conversationId, conversationSequence };
}

/** @internal Translates from the wire. */
export function toRecalledNotification(wire: Plain<Recall>): RecalledNotification {
  const { serverMsgId: serverMsgID, clientMsgId: clientMsgID, sequence, replacedByServerMsgId } = wire;
  return { serverMsgID, clientMsgID, sequence, replacedByServerMsgID: replacedByServerMsgId };
}

/** @internal Translates from the wire. */
export function toSettledNotification({ serverMsgId, clientMsgId, sequence }: Plain<Settled>): SettledNotification {
  return { serverMsgID: serverMsgId, clientMsgID: clientMsgId, sequence };
}

/** @internal Translates from the wire. */
export function toNotificationGap({ from, to, reason }: PlainGap): NotificationGap {
  return { from, to, reason: gapReasons[reason] ?? "unknown" };
}

/** By the numbers of mustreach.delivery.v1.Gap.Reason. */
const gapReasons: readonly NotificationGap["reason"][] = [
  "unknown",
  "retention",
  "expired",
  "recalled",
  "storeChanged",
];
