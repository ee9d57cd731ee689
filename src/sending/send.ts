import { create } from "@bufbuild/protobuf";
import { toAddressing } from "../addressing.ts";
import { type Clock, systemClock } from "../clock.ts";
import { failure } from "../errors.ts";
import { AckScope, type Notification, NotificationSchema } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import { Durability } from "../gen/mustreach/msg/v1/msg_pb.ts";
import { forAll } from "../in-flight.ts";
import type { Inbox } from "../inbox/inbox.ts";
import { encodeNotification, type ReportCause, withIds, withRecipient } from "../inbox/items.ts";
import type { NotificationIds } from "../inbox/place-id.ts";
import type { Unit } from "../publishing/in-order.ts";
import type { Recalls } from "../recalling/findings.ts";
import { currentTraceparent } from "../tracing/traceparent.ts";
import { type DeliverDeps, type Delivery, deliver, soleWrite } from "./deliver.ts";
import { createId, createServerMsgId } from "./ids.ts";
import { type Claimed, fingerprint, type SendRecord, type Sends } from "./record.ts";
import { type OnlinePush, type SyncSenderDeps, syncSender } from "./sender-sync.ts";
import type { ValidSend } from "./validate.ts";

/** Users of a list that an online push is published to at a time, in one write. */
const maxPushes = 64;

/** What was accepted. */
export interface Accepted {
  readonly serverMsgId: string;
  readonly clientMsgId: string;
  /** Epoch milliseconds. */
  readonly sendTime: number;
  readonly durability: Durability;
}

/** {@link send} with what it needs. */
export type Send = (request: ValidSend, operationId: string) => Promise<Accepted>;

export interface SendDeps extends DeliverDeps, SyncSenderDeps {
  readonly inbox: Pick<Inbox, "placing" | "write" | "prepare">;
  readonly sends: Pick<Sends, "claim" | "prepare" | "find">;
  readonly recalls: Pick<Recalls, "recalledAt">;
  readonly live: OnlinePush;
  /** Keeps a delivery until its time. */
  readonly later: (delivery: Delivery) => Promise<void>;
  /**
   * The version of a group that can be sent to: its members are the recipients.
   *
   * @throws RecordNotFoundError (1004) for an unknown group, DismissedAlreadyError (1204) for a dismissed one.
   */
  readonly groupVersion: (groupId: string) => Promise<number>;
  /** The durability of an acknowledged write, as the broker's configuration gives it now. */
  readonly durability: () => Durability;
  /** Default: the system's. */
  readonly clock?: Clock;
}

/**
 * Sends one notification: an online push is published, a must-reach notification is stored before this resolves.
 *
 * @throws DuplicateKeyError (1003) when the client message id was used with another body, RecordNotFoundError (1004) for
 * an unknown group, DismissedAlreadyError (1204) for a dismissed one, NetworkError (90004) when the broker did not take
 * it; it may be stored all the same, so the caller sends again with the same client message id.
 */
export async function send(deps: SendDeps, request: ValidSend, operationId: string): Promise<Accepted> {
  return toAccepted(deps, request, await wayOf(request)(deps, request, operationId));
}

/** A send that is stored together with others. */
export interface Begun {
  /** All that is stored of it, none of it if anything of it is there already. */
  readonly unit: Unit;
  /** Finishes it when that is stored. */
  stored(sequence: number): Promise<Accepted>;
  /** Sends it when that is not stored, or not known to be. Throws as {@link send}. */
  alone(): Promise<Accepted>;
}

/** Lays a send out that is one unit of writes: a must-reach notification to a user, now. Undefined for any other. */
export function begin(deps: SendDeps, request: ValidSend, operationId: string): Begun | undefined {
  const { mustReach, recvUserId, sendMsg, sendAtMs, clientMsgId, collapseKey } = request;
  if (!mustReach || recvUserId === "" || sendMsg || sendAtMs > 0 || collapseKey !== "") return undefined;
  const layOut = clientMsgId === "" ? layOutPlaced : layOutRecorded;
  const laidOut = layOut(deps, request, operationId);
  return (
    laidOut && {
      unit: laidOut.unit,
      stored: async (sequence) => toAccepted(deps, request, await laidOut.stored(sequence)),
      alone: async () => toAccepted(deps, request, await laidOut.alone()),
    }
  );
}

