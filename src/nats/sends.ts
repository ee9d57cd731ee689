import { failure } from "../errors.ts";
import { type DirectGet, tooManyResults } from "./direct-get.ts";
import type { Publisher } from "./publish.ts";
import { inboxStream, recalledSubject, sentSubject, toPartition } from "./subjects.ts";

/** What was accepted under a client message id, first. */
export interface SendRecord {
  readonly serverMsgId: string;
  readonly clientMsgId: string;
  /** When it was accepted, in epoch milliseconds. */
  readonly sendTime: number;
  /** Of the body that was sent. */
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

/** The sends that can be asked for later, by a key that both of their ids lead to, for the whole retention. */
export interface Sends {
  /**
   * Records the first send under a key, and returns it: `record` itself, or what was recorded earlier, perhaps by a
   * try of this very call whose acknowledgement was lost.
   *
   * @throws NetworkError (90004) when the broker did not acknowledge in time, or the store is full.
   */
  claim(key: string, record: SendRecord): Promise<{ first: SendRecord; isRepeat: boolean }>;
  /** The send under a key; undefined for one that is not known or no longer retained. */
  find(key: string): Promise<SendRecord | undefined>;
  /** Records that the send under a key is recalled, and returns when it first was, in epoch milliseconds. */
  recall(key: string): Promise<number>;
  /** When the send under a key was recalled, in epoch milliseconds; undefined if it was not. */
  recalledAt(key: string): Promise<number | undefined>;
}

/** Creates the records of sends, which share the inbox streams: what they describe lives as long as they. */
export function createSends(publisher: Publisher, get: DirectGet, partitions: number): Sends {
  const locate = (key: string) => {
    const partition = toPartition(key, partitions);
    return { partition, stream: inboxStream(partition) };
  };

  const read = async <T>(stream: string, subject: string): Promise<T | undefined> => {
    const found = await get(stream, { last_by_subj: subject });
    const message = found === tooManyResults ? undefined : found.messages[0];
    return message === undefined ? undefined : JSON.parse(Buffer.from(message.payload).toString("utf8"));
  };

  /** Stores a value under a subject of its own, or finds the one that was there first. */
  const writeOnce = async <T>(stream: string, subject: string, value: T): Promise<{ first: T; isRepeat: boolean }> => {
    const payload = Buffer.from(JSON.stringify(value));
    const stored = await publisher.store(stream, { subject, payload, headers: {} });
    if (stored.kind === "stored") return { first: value, isRepeat: false };
    const first = await read<T>(stream, subject);
    if (first === undefined)
      throw failure("NetworkError", `the notification store refused the write: ${stored.reason}`);
    return { first, isRepeat: true };
  };

  return {
    claim(key, record) {
      const { partition, stream } = locate(key);
      return writeOnce(stream, sentSubject(partition, key), record);
    },
    find(key) {
      const { partition, stream } = locate(key);
      return read<SendRecord>(stream, sentSubject(partition, key));
    },
    async recall(key) {
      const { partition, stream } = locate(key);
      return (await writeOnce(stream, recalledSubject(partition, key), { atMs: Date.now() })).first.atMs;
    },
    async recalledAt(key) {
      const { partition, stream } = locate(key);
      return (await read<{ atMs: number }>(stream, recalledSubject(partition, key)))?.atMs;
    },
  };
}
