import { create, toBinary } from "@bufbuild/protobuf";
import { decodeStored } from "../broker/decode-stored.ts";
import type { DirectGet } from "../broker/direct-get.ts";
import { toRefusal } from "../broker/faults.ts";
import type { Publisher } from "../broker/publish.ts";
import { toPartition } from "../broker/subjects.ts";
import { SendRecordSchema, type SendRecord as StoredSend } from "../gen/mustreach/store/v1/send_pb.ts";
import type { PreparedWrite } from "../inbox/inbox.ts";
import { inboxStream } from "../inbox/layout.ts";
import { sentSubject } from "./layout.ts";

/** What was accepted under a client message id, first. */
export interface SendRecord {
  readonly serverMsgId: string;
  readonly clientMsgId: string;
  /** When it was accepted, in epoch milliseconds. */
  readonly sendTime: number;
  /** SHA-256 of the body that was sent, in base64url. */
  readonly fingerprint: string;
  readonly mustReach: boolean;
  readonly recvUserId: string;
  readonly recvGroupId: string;
  /** The version of the group whose members are the recipients; 0 for a send to a user. */
  readonly groupVersion: number;
  /** Epoch milliseconds; 0 when it does not expire before the retention ends. */
  readonly expiresAtMs: number;
  /** When it is to be delivered, in epoch milliseconds; 0: when it was accepted. */
  readonly deliverAtMs: number;
}

/** The first send under a key. */
export interface Claimed {
  readonly first: SendRecord;
  /** Whether it was recorded earlier. */
  readonly isRepeat: boolean;
  /** The sequence of what was stored along with it. */
  readonly alongAt?: number | undefined;
}

/**
 * The sends that can be asked for later, by a key that both of their ids lead to, for the whole retention. All but the
 * record itself is kept by the server message id: a key may be used again while something of its last send is still
 * there.
 *
 * Each method throws NetworkError (90004) when the broker does not answer in time; those that write also StoreFullError
 * (90101).
 */
export interface Sends {
  /** The stream that holds the record of a key. */
  streamOf(key: string): string;
  /**
   * Records the first send under a key, and returns it: `record` itself, or what was recorded earlier, perhaps by a
   * try of this very call whose acknowledgement was lost.
   *
   * @param along what is to be stored only if `record` is the first. When it lies in the same stream and nothing stands
   * in the way it is stored in the same round trip, and has its sequence; else it is for the caller to store.
   */
  claim(key: string, record: SendRecord, along?: PreparedWrite): Promise<Claimed>;
  /** The send under a key; undefined for one that is not known or no longer retained. */
  find(key: string): Promise<SendRecord | undefined>;
}

/** Creates the records of sends, which share the inbox streams: what they describe lives as long as they. */
export function createSends(publisher: Publisher, get: DirectGet, partitions: number): Sends {
  const locate = (key: string) => {
    const partition = toPartition(key, partitions);
    return { stream: inboxStream(partition), subject: sentSubject(partition, key) };
  };

  const find = async (key: string): Promise<SendRecord | undefined> => {
    const { stream, subject } = locate(key);
    const found = await get.last(stream, subject);
    return found && decodeSend(decodeStored(SendRecordSchema, found.payload));
  };

  return {
    streamOf: (key) => locate(key).stream,
    async claim(key, record, along) {
      const { stream, subject } = locate(key);
      const write = { subject, payload: toBinary(SendRecordSchema, encodeSend(record)), headers: {} };
      const follower = along?.stream === stream ? along.write : undefined;
      const stored = await publisher.store(stream, write, follower);
      if (stored.kind === "refused") {
        const first = await find(key);
        // Nothing has taken its subject: the broker refused for another reason.
        if (first === undefined) throw toRefusal(stored);
        return { first, isRepeat: true };
      }
      const { followedAt: alongAt } = stored;
      if (alongAt !== undefined) along?.wrote(alongAt);
      return { first: record, isRepeat: false, alongAt };
    },
    find,
  };
}

/** The stored form of a send. */
export function encodeSend(record: SendRecord): StoredSend {
  return create(SendRecordSchema, {
    ...record,
    sendTime: BigInt(record.sendTime),
    fingerprint: Buffer.from(record.fingerprint, "base64url"),
    groupVersion: BigInt(record.groupVersion),
    expiresAtMs: BigInt(record.expiresAtMs),
    deliverAtMs: BigInt(record.deliverAtMs),
  });
}

/** Reads the stored form of a send. */
export function decodeSend(stored: StoredSend): SendRecord {
  const { serverMsgId, clientMsgId, mustReach, recvUserId, recvGroupId } = stored;
  return {
    serverMsgId,
    clientMsgId,
    sendTime: Number(stored.sendTime),
    fingerprint: Buffer.from(stored.fingerprint).toString("base64url"),
    mustReach,
    recvUserId,
    recvGroupId,
    groupVersion: Number(stored.groupVersion),
    expiresAtMs: Number(stored.expiresAtMs),
    deliverAtMs: Number(stored.deliverAtMs),
  };
}
