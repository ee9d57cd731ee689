import type { DescMethod } from "@bufbuild/protobuf";
import { AuthService } from "../gen/mustreach/auth/v1/auth_pb.ts";
import { DeadLetterService } from "../gen/mustreach/delivery/v1/dead_letter_pb.ts";
import { DeliveryService } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import { GroupService } from "../gen/mustreach/directory/v1/directory_pb.ts";
import { MsgService } from "../gen/mustreach/msg/v1/msg_pb.ts";

/** Who may call a method: anybody without a token, the bearer of any valid token, or admins, and what others are told. */
export type Access = "open" | "user" | { readonly adminsOnly: string };

const adminsOnly = (errDlt: string): Access => ({ adminsOnly: errDlt });

/** Who may call what. A method that is not listed needs an admin's token. */
const accesses: ReadonlyMap<DescMethod, Access> = new Map<DescMethod, Access>([
  [AuthService.method.getAdminToken, "open"],
  [AuthService.method.parseToken, "open"],
  [AuthService.method.getUserToken, adminsOnly("only an admin token may get user tokens")],
  [AuthService.method.forceLogout, adminsOnly("only an admin token may log a user out")],
  [MsgService.method.sendBusinessNotification, adminsOnly("only app manager can send message")],
  [MsgService.method.sendBusinessNotificationBatch, adminsOnly("only app manager can send message")],
  [MsgService.method.getDeliveryStatus, adminsOnly("only an admin token may ask for a delivery status")],
  [MsgService.method.recallBusinessNotification, adminsOnly("only an admin token may recall a notification")],
  [MsgService.method.pullMessages, "user"],
  [MsgService.method.getConversations, "user"],
  [MsgService.method.markConversationAsRead, "user"],
  [DeliveryService.method.subscribe, "user"],
  [DeliveryService.method.ack, "user"],
  [DeadLetterService.method.listDeadLetters, adminsOnly("only an admin token may list dead letters")],
  [DeadLetterService.method.replayDeadLetters, adminsOnly("only an admin token may replay dead letters")],
  [GroupService.method.createGroup, adminsOnly("only an admin token may create groups")],
  [GroupService.method.dismissGroup, adminsOnly("only an admin token may dismiss groups")],
  [GroupService.method.addMembers, adminsOnly("only an admin token may add members")],
  [GroupService.method.removeMembers, adminsOnly("only an admin token may remove members")],
  [GroupService.method.listMembers, adminsOnly("only an admin token may list members")],
  [GroupService.method.listGroups, "user"],
]);

/** What is told of a method that is not listed. */
export const onlyAdmins = "only an admin token may call this";

/** Who may call a method. */
export function accessOf(method: DescMethod): Access {
  return accesses.get(method) ?? adminsOnly(onlyAdmins);
}
