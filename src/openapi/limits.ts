import { maxConversationIdBytes } from "../chat/conversation-id.ts";
import { maxClientMsgIdBytes, maxDeviceIdBytes, maxGroupIdBytes, maxKeyBytes, maxUserIdBytes } from "../limits.ts";
import type { JsonSchema } from "./json-schema.ts";

/**
 * Text of at most so many bytes of UTF-8: a schema counts characters, of which there are never more. One without control
 * characters is an id.
 */
const text = (maxBytes: number): JsonSchema => ({ maxLength: maxBytes });
const id = (maxBytes: number): JsonSchema => ({ ...text(maxBytes), pattern: "^[^\\u0000-\\u001f\\u007f-\\u009f]*$" });
const requiredId = (maxBytes: number): JsonSchema => ({ ...id(maxBytes), minLength: 1 });
const number = (minimum: number, maximum: number): JsonSchema => ({ minimum, maximum });
const items = (minItems: number, maxItems: number, item?: JsonSchema): JsonSchema => ({
  minItems,
  maxItems,
  ...(item === undefined ? {} : { items: { type: "string", ...item } }),
});

const userId = requiredId(maxUserIdBytes);
const groupId = requiredId(maxGroupIdBytes);
const conversationId = requiredId(maxConversationIdBytes);
const users = items(1, 100_000, userId);

/** OpenIM's platforms. */
const platform = number(1, 11);
/** The entries of a page: 0 is the default. */
const page = (maximum: number) => number(0, maximum);

/**
 * What the fields of requests may hold, by their full name. The protos say the same in their comments, and the verbs refuse
 * what is beyond: test/openapi/limits.test.ts holds both.
 */
