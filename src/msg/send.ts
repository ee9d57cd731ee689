import { createHash } from "node:crypto";
import { create, toBinary } from "@bufbuild/protobuf";
import { failure } from "../errors.ts";
import { type Notification, NotificationSchema } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import { Durability } from "../gen/mustreach/msg/v1/msg_pb.ts";
import type { Inbox } from "../nats/inbox.ts";
import type { Live } from "../nats/live.ts";
import type { SendRecord, Sends } from "../nats/sends.ts";
import { createId, createServerMsgId, keyOfClientMsgId } from "./ids.ts";
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
  readonly inbox: Inbox;
  readonly sends: Sends;
  readonly live: Live;
  /** The durability of an acknowledged write, as the broker's configuration gives it now. */
  readonly durability: () => Durability;
}

/** Sends one notification; {@link createSend} makes it. */
export type Send = (request: ValidSend, operationId: string) => Promise<Accepted>;

/**
 * Creates the send: an online push is published, a must-reach notification is stored before this resolves.
 *
 * Throws DuplicateKeyError (1003) when the client message id was used with another body, RecordNotFoundError (1004)
 * for an unknown group, NetworkError (90004) when the broker did not take it; it may be stored all the same, so the
 * caller sends again with the same client message id.
 */
export function createSend({ inbox, sends, live, durability }: SendOptions): Send {
  return async (request, operationId) => {
    if (request.recvGroupId !== "") throw failure("RecordNotFoundError", "the group does not exist");
    const record = toRecord(request, Date.now());
    const isOwnId = request.clientMsgId !== "";
    const claiming =
      isOwnId || request.mustReach ? sends.claim(keyOfClientMsgId(record.clientMsgId), record) : undefined;
    // A generated id cannot have been used before: its record is written while the notification is.
    const { first, isRepeat } = (isOwnId ? await claiming : undefined) ?? { first: record, isRepeat: false };
    if (first.fingerprint !== record.fingerprint || first.clientMsgId !== record.clientMsgId) {
      throw failure("DuplicateKeyError", "clientMsgID was used before for another notification");
    }
    const notification = toNotification(request, first);
    if (request.mustReach) {
      // Also for a repeat: the first try may have ended between its record and its write, and a second write of the
      // same notification changes nothing.
      const expiresAtMs = first.expiresAtMs || undefined;
      const item = { kind: "notification", notification } as const;
      await Promise.all([claiming, inbox.write(request.recvUserId, item, { expiresAtMs, operationId })]);
    } else if (!isRepeat) {
      await live.push(request.recvUserId, toBinary(NotificationSchema, notification));
    }
    const { serverMsgId, clientMsgId, sendTime } = first;
    return { serverMsgId, clientMsgId, sendTime, durability: request.mustReach ? durability() : Durability.NONE };
  };
}

function toRecord(request: ValidSend, now: number): SendRecord {
  const clientMsgId = request.clientMsgId || createId(now);
  return {
    serverMsgId: createServerMsgId(now, clientMsgId),
    clientMsgId,
    sendTime: now,
    fingerprint: fingerprint(request),
    mustReach: request.mustReach,
    recvUserId: request.recvUserId,
    recvGroupId: request.recvGroupId,
    groupVersion: 0,
    expiresAtMs: request.ttlMs === 0 ? 0 : now + request.ttlMs,
    deliverAtMs: 0,
  };
}

function toNotification(request: ValidSend, first: SendRecord): Notification {
  return create(NotificationSchema, {
    serverMsgId: first.serverMsgId,
    clientMsgId: first.clientMsgId,
    sendTime: BigInt(first.sendTime),
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
