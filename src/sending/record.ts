import { create, toBinary } from "@bufbuild/protobuf";
import { decodeStored } from "../broker/decode-stored.ts";
import { type DirectGet, tooManyResults } from "../broker/direct-get.ts";
import { toRefusal } from "../broker/faults.ts";
import type { Publisher } from "../broker/publish.ts";
import { toPartition, toToken } from "../broker/subjects.ts";
import {
  RecallRecordSchema,
  SendRecordSchema,
  type SendRecord as StoredSend,
} from "../gen/mustreach/store/v1/send_pb.ts";
import { inboxStream } from "../inbox/layout.ts";
import { recalledSubject, sentSubject } from "./layout.ts";

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

/**
 * The sends that can be asked for later, by a key that both of their ids lead to, for the whole retention. All but the
 * record itself is kept by the server message id: a key may be used again while something of its last send is still
 * there.
 *
 * Each method throws NetworkError (90004) when the broker does not answer in time; those that write also StoreFullError
 * (90101).
 */
export interface Sends {
  /**
   * Records the first send under a key, and returns it: `record` itself, or what was recorded earlier, perhaps by a
   * try of this very call whose acknowledgement was lost.
   */
  claim(key: string, record: SendRecord): Promise<{ first: SendRecord; isRepeat: boolean }>;
  /** The send under a key; undefined for one that is not known or no longer retained. */
  find(key: string): Promise<SendRecord | undefined>;
  /** Records that a send is recalled, and returns when it first was, in epoch milliseconds. */
  recall(serverMsgId: string): Promise<number>;
  /** When a send was recalled, in epoch milliseconds; undefined if it was not. */
  recalledAt(serverMsgId: string): Promise<number | undefined>;
}

/** Creates the records of sends, which share the inbox streams: what they describe lives as long as they. */
export function createSends(publisher: Publisher, get: DirectGet, partitions: number): Sends {
  const locateSent = (key: string) => {
    const partition = toPartition(key, partitions);
    return { stream: inboxStream(partition), subject: sentSubject(partition, key) };
  };

  const locateRecalled = (serverMsgId: string) => {
    const send = toToken(serverMsgId);
    const partition = toPartition(send, partitions);
    return { stream: inboxStream(partition), subject: recalledSubject(partition, send) };
  };

  const read = async ({ stream, subject }: Place): Promise<Uint8Array | undefined> => {
    const found = await get(stream, { last_by_subj: subject });
    return found === tooManyResults ? undefined : found.messages[0]?.payload;
  };

  /** Stores a record under a subject of its own; resolves to the one that was there first, if any was. */
  const writeOnce = async ({ stream, subject }: Place, payload: Uint8Array): Promise<Uint8Array | undefined> => {
    const stored = await publisher.store(stream, { subject, payload, headers: {} });
    if (stored.kind === "stored") return undefined;
    const first = await read({ stream, subject });
    if (first === undefined) throw toRefusal(stored);
    return first;
  };

  return {
    async claim(key, record) {
      const first = await writeOnce(locateSent(key), toBinary(SendRecordSchema, encodeSend(record)));
      return first === undefined ? { first: record, isRepeat: false } : { first: readSend(first), isRepeat: true };
    },
    async find(key) {
      const found = await read(locateSent(key));
      return found && readSend(found);
    },
    async recall(serverMsgId) {
      const atMs = Date.now();
      const record = create(RecallRecordSchema, { atMs: BigInt(atMs) });
      const first = await writeOnce(locateRecalled(serverMsgId), toBinary(RecallRecordSchema, record));
      return first === undefined ? atMs : readRecall(first);
    },
    async recalledAt(serverMsgId) {
      const found = await read(locateRecalled(serverMsgId));
      return found && readRecall(found);
    },
  };
}

interface Place {
  readonly stream: string;
  readonly subject: string;
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

function readSend(payload: Uint8Array): SendRecord {
  return decodeSend(decodeStored(SendRecordSchema, payload));
}

function readRecall(payload: Uint8Array): number {
  return Number(decodeStored(RecallRecordSchema, payload).atMs);
}
