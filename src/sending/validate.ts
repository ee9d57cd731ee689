import type { Addressing } from "../addressing.ts";
import { wrongField } from "../errors.ts";
import type { SendBusinessNotificationRequest } from "../gen/mustreach/msg/v1/msg_pb.ts";
import {
  maxClientMsgIdBytes,
  maxDeviceIdBytes,
  maxGroupIdBytes,
  maxKeyBytes,
  maxOverheadBytes,
  maxUserIdBytes,
  requireId,
} from "../limits.ts";

/** A request that can be sent: defaults filled in, limits kept. */
export interface ValidSend extends Addressing {
  readonly sendUserId: string;
  /** Exactly one of the two is not empty. */
  readonly recvUserId: string;
  readonly recvGroupId: string;
  readonly key: string;
  readonly data: string;
  readonly sendMsg: boolean;
  readonly mustReach: boolean;
  /** Empty when the caller left it to us. */
  readonly clientMsgId: string;
  /** 0: for the whole retention. */
  readonly ttlMs: number;
  /** When to deliver it, in epoch milliseconds; 0: now. */
  readonly sendAtMs: number;
  /** How long to wait for an acknowledgement before the webhook gets it, in milliseconds; undefined: as configured. */
  readonly escalateAfterMs: number | undefined;
  /** Whether the caller asked for reports of what becomes of it. */
  readonly report: boolean;
  /** Whether it is reported: the caller asked for it, or its key has it so. */
  readonly isReported: boolean;
}

/** The longest wait before the webhook gets a notification, in seconds: a day. */
const maxEscalationDelaySeconds = 86_400;

export interface SendLimits {
  /** The largest `data`, in bytes of UTF-8. */
  readonly maxDataBytes: number;
  /** How long notifications are kept, in milliseconds: the longest ttl. */
  readonly retentionMs: number;
  /** The largest message that the broker takes now, in bytes. */
  readonly maxPayloadBytes: () => number;
  /** What of must-reach notifications is reported begins its key with one of these; `*`: all. Default: none. */
  readonly reportKeys?: readonly string[] | undefined;
}

/**
 * Checks a send against its documented rules. OpenIM itself accepts a missing `key` or `data` and any
 * reliabilityLevel; a caller that leaves them out has made a mistake, and is told.
 *
 * @throws ArgsError (1001) for the first rule that is broken.
 */
export function validateSend(request: SendBusinessNotificationRequest, limits: SendLimits): ValidSend {
  requireId(request.sendUserId, "sendUserID", maxUserIdBytes);
  if (request.recvUserId === "" && request.recvGroupId === "") {
    throw wrongField("recvUserID", "recvUserID and recvGroupID cannot be empty at the same time");
  }
  if (request.recvUserId !== "" && request.recvGroupId !== "") {
    throw wrongField("recvUserID", "recvUserID and recvGroupID cannot be set at the same time");
  }
  if (request.recvUserId !== "") requireId(request.recvUserId, "recvUserID", maxUserIdBytes);
  if (request.recvGroupId !== "") requireId(request.recvGroupId, "recvGroupID", maxGroupIdBytes);
  requireId(request.key, "key", maxKeyBytes);
  if (request.data === undefined) throw wrongField("data", "data is required");
  // A lone surrogate has no UTF-8: the device would get something else than was sent.
  if (!request.data.isWellFormed()) throw wrongField("data", "data must be well-formed Unicode");
  const dataBytes = Buffer.byteLength(request.data);
  // A broker that was reconfigured since the start may take less than MUSTREACH_MAX_DATA_BYTES, and would never take it.
  const maxDataBytes = Math.min(limits.maxDataBytes, limits.maxPayloadBytes() - maxOverheadBytes);
  if (dataBytes > maxDataBytes) {
    throw wrongField("data", `data is ${dataBytes} bytes of UTF-8, at most ${maxDataBytes} are allowed`);
  }
  const level = request.reliabilityLevel ?? 0;
  if (level < 0 || level > 2) throw wrongField("reliabilityLevel", "reliabilityLevel must be 1 or 2");
  if (request.clientMsgId !== "") requireId(request.clientMsgId, "clientMsgID", maxClientMsgIdBytes);
  const maxTtlSeconds = Math.floor(limits.retentionMs / 1_000);
  if (request.ttlSeconds < 0 || request.ttlSeconds > maxTtlSeconds) {
    throw wrongField("ttlSeconds", `ttlSeconds must be 1 to ${maxTtlSeconds}, the retention`);
  }
  if (request.ttlSeconds > 0 && level !== 2) {
    throw wrongField("ttlSeconds", "ttlSeconds needs reliabilityLevel 2: an online push is not stored");
  }
  if (level !== 2 && (request.sendAt !== 0n || request.escalationDelaySeconds !== 0)) {
    throw wrongField("reliabilityLevel", "sendAt and escalationDelaySeconds need reliabilityLevel 2");
  }
  const { escalationDelaySeconds } = request;
  if (escalationDelaySeconds < 0 || escalationDelaySeconds > maxEscalationDelaySeconds) {
    throw wrongField("escalationDelaySeconds", `escalationDelaySeconds must be 1 to ${maxEscalationDelaySeconds}`);
  }
  if (request.sendAt < 0n || request.sendAt > BigInt(Date.now() + limits.retentionMs)) {
    throw wrongField("sendAt", "sendAt must be milliseconds since the Unix epoch, at most the retention ahead");
  }
  if (request.report && level !== 2) {
    throw wrongField("report", "report needs reliabilityLevel 2: of an online push nothing is known");
  }
  requireAddressing(request);
  return {
    sendUserId: request.sendUserId,
    recvUserId: request.recvUserId,
    recvGroupId: request.recvGroupId,
    key: request.key,
    data: request.data,
    sendMsg: request.sendMsg,
    mustReach: level === 2,
    clientMsgId: request.clientMsgId,
    ttlMs: request.ttlSeconds * 1_000,
    sendAtMs: Number(request.sendAt),
    escalateAfterMs: escalationDelaySeconds === 0 ? undefined : escalationDelaySeconds * 1_000,
    report: request.report,
    isReported: request.report || (level === 2 && isReportedKey(request.key, limits.reportKeys ?? [])),
    recvDeviceId: request.recvDeviceId,
    exceptDeviceId: request.exceptDeviceId,
  };
}

function isReportedKey(key: string, prefixes: readonly string[]): boolean {
  return prefixes.some((prefix) => prefix === "*" || key.startsWith(prefix));
}

function requireAddressing(request: SendBusinessNotificationRequest): void {
  const { recvDeviceId, exceptDeviceId } = request;
  if (recvDeviceId === "" && exceptDeviceId === "") return;
  const field = recvDeviceId === "" ? "exceptDeviceID" : "recvDeviceID";
  if (recvDeviceId !== "" && exceptDeviceId !== "") {
    throw wrongField(field, "recvDeviceID and exceptDeviceID cannot be set at the same time");
  }
  requireId(recvDeviceId || exceptDeviceId, field, maxDeviceIdBytes);
  if (request.recvUserId === "") throw wrongField(field, `${field} needs recvUserID: devices are those of one user`);
  if (request.sendMsg) throw wrongField(field, `${field} cannot be set with sendMsg: a chat copy is for all devices`);
}
