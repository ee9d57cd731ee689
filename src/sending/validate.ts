import type { Addressing } from "../addressing.ts";
import { type Clock, systemClock } from "../clock.ts";
import { wrongField } from "../errors.ts";
import { AckScope } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import type { SendBusinessNotificationRequest } from "../gen/mustreach/msg/v1/msg_pb.ts";
import {
  maxClientMsgIdBytes,
  maxCollapseKeyBytes,
  maxDeviceIdBytes,
  maxGroupIdBytes,
  maxKeyBytes,
  maxOverheadBytes,
  maxRecvUserIds,
  maxRecvUserIdsBytes,
  maxUserIdBytes,
  requireId,
} from "../limits.ts";

/** A request that can be sent: defaults filled in, limits kept. */
export interface ValidSend extends Addressing {
  /** Whether the first acknowledgement of a device settles it for the user. */
  readonly isUserScoped: boolean;
  readonly sendUserId: string;
  /** Exactly one of the three is not empty. */
  readonly recvUserId: string;
  readonly recvGroupId: string;
  /** Each once, in the order of the ids. */
  readonly recvUserIds: readonly string[];
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
  /** What it is about; empty: it replaces nothing. */
  readonly collapseKey: string;
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
  /** Default: the system's. */
  readonly clock?: Clock;
}

/**
 * Checks a send against its documented rules. OpenIM itself accepts a missing `key` or `data` and any
 * reliabilityLevel; a caller that leaves them out has made a mistake, and is told.
 *
 * @throws ArgsError (1001) for the first rule that is broken.
 */
export function validateSend(request: SendBusinessNotificationRequest, limits: SendLimits): ValidSend {
  requireId(request.sendUserId, "sendUserID", maxUserIdBytes);
  const recvUserIds = requireRecipients(request);
  requireId(request.key, "key", maxKeyBytes);
  if (request.data === undefined) throw wrongField("data", "data is required");
  // A lone surrogate has no UTF-8: the device would get something else than was sent.
  if (!request.data.isWellFormed()) throw wrongField("data", "data must be well-formed Unicode");
  const dataBytes = Buffer.byteLength(request.data);
  // A broker that was reconfigured since the start may take less than MUSTREACH_MAX_DATA_BYTES, and would never take it.
  const maxDataBytes = Math.min(
    limits.maxDataBytes,
    limits.maxPayloadBytes() - maxOverheadBytes - storedBytesOf(recvUserIds),
  );
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
  if (request.collapseKey !== "") {
    requireId(request.collapseKey, "collapseKey", maxCollapseKeyBytes);
    if (request.recvDeviceId !== "" || request.exceptDeviceId !== "") {
      throw wrongField("collapseKey", "collapseKey cannot be set with recvDeviceID or exceptDeviceID");
    }
    if (level !== 2)
      throw wrongField("collapseKey", "collapseKey needs reliabilityLevel 2: an online push is not stored");
    if (recvUserIds.length > 0) {
      throw wrongField("collapseKey", "collapseKey and recvUserIDs cannot be set at the same time: send to each user");
    }
  }
  const { escalationDelaySeconds } = request;
  if (escalationDelaySeconds < 0 || escalationDelaySeconds > maxEscalationDelaySeconds) {
    throw wrongField("escalationDelaySeconds", `escalationDelaySeconds must be 1 to ${maxEscalationDelaySeconds}`);
  }
  const sendAtMs = Number(request.sendAt);
  if (sendAtMs < 0 || (sendAtMs > 0 && sendAtMs > (limits.clock ?? systemClock).now() + limits.retentionMs)) {
    throw wrongField("sendAt", "sendAt must be milliseconds since the Unix epoch, at most the retention ahead");
  }
  if (request.report && level !== 2) {
    throw wrongField("report", "report needs reliabilityLevel 2: of an online push nothing is known");
  }
  if (request.ackScope < AckScope.UNSPECIFIED || request.ackScope > AckScope.USER) {
    throw wrongField("ackScope", "ackScope must be DEVICE or USER");
  }
  if (request.ackScope === AckScope.USER && level !== 2) {
    throw wrongField("ackScope", "ackScope USER needs reliabilityLevel 2: an online push is not acknowledged");
  }
  requireAddressing(request);
  return {
    sendUserId: request.sendUserId,
    recvUserId: request.recvUserId,
    recvGroupId: request.recvGroupId,
    recvUserIds,
    key: request.key,
    data: request.data,
    sendMsg: request.sendMsg,
    mustReach: level === 2,
    clientMsgId: request.clientMsgId,
    ttlMs: request.ttlSeconds * 1_000,
    sendAtMs,
    escalateAfterMs: escalationDelaySeconds === 0 ? undefined : escalationDelaySeconds * 1_000,
    report: request.report,
    isReported: request.report || (level === 2 && isReportedKey(request.key, limits.reportKeys ?? [])),
    isUserScoped: request.ackScope === AckScope.USER,
    recvDeviceId: request.recvDeviceId,
    exceptDeviceId: request.exceptDeviceId,
    collapseKey: request.collapseKey,
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

/** Checks who it is for, and returns the list of users, if it is for one. */
function requireRecipients(request: SendBusinessNotificationRequest): readonly string[] {
  const { recvUserId, recvGroupId, recvUserIds } = request;
  const given = Number(recvUserId !== "") + Number(recvGroupId !== "") + Number(recvUserIds.length > 0);
  if (given === 0) {
    throw wrongField("recvUserID", "recvUserID and recvGroupID cannot be empty at the same time");
  }
  if (recvUserIds.length > 0) {
    if (given > 1) throw wrongField("recvUserIDs", "recvUserIDs cannot be set with recvUserID or recvGroupID");
    return requireRecvUserIds(request);
  }
  if (given > 1) throw wrongField("recvUserID", "recvUserID and recvGroupID cannot be set at the same time");
  if (recvUserId !== "") requireId(recvUserId, "recvUserID", maxUserIdBytes);
  if (recvGroupId !== "") requireId(recvGroupId, "recvGroupID", maxGroupIdBytes);
  return [];
}

function requireRecvUserIds({ recvUserIds, sendMsg }: SendBusinessNotificationRequest): readonly string[] {
  const distinct = new Set(recvUserIds);
  if (distinct.size > maxRecvUserIds) {
    throw wrongField("recvUserIDs", `recvUserIDs must hold 1 to ${maxRecvUserIds}, not ${distinct.size}`);
  }
  let bytes = 0;
  for (const userId of distinct) {
    requireId(userId, "each of recvUserIDs", maxUserIdBytes);
    bytes += Buffer.byteLength(userId);
  }
  if (bytes > maxRecvUserIdsBytes) {
    const errDlt = `recvUserIDs add up to ${bytes} bytes of UTF-8, at most ${maxRecvUserIdsBytes} are allowed`;
    throw wrongField("recvUserIDs", errDlt);
  }
  if (sendMsg) throw wrongField("sendMsg", "sendMsg cannot be set with recvUserIDs: a list has no conversation");
  return [...distinct].sort();
}

/** What a list takes where it is stored: each id has a tag and a length besides. */
function storedBytesOf(userIds: readonly string[]): number {
  return userIds.reduce((sum, userId) => sum + Buffer.byteLength(userId) + 3, 0);
}
