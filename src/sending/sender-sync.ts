import { toBinary } from "@bufbuild/protobuf";
import { type Notification, NotificationSchema } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import type { Live } from "../receiving/signals.ts";

/**
 * Shows a notification to a user to the sender's own connected devices as well; {@link createSyncSender} makes it.
 * Nothing is stored for them.
 */
export type SyncSender = (notification: Notification) => Promise<void>;

/** Creates OpenIM's senderSync (push_handler.go), or nothing when it is switched off. */
export function createSyncSender(live: Pick<Live, "push">, isOn: boolean): SyncSender {
  return async (notification) => {
    const { sendUserId, recvUserId } = notification;
    if (!isOn || recvUserId === "" || recvUserId === sendUserId) return;
    await live.push(sendUserId, toBinary(NotificationSchema, notification));
  };
}
