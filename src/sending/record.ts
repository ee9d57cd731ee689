import { hash } from "node:crypto";
import { create, toBinary } from "@bufbuild/protobuf";
import type { Addressing } from "../addressing.ts";
import type { Broker } from "../broker/connect.ts";
import { toRefusal } from "../broker/faults.ts";
import type { DirectGet } from "../broker/reads/direct-get.ts";
import { findSurely } from "../broker/reads/leader.ts";
import { toPartition } from "../broker/subjects.ts";
import { decodeStored } from "../decode-stored.ts";
import { SendRecordSchema, type SendRecord as StoredSend } from "../gen/mustreach/store/v1/send_pb.ts";
import type { PreparedWrite } from "../inbox/inbox.ts";
import { inboxStream } from "../inbox/layout.ts";
import { type ItemPlace, parsePlaceId } from "../inbox/place-id.ts";
import type { Unit } from "../publishing/in-order.ts";
import type { Publisher } from "../publishing/publish.ts";
import { keyOfClientMsgId, keyOfServerMsgId } from "./ids.ts";
import { sentSubject } from "./layout.ts";
import type { ValidSend } from "./validate.ts";

/** What was accepted under a client message id, first. */
export interface SendRecord extends Addressing {
  readonly serverMsgId: string;
  readonly clientMsgId: string;
  /** When it was accepted, in epoch milliseconds. */
  readonly sendTime: number;
  /** SHA-256 of the body that was sent, in base64url. */
  readonly fingerprint: string;
  readonly mustReach: boolean;
  readonly recvUserId: string;
  readonly recvGroupId: string;
  /** The users of a send to a list, in the order of the ids. */
  readonly recvUserIds: readonly string[];
  /** The version of the group whose members are the recipients; 0 for a send to a user. */
  readonly groupVersion: number;
  /** Epoch milliseconds; 0 when it does not expire before the retention ends. */
  readonly expiresAtMs: number;
  /** When it is to be delivered, in epoch milliseconds; 0: when it was accepted. */
  readonly deliverAtMs: number;
  /** Whether the first acknowledgement of a device settles it for the user. Default false. */
  readonly isUserScoped?: boolean;
  /** The key of the notification, where what becomes of it is reported; undefined: it is not. */
  readonly reportKey?: string | undefined;
  /** What it is about; empty: it replaces nothing. */
  readonly collapseKey: string;
}

/** Names a send by one of its ids; the other is empty. */
export interface SendReference {
  readonly serverMsgId: string;
  readonly clientMsgId: string;
}

/** The first send under a client message id. */
export interface Claimed {
  readonly first: SendRecord;
  /** Whether it was accepted earlier. */
  readonly isRepeat: boolean;
  /** Whether its notification is stored, or was: there is nothing else to store of it. */
  readonly isStored: boolean;
}

/** Finds the send whose ids are a place; undefined when its notification is not there. */
export type FindPlaced = (place: ItemPlace) => Promise<SendRecord | undefined>;

/**
 * The sends that can be asked for later, by either of their ids, for the whole retention: from their record, to whose key
 * both ids lead, or, where the ids are the place of the notification, from that. All but the record itself is kept by the
 * server message id: a key may be used again while something of its last send is still there.
 *
 * Each method throws NetworkError (90004) when the broker does not answer in time; those that write also StoreFullError
 * (90101).
 */
export interface Sends {
  /**
   * Records the first send under a client message id, and returns it: `record` itself, or what was accepted earlier,
   * perhaps by a try of this very call whose acknowledgement was lost. It may be another's, whose id leads to the same
   * key.
   *
   * @param along what is to be stored only if `record` is the first. When it lies in the same stream and nothing stands
   * in the way it is stored in the same round trip; else it is for the caller to store.
   */
  claim(record: SendRecord, along?: PreparedWrite): Promise<Claimed>;
  /**
   * What {@link claim} stores where all of it goes into one stream and only the broker has to be asked whether it is the
   * first: the record, and then `along`. Undefined where it is not so.
   */
  prepare(record: SendRecord, along: PreparedWrite): Unit | undefined;
  /** Records a send whose notification is about to be removed, and with it all that tells of it. Idempotent. */
  keep(record: SendRecord): Promise<void>;
  /** The send with an id; undefined for one that is not known or no longer retained. */
  find(reference: SendReference): Promise<SendRecord | undefined>;
}

