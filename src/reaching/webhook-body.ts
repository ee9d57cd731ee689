import type { EscalationAttempt } from "./escalations.ts";

/** The JSON that the webhook gets: the notification under OpenIM's names. */
export function toWebhookBody({ id, attempt, userId, sequence, notification }: EscalationAttempt) {
  return {
    /** Stable over all attempts, for the receiver to know those it has seen; also the header `webhook-id`. */
    escalationID: id,
    /** From 1. */
    attempt,
    /** The recipient whom the notification has not reached. */
    userID: userId,
    /** Its place in the recipient's inbox. */
    sequence,
    notification: {
      serverMsgID: notification.serverMsgId,
      clientMsgID: notification.clientMsgId,
      /** When it was accepted, in milliseconds since the Unix epoch. */
      sendTime: Number(notification.sendTime),
      sendUserID: notification.sendUserId,
      /** Empty for a notification to a group. */
      recvUserID: notification.recvUserId,
      /** Empty for a notification to a user. */
      recvGroupID: notification.recvGroupId,
      key: notification.key,
      data: notification.data,
      collapseKey: notification.collapseKey,
      /** Always 2. */
      reliabilityLevel: notification.reliabilityLevel,
      sequence: Number(notification.sequence),
    },
  };
}

/** As {@link toWebhookBody}. */
export type WebhookBody = ReturnType<typeof toWebhookBody>;
