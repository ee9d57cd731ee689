import { createHash } from "node:crypto";
import { create, toBinary } from "@bufbuild/protobuf";
import { failure } from "../errors.ts";
import { type Notification, NotificationSchema } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import { Durability } from "../gen/mustreach/msg/v1/msg_pb.ts";
import type { Recalls } from "../recalling/findings.ts";
import { type DeliverDeps, type Delivery, deliver, soleWrite } from "./deliver.ts";
import { createId, createServerMsgId, keyOfClientMsgId } from "./ids.ts";
import type { Claimed, SendRecord, Sends } from "./record.ts";
import { type OnlinePush, type SyncSenderDeps, syncSender } from "./sender-sync.ts";
import type { ValidSend } from "./validate.ts";

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
  readonly sends: Pick<Sends, "claim" | "find" | "streamOf">;
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
}

/**
 * Sends one notification: an online push is published, a must-reach notification is stored before this resolves.
 *
 * @throws DuplicateKeyError (1003) when the client message id was used with another body, RecordNotFoundError (1004) for
 * an unknown group, DismissedAlreadyError (1204) for a dismissed one, NetworkError (90004) when the broker did not take
 * it; it may be stored all the same, so the caller sends again with the same client message id.
 */
export async function send(deps: SendDeps, request: ValidSend, operationId: string): Promise<Accepted> {
  const { later, durability } = deps;
  const { mustReach, sendMsg, escalateAfterMs } = request;
  const toDelivery = (record: SendRecord): Delivery => {
    return { record, notification: toNotification(request, record), sendMsg, escalateAfterMs, operationId };
  };
  const now = Date.now();
  const clientMsgId = request.clientMsgId || drawId(deps, request, now);
  const own = toDelivery(toRecord(request, clientMsgId, await findVersion(deps, request), now));
  const isRecorded = mustReach || request.clientMsgId !== "";
  const { first, isRepeat, alongAt } = isRecorded ? await claim(deps, own) : unrecorded(own.record);
  const delivery = isRepeat ? toDelivery(first) : own;
  const isLater = first.deliverAtMs > Date.now();
  // Also for a repeat: the first try may have ended between its record and its write, and a second write of the same
  // notification changes nothing. Only one that was recalled must not come back.
  const isRecalled = isRepeat && mustReach && (await deps.recalls.recalledAt(first.serverMsgId)) !== undefined;
  if (alongAt === undefined && !isRecalled) await (isLater ? later(delivery) : deliver(deps, delivery));
  if (!isRepeat && !isLater) {
    if (!mustReach) await push(deps.live, delivery.notification);
    await syncSender(deps, delivery.notification);
  }
  const { serverMsgId, sendTime } = first;
  return { serverMsgId, clientMsgId, sendTime, durability: mustReach ? durability() : Durability.NONE };
}

/** Records a send, and stores its notification with it where that is all there is to store. */
async function claim(deps: SendDeps, own: Delivery): Promise<Claimed> {
  const { record } = own;
  const claimed = await deps.sends.claim(keyOfClientMsgId(record.clientMsgId), record, soleWrite(deps, own));
  const { first } = claimed;
  if (first.fingerprint !== record.fingerprint || first.clientMsgId !== record.clientMsgId) {
    throw failure("DuplicateKeyError", "clientMsgID was used before for another notification");
  }
  return claimed;
}

/** What nobody can repeat or ask for is not recorded. */
function unrecorded(record: SendRecord): Claimed {
  return { first: record, isRepeat: false };
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
    const first = clientMsgId === "" ? undefined : await sends.find(keyOfClientMsgId(clientMsgId));
    if (first === undefined || first.recvGroupId !== recvGroupId) throw error;
    return first.groupVersion;
  }
}

async function push(live: OnlinePush, notification: Notification): Promise<void> {
  const bytes = toBinary(NotificationSchema, notification);
  if (notification.recvGroupId !== "") await live.pushGroup(notification.recvGroupId, bytes);
  else await live.push(notification.recvUserId, bytes);
}

/** An id whose record lies in the stream of the recipient's inbox, so that one round trip stores both. */
function drawId({ sends, inbox }: SendDeps, { mustReach, recvUserId }: ValidSend, now: number): string {
  const stream = mustReach && recvUserId !== "" ? inbox.streamOf(recvUserId) : undefined;
  for (;;) {
    const id = createId(now);
    if (stream === undefined || sends.streamOf(keyOfClientMsgId(id)) === stream) return id;
  }
}

function toRecord(request: ValidSend, clientMsgId: string, groupVersion: number, now: number): SendRecord {
  const deliverAtMs = request.sendAtMs > now ? request.sendAtMs : 0;
  return {
    serverMsgId: createServerMsgId(now, clientMsgId),
    clientMsgId,
    sendTime: now,
    fingerprint: fingerprint(request),
    mustReach: request.mustReach,
    recvUserId: request.recvUserId,
    recvGroupId: request.recvGroupId,
    groupVersion,
    expiresAtMs: request.ttlMs === 0 ? 0 : (deliverAtMs || now) + request.ttlMs,
    deliverAtMs,
  };
}

function toNotification(request: ValidSend, first: SendRecord): Notification {
  return create(NotificationSchema, {
    serverMsgId: first.serverMsgId,
    clientMsgId: first.clientMsgId,
    sendTime: BigInt(first.deliverAtMs || first.sendTime),
    sendUserId: request.sendUserId,
    recvUserId: request.recvUserId,
    recvGroupId: request.recvGroupId,
    key: request.key,
    data: request.data,
    reliabilityLevel: request.mustReach ? 2 : 1,
  });
}

function fingerprint(request: ValidSend): string {
  const { clientMsgId: _, ...body } = request;
  return createHash("sha256")
    .update(JSON.stringify(Object.values(body)))
    .digest("base64url");
}
