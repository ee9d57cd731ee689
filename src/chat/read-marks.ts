import type { Broker } from "../broker/connect.ts";
import { type DirectGet, tooManyResults } from "../broker/direct-get.ts";
import { toToken } from "../broker/subjects.ts";
import { again } from "../broker/until.ts";
import { type Revision, replace } from "../broker/write.ts";
import { chatCopySubject, chatInfoSubject, chatPlaceFilter, chatReadSubject, chatSentSubject } from "./layout.ts";
import {
  chatStream,
  conversationToken,
  decodeRecord,
  infoRecord,
  type Parties,
  placeRecord,
  readRecord,
  readSubjects,
  sentRecord,
} from "./records.ts";

/** Records of places in one read. */
const maxPlaces = 500;

/** Moves a user's place in a conversation forward, never back; {@link createMarkRead} makes it. */
export type MarkRead = (userId: string, parties: Parties, place: number) => Promise<void>;

/**
 * Creates the {@link MarkRead}.
 *
 * Throws NetworkError (90004) when the broker does not answer within `timeoutMs`, with all tries.
 */
export function createMarkRead(broker: Broker, get: DirectGet, timeoutMs: number): MarkRead {
  /** How many copies a user had sent up to a place, when it sent one above it; undefined when those are gone. */
  const countSent = async (conversation: string, user: string, through: number): Promise<number | undefined> => {
    const copy = await get(chatStream, { last_by_subj: chatCopySubject(conversation, through) });
    let after = copy === tooManyResults ? 0 : (copy.messages[0]?.sequence ?? 0);
    for (;;) {
      const found = await get(chatStream, {
        next_by_subj: chatPlaceFilter(conversation, user),
        seq: after + 1,
        batch: maxPlaces,
      });
      if (found === tooManyResults) return undefined;
      for (const message of found.messages) {
        const record = decodeRecord(placeRecord, message);
        if (record !== undefined && record.place > through) return record.sent - 1;
        after = message.sequence;
      }
      if (found.pending === 0) return undefined;
    }
  };

  const revise = async (
    userId: string,
    parties: Parties,
    place: number,
  ): Promise<Revision<undefined> | typeof again> => {
    const conversation = conversationToken(parties);
    const user = toToken(userId);
    const infoSubject = chatInfoSubject(conversation);
    const sentSubject = chatSentSubject(conversation, user);
    const readSubject = chatReadSubject(conversation, user);
    const records = await readSubjects(get, [infoSubject, sentSubject, readSubject]);
    const before = records.get(readSubject);
    if ((decodeRecord(readRecord, before)?.hasReadSeq ?? 0) >= place) return { writes: [], answer: undefined };
    // A replica that is behind the one which told of the place.
    if ((decodeRecord(infoRecord, records.get(infoSubject))?.maxSeq ?? 0) < place) return again;
    const all = decodeRecord(sentRecord, records.get(sentSubject)) ?? { sent: 0, place: 0 };
    const sent = all.place <= place ? all.sent : ((await countSent(conversation, user, place)) ?? all.sent);
    const payload = readRecord.encode({ userId, hasReadSeq: place, sent });
    return { writes: [{ subject: readSubject, payload, replaces: before?.sequence ?? 0 }], answer: undefined };
  };

  return (...args) => replace(broker, Date.now() + timeoutMs, () => revise(...args));
}
