import type { Addressing } from "../addressing.ts";
import type { Notification } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import { encodeNotification } from "../inbox/items.ts";

/** Publishes an online push, encoded, to a user's connected devices, or those of them that it is for, or a group's. */
export interface OnlinePush {
  /** @throws NetworkError (90004) when the broker stays away for the send timeout. */
  push(userId: string, notification: Uint8Array, devices?: Addressing): Promise<void>;
  /** To the group as it is at a version. @throws NetworkError (90004) as {@link push}. */
  pushGroup(groupId: string, notification: Uint8Array, version: number): Promise<void>;
}

export interface SyncSenderDeps {
  /** Shows senders what they have sent; undefined when that is switched off. */
  readonly echo: ((userId: string, notification: Uint8Array) => void) | undefined;
}

/**
 * Shows a notification to a user to the sender's own connected devices as well, when that is switched on: OpenIM's
 * senderSync (push_handler.go). Nothing is stored for them, and the send does not wait for it.
 *
 * @param encode its bytes, where they are there already. Default: encodes it.
 */
export function syncSender(
  { echo }: SyncSenderDeps,
  notification: Notification,
  encode: () => Uint8Array = () => encodeNotification(notification),
): void {
  const { sendUserId, recvUserId } = notification;
  if (echo === undefined || recvUserId === "" || recvUserId === sendUserId) return;
  echo(sendUserId, encode());
}