export const fieldLimits: Readonly<Record<string, JsonSchema>> = {
  "mustreach.msg.v1.SendBusinessNotificationRequest.send_user_id": userId,
  "mustreach.msg.v1.SendBusinessNotificationRequest.recv_user_id": id(maxUserIdBytes),
  "mustreach.msg.v1.SendBusinessNotificationRequest.recv_group_id": id(maxGroupIdBytes),
  "mustreach.msg.v1.SendBusinessNotificationRequest.key": requiredId(maxKeyBytes),
  "mustreach.msg.v1.SendBusinessNotificationRequest.reliability_level": number(0, 2),
  "mustreach.msg.v1.SendBusinessNotificationRequest.client_msg_id": id(maxClientMsgIdBytes),
  "mustreach.msg.v1.SendBusinessNotificationRequest.ttl_seconds": { minimum: 0 },
  "mustreach.msg.v1.SendBusinessNotificationRequest.send_at": { minimum: 0 },
  "mustreach.msg.v1.SendBusinessNotificationRequest.escalation_delay_seconds": number(0, 86_400),
  "mustreach.msg.v1.SendBusinessNotificationRequest.recv_device_id": id(maxDeviceIdBytes),
  "mustreach.msg.v1.SendBusinessNotificationRequest.except_device_id": id(maxDeviceIdBytes),
  "mustreach.msg.v1.SendBusinessNotificationRequest.collapse_key": id(256),
  "mustreach.msg.v1.SendBusinessNotificationRequest.recv_user_ids": items(0, 1_000, userId),
  "mustreach.msg.v1.SendBusinessNotificationBatchRequest.notifications": items(1, 1_000),
  "mustreach.msg.v1.GetDeliveryStatusRequest.client_msg_id": id(maxClientMsgIdBytes),
  "mustreach.msg.v1.GetDeliveryStatusRequest.page_number": { minimum: 0 },
  "mustreach.msg.v1.GetDeliveryStatusRequest.show_number": page(1_000),
  "mustreach.msg.v1.RecallBusinessNotificationRequest.client_msg_id": id(maxClientMsgIdBytes),
  "mustreach.msg.v1.PullMessagesRequest.num": page(1_000),
  "mustreach.msg.v1.PullMessagesRequest.conversation_id": conversationId,
  "mustreach.msg.v1.MarkConversationAsReadRequest.conversation_id": conversationId,
  "mustreach.auth.v1.GetAdminTokenRequest.user_id": { minLength: 1 },
  "mustreach.auth.v1.ParseTokenRequest.token": { minLength: 1 },
  "mustreach.auth.v1.GetUserTokenRequest.user_id": userId,
  "mustreach.auth.v1.GetUserTokenRequest.platform_id": platform,
  "mustreach.auth.v1.ForceLogoutRequest.user_id": userId,
  "mustreach.auth.v1.ForceLogoutRequest.platform_id": platform,
  "mustreach.delivery.v1.AckRequest.device_id": id(maxDeviceIdBytes),
  "mustreach.delivery.v1.AckRequest.sequence": { minimum: 1 },
  "mustreach.delivery.v1.AckRequest.epoch": text(32),
  "mustreach.delivery.v1.SubscribeRequest.device_id": id(maxDeviceIdBytes),
  "mustreach.delivery.v1.SubscribeRequest.epoch": text(32),
  "mustreach.delivery.v1.SubscribeRequest.window": number(0, 1_000),
  "mustreach.delivery.v1.WindowChange.window": number(0, 1_000),
  "mustreach.delivery.v1.ListDeadLettersRequest.page_size": page(1_000),
  "mustreach.delivery.v1.ReplayDeadLettersRequest.escalation_ids": { maxItems: 1_000 },
  "mustreach.directory.v1.GroupInfo.group_id": id(maxGroupIdBytes),
  "mustreach.directory.v1.GroupInfo.group_name": text(1_024),
  "mustreach.directory.v1.GroupInfo.ex": text(16_384),
  "mustreach.directory.v1.GroupInfo.notification": text(16_384),
  "mustreach.directory.v1.GroupInfo.introduction": text(16_384),
  "mustreach.directory.v1.GroupInfo.face_url": text(1_024),
  "mustreach.directory.v1.GroupInfo.group_type": number(2, 2),
  "mustreach.directory.v1.Pagination.page_number": { minimum: 0 },
  "mustreach.directory.v1.Pagination.show_number": page(5_000),
  "mustreach.directory.v1.CreateGroupRequest.owner_user_id": userId,
  "mustreach.directory.v1.CreateGroupRequest.member_user_ids": items(0, 100_000, userId),
  "mustreach.directory.v1.CreateGroupRequest.admin_user_ids": items(0, 100_000, userId),
  "mustreach.directory.v1.DismissGroupRequest.group_id": groupId,
  "mustreach.directory.v1.AddMembersRequest.group_id": groupId,
  "mustreach.directory.v1.AddMembersRequest.invited_user_ids": users,
  "mustreach.directory.v1.RemoveMembersRequest.group_id": groupId,
  "mustreach.directory.v1.RemoveMembersRequest.kicked_user_ids": users,
  "mustreach.directory.v1.TransferGroupRequest.group_id": groupId,
  "mustreach.directory.v1.TransferGroupRequest.old_owner_user_id": userId,
  "mustreach.directory.v1.TransferGroupRequest.new_owner_user_id": userId,
  "mustreach.directory.v1.GetGroupsRequest.group_ids": items(1, 100, groupId),
  "mustreach.directory.v1.GetMembersRequest.group_id": groupId,
  "mustreach.directory.v1.GetMembersRequest.user_ids": users,
  "mustreach.directory.v1.ListMembersRequest.group_id": groupId,
  "mustreach.directory.v1.ListMembersRequest.filter": number(0, 5),
  "mustreach.directory.v1.ListGroupsRequest.from_user_id": userId,
  "mustreach.openim.v1.GetAllConversationsRequest.owner_user_id": userId,
  "mustreach.openim.v1.PullMsgBySeqRequest.user_id": userId,
  "mustreach.openim.v1.MarkConversationAsReadRequest.user_id": userId,
  "mustreach.openim.v1.GetConversationsHasReadAndMaxSeqRequest.user_id": userId,
  "mustreach.openim.v1.UserRegisterRequest.users": items(1, 1_000),
  "mustreach.openim.v1.GetUsersOnlineStatusRequest.user_ids": items(1, 1_000, userId),
};

/** Fields of which exactly one is given, by the message; the others are absent or empty. */
export const alternatives: Readonly<Record<string, readonly string[]>> = {
  "mustreach.msg.v1.SendBusinessNotificationRequest": ["recv_user_id", "recv_group_id", "recv_user_ids"],
  "mustreach.msg.v1.GetDeliveryStatusRequest": ["server_msg_id", "client_msg_id"],
  "mustreach.msg.v1.RecallBusinessNotificationRequest": ["server_msg_id", "client_msg_id"],
  "mustreach.delivery.v1.ReplayDeadLettersRequest": ["escalation_ids", "all"],
};