/** Creates the records of sends, which share the inbox streams: what they describe lives as long as they. */
export function createSends(
  broker: Broker,
  publisher: Publisher,
  get: DirectGet,
  partitions: number,
  findPlaced: FindPlaced = async () => undefined,
): Sends {
  const locate = (key: string) => {
    const partition = toPartition(key, partitions);
    return { stream: inboxStream(partition), subject: sentSubject(partition, key) };
  };

  const read = async (key: string): Promise<SendRecord | undefined> => {
    const { stream, subject } = locate(key);
    const found = await findSurely(broker, get, stream, { last: subject });
    return found && decodeSend(decodeStored(SendRecordSchema, found.payload));
  };

  const layOut = (send: SendRecord) => {
    const key = keyOfClientMsgId(send.clientMsgId);
    const { stream, subject } = locate(key);
    return { key, stream, write: { subject, payload: toBinary(SendRecordSchema, encodeSend(send)), headers: {} } };
  };

  const record = async (send: SendRecord, along?: PreparedWrite): Promise<Claimed> => {
    const { key, stream, write } = layOut(send);
    const follower = along?.stream === stream ? along.write : undefined;
    const stored = await publisher.store(stream, write, follower);
    if (stored.kind === "refused") {
      const first = await read(key);
      // Nothing has taken its subject: the broker refused for another reason.
      if (first === undefined) throw toRefusal(stored);
      return { first, isRepeat: true, isStored: placeOf(first) !== undefined };
    }
    const { followedAt } = stored;
    if (followedAt !== undefined) along?.wrote(followedAt);
    return { first: send, isRepeat: false, isStored: followedAt !== undefined };
  };

  return {
    async claim(send, along) {
      const place = parsePlaceId("client", send.clientMsgId);
      const placed = place && (await findPlaced(place));
      return placed === undefined ? record(send, along) : { first: placed, isRepeat: true, isStored: true };
    },
    prepare(send, along) {
      if (parsePlaceId("client", send.clientMsgId) !== undefined) return undefined;
      const { stream, write } = layOut(send);
      return along.stream === stream ? { stream, writes: [write, along.write] } : undefined;
    },
    async keep(send) {
      if (placeOf(send) !== undefined) await record(send);
    },
    async find({ serverMsgId, clientMsgId }) {
      const byServer = serverMsgId !== "";
      const place = byServer ? parsePlaceId("server", serverMsgId) : parsePlaceId("client", clientMsgId);
      const placed = place && (await findPlaced(place));
      if (placed !== undefined) return placed;
      const found = await read(byServer ? keyOfServerMsgId(serverMsgId) : keyOfClientMsgId(clientMsgId));
      // A key does not have all of an id.
      const isIt = byServer ? found?.serverMsgId === serverMsgId : found?.clientMsgId === clientMsgId;
      return isIt ? found : undefined;
    },
  };
}

function placeOf({ serverMsgId }: SendRecord): ItemPlace | undefined {
  return parsePlaceId("server", serverMsgId);
}

/**
 * What is the same in all sends of one body, in base64url. Records have it: neither its parts nor their order change, and
 * what came later is a part only where it is set.
 */
export function fingerprint(body: Omit<ValidSend, "clientMsgId" | "isReported">): string {
  const { sendUserId, recvUserId, recvGroupId, key, data, sendMsg, mustReach, ttlMs, sendAtMs, escalateAfterMs } = body;
  const parts = [sendUserId, recvUserId, recvGroupId, key, data, sendMsg, mustReach, ttlMs, sendAtMs, escalateAfterMs];
  const { recvDeviceId, exceptDeviceId, collapseKey, recvUserIds } = body;
  const later = Object.entries({ recvDeviceId, exceptDeviceId, collapseKey, recvUserIds });
  if (body.report) parts.push("report");
  if (body.isUserScoped) parts.push("user scope");
  const set = later.filter(([, value]) => value.length > 0);
  return hash("sha256", JSON.stringify([...parts, ...set]), "base64url");
}

/** The stored form of a send. */
export function encodeSend(record: SendRecord): StoredSend {
  return create(SendRecordSchema, {
    ...record,
    recvUserIds: [...record.recvUserIds],
    sendTime: BigInt(record.sendTime),
    fingerprint: Buffer.from(record.fingerprint, "base64url"),
    groupVersion: BigInt(record.groupVersion),
    expiresAtMs: BigInt(record.expiresAtMs),
    deliverAtMs: BigInt(record.deliverAtMs),
    reportKey: record.reportKey ?? "",
  });
}

/** Reads the stored form of a send. */
export function decodeSend(stored: StoredSend): SendRecord {
  const { serverMsgId, clientMsgId, mustReach, recvUserId, recvGroupId, recvDeviceId, exceptDeviceId } = stored;
  const { recvUserIds, collapseKey } = stored;
  return {
    serverMsgId,
    clientMsgId,
    sendTime: Number(stored.sendTime),
    fingerprint: Buffer.from(stored.fingerprint).toString("base64url"),
    mustReach,
    recvUserId,
    recvGroupId,
    recvUserIds,
    groupVersion: Number(stored.groupVersion),
    expiresAtMs: Number(stored.expiresAtMs),
    deliverAtMs: Number(stored.deliverAtMs),
    isUserScoped: stored.isUserScoped,
    reportKey: stored.reportKey || undefined,
    recvDeviceId,
    exceptDeviceId,
    collapseKey,
  };
}
