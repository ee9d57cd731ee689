import { create, toBinary } from "@bufbuild/protobuf";
import type { DirectGet, DirectMessage } from "../broker/reads/direct-get.ts";
import { toToken } from "../broker/subjects.ts";
import { decodeStored } from "../decode-stored.ts";
import { ConversationRecordSchema, CopyRecordSchema, ReadRecordSchema } from "../gen/mustreach/store/v1/chat_pb.ts";
import { chatStream, pairToken } from "./layout.ts";

/** Whose a conversation is: two users', in the order of the bytes of their ids, or a group's. */
export type Parties = { readonly userIds: readonly [string, string] } | { readonly groupId: string };

/** How a record is stored. */
interface RecordKind<T> {
  encode(record: T): Uint8Array;
  decode(payload: Uint8Array): T;
}

/** What heads a conversation: whoever appends replaces it, which puts all appends in one order. */
export interface Conversation {
  readonly conversationId: string;
  readonly parties: Parties;
  /** The place of the newest copy. */
  readonly maxSeq: number;
  /** When the newest copy was sent, in epoch milliseconds. */
  readonly maxSeqTime: number;
}

export const infoRecord: RecordKind<Conversation> = {
  encode({ conversationId, parties, maxSeq, maxSeqTime }) {
    const record = create(ConversationRecordSchema, {
      conversationId,
      ...("groupId" in parties ? { groupId: parties.groupId } : { userIds: [...parties.userIds] }),
      maxSeq: BigInt(maxSeq),
      maxSeqTime: BigInt(maxSeqTime),
    });
    return toBinary(ConversationRecordSchema, record);
  },
  decode(payload) {
    const { conversationId, userIds, groupId, maxSeq, maxSeqTime } = decodeStored(ConversationRecordSchema, payload);
    const [one, other] = userIds;
    const isGroup = one === undefined || other === undefined;
    const parties: Parties = isGroup ? { groupId } : { userIds: [one, other] };
    return { conversationId, parties, maxSeq: Number(maxSeq), maxSeqTime: Number(maxSeqTime) };
  },
};

/** Where a notification has its copy. */
export const placeRecord: RecordKind<number> = {
  encode: (place) => toBinary(CopyRecordSchema, create(CopyRecordSchema, { place: BigInt(place) })),
  decode: (payload) => Number(decodeStored(CopyRecordSchema, payload).place),
};

/** Up to which place a user has read. */
export const readRecord: RecordKind<{ readonly userId: string; readonly hasReadSeq: number }> = {
  encode: ({ userId, hasReadSeq }) =>
    toBinary(ReadRecordSchema, create(ReadRecordSchema, { userId, hasReadSeq: BigInt(hasReadSeq) })),
  decode(payload) {
    const { userId, hasReadSeq } = decodeStored(ReadRecordSchema, payload);
    return { userId, hasReadSeq: Number(hasReadSeq) };
  },
};

/** The subject token of a conversation. Not of its id: `si_a_b_c` is that of `a` and `b_c`, and of `a_b` and `c`. */
export function conversationToken(parties: Parties): string {
  return "groupId" in parties ? toToken(parties.groupId) : pairToken(...parties.userIds);
}

/** Decodes a record; undefined for none. */
export function decodeRecord<T>(kind: RecordKind<T>, message: DirectMessage | undefined): T | undefined {
  return message && kind.decode(message.payload);
}

/** Literal subjects in one read: below the 1,024 at which the broker refuses, and of about 200 KB at most. */
export const maxSubjects = 1_000;

/**
 * Reads the stored messages under literal subjects, by subject; up to {@link maxSubjects} of them as they were at one
 * moment, since the broker does not let a read see half of a batch.
 *
 * @throws NetworkError (90004) when the broker does not answer in time.
 */
export async function readSubjects(
  get: DirectGet,
  subjects: readonly string[],
): Promise<ReadonlyMap<string, DirectMessage>> {
  const chunks = Array.from({ length: Math.ceil(subjects.length / maxSubjects) }, (_, n) =>
    subjects.slice(n * maxSubjects, (n + 1) * maxSubjects),
  );
  const found = await Promise.all(chunks.map((chunk) => get.lastOf(chatStream, chunk)));
  return new Map(found.flat().map((message) => [message.subject, message]));
}