function toAccepted({ durability }: SendDeps, { mustReach }: ValidSend, sent: Sent): Accepted {
  const { serverMsgId, clientMsgId, sendTime } = sent;
  return { serverMsgId, clientMsgId, sendTime, durability: mustReach ? durability() : Durability.NONE };
}

function now({ clock = systemClock }: SendDeps): number {
  return clock.now();
}

type Sent = Pick<SendRecord, "serverMsgId" | "clientMsgId" | "sendTime">;
type Way = (deps: SendDeps, request: ValidSend, operationId: string) => Promise<Sent>;

interface LaidOut {
  readonly unit: Unit;
  stored(sequence: number): Promise<Sent>;
  alone(): Promise<Sent>;
}

/** What is sent under an id of its caller's, or leaves more than one notification behind, needs a record. */
function wayOf({ mustReach, clientMsgId, recvUserId, sendMsg, sendAtMs, collapseKey }: ValidSend): Way {
  if (clientMsgId !== "" || sendMsg || sendAtMs > 0 || collapseKey !== "") return sendRecorded;
  if (!mustReach) return pushOnly;
  return recvUserId === "" ? sendRecorded : sendPlaced;
}

/** An online push that nobody can repeat or ask for: nothing of it is kept. */
async function pushOnly(deps: SendDeps, request: ValidSend): Promise<Sent> {
  const version = request.recvGroupId === "" ? 0 : await deps.groupVersion(request.recvGroupId);
  const sendTime = now(deps);
  const sent = { serverMsgId: createId(sendTime), clientMsgId: createId(sendTime), sendTime };
  const notification = toNotification(request, sent);
  await push(deps.live, notification, request, version);
  syncSender(deps, notification);
  return sent;
}

/** A notification to a user whose ids are its place: one write is all of it. */
function sendPlaced(deps: SendDeps, request: ValidSend, operationId: string): Promise<Sent> {
  return layOutPlaced(deps, request, operationId).alone();
}

function layOutPlaced(deps: SendDeps, request: ValidSend, operationId: string): LaidOut {
  const { ttlMs, escalateAfterMs } = request;
  const sendTime = now(deps);
  const notification = toNotification(request, { serverMsgId: "", clientMsgId: "", sendTime });
  const expiresAtMs = ttlMs === 0 ? undefined : sendTime + ttlMs;
  const devices = toAddressing(request);
  const options = { expiresAtMs, escalateAfterMs, devices, operationId, report: toCause(request) };
  const { stream, write, wrote, store } = deps.inbox.placing(request.recvUserId, notification, options);
  const finish = async (ids: NotificationIds): Promise<Sent> => {
    syncSender(deps, notification, () => withIds(write.payload, ids));
    return { ...ids, sendTime };
  };
  return {
    unit: { stream, writes: [write] },
    stored: (sequence) => finish(wrote(sequence)),
    alone: async () => finish(await store()),
  };
}

/** Undefined where record and notification go into two streams, or the id has to be looked up first. */
function layOutRecorded(deps: SendDeps, request: ValidSend, operationId: string): LaidOut | undefined {
  const record = toRecord(request, 0, now(deps));
  const notification = toNotification(request, record);
  const { sendMsg, escalateAfterMs } = request;
  const along = soleWrite(deps, { record, notification, sendMsg, escalateAfterMs, operationId });
  const unit = along && deps.sends.prepare(record, along);
  return (
    unit && {
      unit,
      async stored(sequence) {
        along.wrote(sequence);
        syncSender(deps, notification, () => along.write.payload);
        return record;
      },
      alone: () => sendRecorded(deps, request, operationId),
    }
  );
}

