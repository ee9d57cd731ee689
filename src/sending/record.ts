import { create, toBinary } from "@bufbuild/protobuf";
import { decodeStored } from "../broker/decode-stored.ts";
import type { DirectGet } from "../broker/direct-get.ts";
import { type Refusal, toRefusal } from "../broker/faults.ts";
import type { Publisher } from "../broker/publish.ts";
import { toPartition, toToken } from "../broker/subjects.ts";
import {
  RecallRecordSchema,
  SendRecordSchema,
  type SendRecord as StoredSend,
} from "../gen/mustreach/store/v1/send_pb.ts";
import type { PreparedWrite } from "../inbox/inbox.ts";
import { inboxStream } from "../inbox/layout.ts";
import { recalledSubject } from "../recalling/layout.ts";
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

  const read = async ({ stream, subject }: Place) => (await get.last(stream, subject))?.payload;

  /** What has taken a subject; where nothing has, the broker refused for another reason. */
  const requireFirst = async (place: Place, refusal: Refusal): Promise<Uint8Array> => {
    const first = await read(place);
    if (first === undefined) throw toRefusal(refusal);
    return first;
  };

  /** Stores a record under a subject of its own; resolves to the one that was there first, if any was. */
  const writeOnce = async ({ stream, subject }: Place, payload: Uint8Array): Promise<Uint8Array | undefined> => {
    const stored = await publisher.store(stream, { subject, payload, headers: {} });
    return stored.kind === "stored" ? undefined : requireFirst({ stream, subject }, stored);
  };

  return {
    streamOf: (key) => locateSent(key).stream,
    async claim(key, record, along) {
      const { stream, subject } = locateSent(key);
      const write = { subject, payload: toBinary(SendRecordSchema, encodeSend(record)), headers: {} };
      const follower = along?.stream === stream ? along.write : undefined;
      const stored = await publisher.store(stream, write, follower);
      if (stored.kind === "refused") {
        const first = readSend(await requireFirst({ stream, subject }, stored));
        return { first, isRepeat: true };
      }
      const { followedAt: alongAt } = stored;
      if (alongAt !== undefined) along?.wrote(alongAt);
      return { first: record, isRepeat: false, alongAt };
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
