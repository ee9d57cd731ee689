import { z } from "zod";
import { failure } from "../errors.ts";
import { type DirectGet, type DirectMessage, tooManyResults } from "./direct-get.ts";
import { pairToken, toToken } from "./subjects.ts";

/** The stream of all chat copies and of what is known about their conversations. */
export const chatStream = "CHAT";

/** Whose a conversation is: two users', in the order of the bytes of their ids, or a group's. */
export type Parties = { readonly userIds: readonly [string, string] } | { readonly groupId: string };

const count = z.number().int().nonnegative();
const place = z.number().int().positive();

/** What heads a conversation: whoever appends replaces it, which puts all appends in one order. */
export const infoRecord = z.object({
  conversationId: z.string(),
  parties: z.union([z.object({ userIds: z.tuple([z.string(), z.string()]) }), z.object({ groupId: z.string() })]),
  /** The place of the newest copy. */
  maxSeq: place,
  /** When the newest copy was sent, in epoch milliseconds. */
  maxSeqTime: count,
});

/** Where a notification has its copy, and how many copies its sender had in the conversation with it. */
export const placeRecord = z.object({ place, sent: place });

/** How many copies a user sent in a conversation, and the place of the newest. */
export const sentRecord = z.object({ userId: z.string(), sent: place, place });

/** Up to which place a user has read, and how many copies up to there the user sent. */
export const readRecord = z.object({ userId: z.string(), hasReadSeq: place, sent: count });

/** The subject token of a conversation. Not of its id: `si_a_b_c` is that of `a` and `b_c`, and of `a_b` and `c`. */
export function conversationToken(parties: Parties): string {
  return "groupId" in parties ? toToken(parties.groupId) : pairToken(...parties.userIds);
}

/** Encodes a record of one of the schemas above. */
export function encodeRecord(record: object): Uint8Array {
  return Buffer.from(JSON.stringify(record));
}

/** Decodes a record; undefined for none. */
export function decodeRecord<T>(schema: z.ZodType<T>, message: DirectMessage | undefined): T | undefined {
  return message === undefined ? undefined : schema.parse(JSON.parse(Buffer.from(message.payload).toString("utf8")));
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
  const found = await Promise.all(chunks.map((chunk) => readChunk(get, chunk)));
  return new Map(found.flat().map((message) => [message.subject, message]));
}

async function readChunk(get: DirectGet, subjects: readonly string[]): Promise<readonly DirectMessage[]> {
  for (let tries = 0; tries < 3; tries++) {
    const found = await get(chatStream, { multi_last: subjects });
    if (found === tooManyResults) break;
    // Without this number the broker broke off: a message expired while it was read.
    if (found.messages.length === 0 || found.upToSequence !== undefined) return found.messages;
  }
  throw failure("NetworkError", "the broker cannot read the conversations");
}
