import { create, toBinary } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import type { Notification } from "../../gen/mustreach/delivery/v1/delivery_pb.ts";
import { MsgDataSchema, PullMsgsSchema, PushMessagesSchema } from "../../gen/mustreach/openim/v1/gateway_pb.ts";

/** OpenIM's constants for what a business notification is. */
const contentTypes = { businessNotification: 2_001 } as const;
const origins = { system: 200 } as const;
const sessionTypes = { user: 1, group: 3 } as const;

/** Encodes a notification as OpenIM's SDKs take it, under a number of its conversation; 0 for an online push. */
export function encodeMessage(notification: Notification, number: number): Uint8Array {
  return toBinary(MsgDataSchema, create(MsgDataSchema, toMessage(notification, number)));
}

/** The fields of OpenIM's message for a notification. */
export function toMessage(notification: Notification, number: number) {
  const { sendUserId, recvUserId, recvGroupId, clientMsgId, serverMsgId, sendTime, key, data } = notification;
  const detail = JSON.stringify({ key, data });
  return {
    sendId: sendUserId,
    recvId: recvUserId,
    groupId: recvGroupId,
    clientMsgId,
    serverMsgId,
    sessionType: recvGroupId === "" ? sessionTypes.user : sessionTypes.group,
    msgFrom: origins.system,
    contentType: contentTypes.businessNotification,
    content: Buffer.from(JSON.stringify({ detail })),
    seq: BigInt(number),
    sendTime,
    createTime: sendTime,
  };
}

/** Encodes a message without content, which says that there are some up to a number. */
export function encodeProbe(number: number): Uint8Array {
  const { businessNotification: contentType } = contentTypes;
  const message = { sessionType: sessionTypes.user, msgFrom: origins.system, contentType, seq: BigInt(number) };
  return toBinary(MsgDataSchema, create(MsgDataSchema, message));
}

/** The fields of an entry of a map. */
const entryFields = { key: 1, value: 2 } as const;

/** Encodes messages of a conversation, as a push has them and the answer to a pull: both have them in the same field. */
export function encodeMessages(conversationId: string, messages: readonly Uint8Array[]): Uint8Array {
  const pulled = new BinaryWriter();
  for (const message of messages) {
    pulled.tag(PullMsgsSchema.field.msgs.number, WireType.LengthDelimited).bytes(message);
  }
  const entry = new BinaryWriter()
    .tag(entryFields.key, WireType.LengthDelimited)
    .string(conversationId)
    .tag(entryFields.value, WireType.LengthDelimited)
    .bytes(pulled.finish());
  return new BinaryWriter()
    .tag(PushMessagesSchema.field.notificationMsgs.number, WireType.LengthDelimited)
    .bytes(entry.finish())
    .finish();
}
