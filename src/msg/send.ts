import { createHash } from "node:crypto";
import { create, toBinary } from "@bufbuild/protobuf";
import { failure } from "../errors.ts";
import { type Notification, NotificationSchema } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import { Durability } from "../gen/mustreach/msg/v1/msg_pb.ts";
import type { Claims } from "../nats/claims.ts";
import type { Inbox } from "../nats/inbox.ts";
import type { Live } from "../nats/live.ts";
import { createId } from "./ids.ts";
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
  readonly claims: Claims;
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
export function createSend({ inbox, claims, live, durability }: SendOptions): Send {
  return async (request, operationId) => {
    if (request.recvGroupId !== "") throw failure("RecordNotFoundError", "the group does not exist");
    const now = Date.now();
    const own = { serverMsgId: createId(now), sendTime: now, fingerprint: "" };
    // A generated id cannot have been used before.
    const { first, isRepeat } =
      request.clientMsgId === ""
        ? { first: own, isRepeat: false }
        : await claims.claim(request.clientMsgId, { ...own, fingerprint: fingerprint(request) });
    if (isRepeat && first.fingerprint !== fingerprint(request)) {
      throw failure("DuplicateKeyError", "clientMsgID was used before for another notification");
    }
    const accepted = {
      serverMsgId: first.serverMsgId,
      clientMsgId: request.clientMsgId || createId(now),
      sendTime: first.sendTime,
      durability: request.mustReach ? durability() : Durability.NONE,
    };
    const notification = toNotification(request, accepted);
    if (request.mustReach) {
      // Also for a repeat: the first try may have ended between its claim and its write, and a second write of the
      // same notification changes nothing.
      const expiresAtMs = request.ttlMs === 0 ? undefined : first.sendTime + request.ttlMs;
      await inbox.write(request.recvUserId, notification, { expiresAtMs, operationId });
    } else if (!isRepeat) {
      await live.push(request.recvUserId, toBinary(NotificationSchema, notification));
    }
    return accepted;
  };
}

function toNotification(request: ValidSend, accepted: Accepted): Notification {
  return create(NotificationSchema, {
    serverMsgId: accepted.serverMsgId,
    clientMsgId: accepted.clientMsgId,
    sendTime: BigInt(accepted.sendTime),
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
