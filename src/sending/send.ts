import { createHash } from "node:crypto";
import { create, toBinary } from "@bufbuild/protobuf";
import { failure } from "../errors.ts";
import { type Notification, NotificationSchema } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import { Durability } from "../gen/mustreach/msg/v1/msg_pb.ts";
import type { Deliver, Delivery } from "./deliver.ts";
import { createId, createServerMsgId, keyOfClientMsgId } from "./ids.ts";
import type { SendRecord, Sends } from "./record.ts";
import type { OnlinePush, SyncSender } from "./sender-sync.ts";
import type { ValidSend } from "./validate.ts";

/** What was accepted. */
export interface Accepted {
  readonly serverMsgId: string;
  readonly clientMsgId: string;
  /** Epoch milliseconds. */
  readonly sendTime: number;
  readonly durability: Durability;
}

/** Options of {@link createSend}. */
export interface SendOptions {
  readonly sends: Sends;
  readonly live: OnlinePush;
  readonly deliver: Deliver;
  /** Keeps a delivery until its time. */
  readonly later: (delivery: Delivery) => Promise<void>;
  /**
   * The version of a group that can be sent to: its members are the recipients.
   *
   * @throws RecordNotFoundError (1004) for an unknown group, DismissedAlreadyError (1204) for a dismissed one.
   */
  readonly groupVersion: (groupId: string) => Promise<number>;
  readonly syncSender: SyncSender;
  /** The durability of an acknowledged write, as the broker's configuration gives it now. */
  readonly durability: () => Durability;
}

/** Sends one notification; {@link createSend} makes it. */
export type Send = (request: ValidSend, operationId: string) => Promise<Accepted>;

/**
 * Creates the send: an online push is published, a must-reach notification is stored before this resolves.
 *
 * Throws DuplicateKeyError (1003) when the client message id was used with another body, RecordNotFoundError (1004)
 * for an unknown group, DismissedAlreadyError (1204) for a dismissed one, NetworkError (90004) when the broker did not
 * take it; it may be stored all the same, so the caller sends again with the same client message id.
 */
export function createSend(options: SendOptions): Send {
  const { sends, live, deliver, later, groupVersion, syncSender, durability } = options;

  const push = async (request: ValidSend, notification: Notification): Promise<void> => {
    const bytes = toBinary(NotificationSchema, notification);
    if (request.recvGroupId !== "") return live.pushGroup(request.recvGroupId, bytes);
    await live.push(request.recvUserId, bytes);
  };

  /** The version of the group now, or that of the first send for a repeat to a group that was dismissed since. */
  const findVersion = async ({ recvGroupId, clientMsgId }: ValidSend): Promise<number> => {
    try {
      return await groupVersion(recvGroupId);
    } catch (error) {
      const first = clientMsgId === "" ? undefined : await sends.find(keyOfClientMsgId(clientMsgId));
      if (first === undefined || first.recvGroupId !== recvGroupId) throw error;
      return first.groupVersion;
    }
  };

  return async (request, operationId) => {
    const version = request.recvGroupId === "" ? 0 : await findVersion(request);
    const record = toRecord(request, version, Date.now());
    const key = keyOfClientMsgId(record.clientMsgId);
    const isOwnId = request.clientMsgId !== "";
    const claiming = isOwnId || request.mustReach ? sends.claim(key, record) : undefined;
    // A generated id cannot have been used before: its record is written while the notification is.
    const { first, isRepeat } = (isOwnId ? await claiming : undefined) ?? { first: record, isRepeat: false };
    if (first.fingerprint !== record.fingerprint || first.clientMsgId !== record.clientMsgId) {
      throw failure("DuplicateKeyError", "clientMsgID was used before for another notification");
    }
    const notification = toNotification(request, first);
    const { sendMsg, escalateAfterMs } = request;
    const delivery: Delivery = { record: first, notification, sendMsg, escalateAfterMs, operationId };
    const isLater = first.deliverAtMs > Date.now();
    // Also for a repeat: the first try may have ended between its record and its write, and a second write of the same
    // notification changes nothing. Only one that was recalled must not come back.
    const isRecalled = isRepeat && request.mustReach && (await sends.recalledAt(first.serverMsgId)) !== undefined;
    await Promise.all([claiming, isRecalled ? undefined : isLater ? later(delivery) : deliver(delivery)]);
    if (!isRepeat && !isLater) {
      if (!request.mustReach) await push(request, notification);
      await syncSender(notification);
    }
    const { serverMsgId, clientMsgId, sendTime } = first;
    return { serverMsgId, clientMsgId, sendTime, durability: request.mustReach ? durability() : Durability.NONE };
  };
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
