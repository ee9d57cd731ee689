import { toBinary } from "@bufbuild/protobuf";
import { type Notification, NotificationSchema } from "../gen/mustreach/delivery/v1/delivery_pb.ts";

/** Publishes an online push, encoded, to a user's or a group's connected devices. */
export interface OnlinePush {
  /** @throws NetworkError (90004) when the broker stays away for the send timeout. */
  push(userId: string, notification: Uint8Array): Promise<void>;
  /** @throws NetworkError (90004) as {@link push}. */
  pushGroup(groupId: string, notification: Uint8Array): Promise<void>;
}

/**
 * Shows a notification to a user to the sender's own connected devices as well; {@link createSyncSender} makes it.
 * Nothing is stored for them.
 */
export type SyncSender = (notification: Notification) => Promise<void>;

/** Creates OpenIM's senderSync (push_handler.go), or nothing when it is switched off. */
export function createSyncSender(live: Pick<OnlinePush, "push">, isOn: boolean): SyncSender {
  return async (notification) => {
    const { sendUserId, recvUserId } = notification;
    if (!isOn || recvUserId === "" || recvUserId === sendUserId) return;
    await live.push(sendUserId, toBinary(NotificationSchema, notification));
  };
}
