import { createServerMsgId } from "../../src/sending/ids.ts";
import type { SendRecord } from "../../src/sending/record.ts";

/** The record of a must-reach send, now unless it has another time. */
export function toSendRecord(clientMsgId: string, change: Partial<SendRecord>): SendRecord {
  const { sendTime = Date.now() } = change;
  return {
    serverMsgId: createServerMsgId(sendTime, clientMsgId),
    clientMsgId,
    sendTime,
    fingerprint: "",
    mustReach: true,
    recvUserId: "",
    recvGroupId: "",
    recvUserIds: [],
    groupVersion: 0,
    expiresAtMs: 0,
    deliverAtMs: 0,
    recvDeviceId: "",
    exceptDeviceId: "",
    collapseKey: "",
    ...change,
  };
}