async function sendRecorded(deps: SendDeps, request: ValidSend, operationId: string): Promise<Sent> {
  const { mustReach, sendMsg, escalateAfterMs } = request;
  const toDelivery = (record: SendRecord): Delivery => {
    const notification = toNotification(request, { ...record, sendTime: record.deliverAtMs || record.sendTime });
    return { record, notification, sendMsg, escalateAfterMs, operationId };
  };
  const own = toDelivery(toRecord(request, await findVersion(deps, request), now(deps)));
  const isRecorded = mustReach || request.clientMsgId !== "";
  const { first, isRepeat, isStored } = isRecorded ? await claim(deps, own) : unrecorded(own.record);
  const delivery = isRepeat ? toDelivery(first) : own;
  const isLater = first.deliverAtMs > now(deps);
  // Also for a repeat: the first try may have ended between its record and its write, and a second write of the same
  // notification changes nothing. Only one that was recalled must not come back.
  const isRecalled =
    isRepeat && !isStored && mustReach && (await deps.recalls.recalledAt(first.serverMsgId)) !== undefined;
  if (!isStored && !isRecalled) await (isLater ? deps.later(delivery) : deliver(deps, delivery));
  if (!isRepeat && !isLater) {
    if (!mustReach) await push(deps.live, delivery.notification, request, first.groupVersion);
    syncSender(deps, delivery.notification);
  }
  return first;
}

/** Records a send, and stores its notification with it where that is all there is to store. */
async function claim(deps: SendDeps, own: Delivery): Promise<Claimed> {
  const { record } = own;
  const claimed = await deps.sends.claim(record, soleWrite(deps, own));
  const { first } = claimed;
  if (first.fingerprint !== record.fingerprint || first.clientMsgId !== record.clientMsgId) {
    throw failure("DuplicateKeyError", "clientMsgID was used before for another notification");
  }
  return claimed;
}

/** A chat copy of an online push is found in its conversation. */
function unrecorded(record: SendRecord): Claimed {
  return { first: record, isRepeat: false, isStored: false };
}

/** The version of the group now, or that of the first send for a repeat to a group that was dismissed since. */
async function findVersion(
  { sends, groupVersion }: SendDeps,
  { recvGroupId, clientMsgId }: ValidSend,
): Promise<number> {
  if (recvGroupId === "") return 0;
  try {
    return await groupVersion(recvGroupId);
  } catch (error) {
    const first = clientMsgId === "" ? undefined : await sends.find({ serverMsgId: "", clientMsgId });
    if (first === undefined || first.recvGroupId !== recvGroupId) throw error;
    return first.groupVersion;
  }
}

async function push(
  live: OnlinePush,
  notification: Notification,
  request: ValidSend,
  groupVersion: number,
): Promise<void> {
  const { recvUserId, recvGroupId, recvUserIds } = request;
  const bytes = encodeNotification(notification);
  if (recvGroupId !== "") return live.pushGroup(recvGroupId, bytes, groupVersion);
  if (recvUserId !== "") return live.push(recvUserId, bytes, toAddressing(request));
  await forAll(recvUserIds, maxPushes, (userId) => live.push(userId, withRecipient(bytes, userId)));
}

function toRecord(request: ValidSend, groupVersion: number, now: number): SendRecord {
  const clientMsgId = request.clientMsgId || createId(now);
  const deliverAtMs = request.sendAtMs > now ? request.sendAtMs : 0;
  return {
    serverMsgId: createServerMsgId(now, clientMsgId),
    clientMsgId,
    sendTime: now,
    fingerprint: fingerprint(request),
    mustReach: request.mustReach,
    recvUserId: request.recvUserId,
    recvGroupId: request.recvGroupId,
    recvUserIds: request.recvUserIds,
    groupVersion,
    expiresAtMs: request.ttlMs === 0 ? 0 : (deliverAtMs || now) + request.ttlMs,
    deliverAtMs,
    reportKey: request.isReported ? request.key : undefined,
    isUserScoped: request.isUserScoped,
    recvDeviceId: request.recvDeviceId,
    exceptDeviceId: request.exceptDeviceId,
    collapseKey: request.collapseKey,
  };
}

function toCause({ report, isReported }: ValidSend): ReportCause | undefined {
  if (!isReported) return undefined;
  return report ? "send" : "key";
}

function toNotification(request: ValidSend, { serverMsgId, clientMsgId, sendTime }: Sent): Notification {
  return create(NotificationSchema, {
    serverMsgId,
    clientMsgId,
    sendTime: BigInt(sendTime),
    sendUserId: request.sendUserId,
    recvUserId: request.recvUserId,
    recvGroupId: request.recvGroupId,
    key: request.key,
    data: request.data,
    reliabilityLevel: request.mustReach ? 2 : 1,
    collapseKey: request.collapseKey,
    traceparent: currentTraceparent(),
    ackScope: request.isUserScoped ? AckScope.USER : AckScope.UNSPECIFIED,
  });
}
