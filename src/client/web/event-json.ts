import type { Notification } from "../../gen/mustreach/delivery/v1/delivery_pb.ts";
import type { Plain, Received } from "../wire/event.ts";

/** An object of JSON. Fields that have their default are left out in protobuf's. */
type Json = Readonly<Record<string, unknown>>;

/** By the numbers of mustreach.delivery.v1.Gap.Reason. */
const gapReasons = [
  "REASON_UNSPECIFIED",
  "REASON_RETENTION",
  "REASON_EXPIRED",
  "REASON_RECALLED",
  "REASON_STORE_CHANGED",
];

/**
 * Reads an event: protobuf's JSON of mustreach.delivery.v1.SubscribeResponse. One that is not known is a sign of life.
 *
 * @throws {SyntaxError} for a 64-bit number that is none.
 */
export function readEvent(json: unknown): Received {
  const [[name, content] = []] = Object.entries(toObject(json));
  const value = toObject(content);
  switch (name) {
    case "ready":
      return {
        event: {
          case: name,
          value: {
            resumeSequence: toBigInt(value.resumeSequence),
            pending: toBigInt(value.pending),
            deviceId: toText(value.deviceId),
            epoch: toText(value.epoch),
          },
        },
      };
    case "notification":
      return { event: { case: name, value: toNotification(value) } };
    case "message":
      return {
        event: {
          case: name,
          value: {
            conversationId: toText(value.conversationID),
            conversationSequence: toBigInt(value.conversationSequence),
            notification: value.notification === undefined ? undefined : toNotification(toObject(value.notification)),
          },
        },
      };
    case "heartbeat":
      return {
        event: {
          case: name,
          value: {
            latestSequence: toBigInt(value.latestSequence),
            droppedOnlinePushes: toBigInt(value.droppedOnlinePushes),
            brokerAway: value.brokerAway === true,
          },
        },
      };
    case "gap": {
      const reason = Math.max(gapReasons.indexOf(toText(value.reason)), 0);
      const { from, to, epoch } = value;
      return { event: { case: name, value: { from: toBigInt(from), to: toBigInt(to), reason, epoch: toText(epoch) } } };
    }
    case "reconnect":
      return { event: { case: name, value: { afterMs: Number(value.afterMs ?? 0) } } };
    case "settled":
      return {
        event: {
          case: name,
          value: {
            serverMsgId: toText(value.serverMsgID),
            clientMsgId: toText(value.clientMsgID),
            sequence: toBigInt(value.sequence),
            epoch: toText(value.epoch),
            wasSent: value.wasSent === true,
          },
        },
      };
    case "recall":
      return {
        event: {
          case: name,
          value: {
            serverMsgId: toText(value.serverMsgID),
            clientMsgId: toText(value.clientMsgID),
            sequence: toBigInt(value.sequence),
            epoch: toText(value.epoch),
            replacedByServerMsgId: toText(value.replacedByServerMsgID),
          },
        },
      };
    default:
      return { event: { case: undefined } };
  }
}

function toNotification(value: Json): Plain<Notification> {
  return {
    ackScope: value.ackScope === "ACK_SCOPE_USER" ? 2 : 0,
    serverMsgId: toText(value.serverMsgID),
    clientMsgId: toText(value.clientMsgID),
    sendTime: toBigInt(value.sendTime),
    sendUserId: toText(value.sendUserID),
    recvUserId: toText(value.recvUserID),
    recvGroupId: toText(value.recvGroupID),
    key: toText(value.key),
    data: toText(value.data),
    reliabilityLevel: Number(value.reliabilityLevel ?? 0),
    sequence: toBigInt(value.sequence),
    epoch: toText(value.epoch),
    collapseKey: toText(value.collapseKey),
    traceparent: toText(value.traceparent),
  };
}

/** What is no object is one without fields. */
export function toObject(json: unknown): Json {
  return typeof json === "object" && json !== null ? { ...json } : {};
}

export function toText(json: unknown): string {
  return typeof json === "string" ? json : "";
}

/** 64-bit numbers are strings in protobuf's JSON, so that they stay exact. */
export function toBigInt(json: unknown): bigint {
  return BigInt(typeof json === "string" || typeof json === "number" ? json : 0);
}
