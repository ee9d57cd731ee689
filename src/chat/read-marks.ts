import type { Broker } from "../broker/connect.ts";
import type { DirectGet } from "../broker/reads/direct-get.ts";
import { toToken } from "../broker/subjects.ts";
import { again } from "../broker/until.ts";
import { replace } from "../broker/write.ts";
import { deadlineIn } from "../deadline.ts";
import { chatInfoSubject, chatReadSubject } from "./layout.ts";
import { conversationToken, decodeRecord, infoRecord, type Parties, readRecord, readSubjects } from "./records.ts";

interface MarkReadDeps {
  readonly broker: Broker;
  readonly get: DirectGet;
  readonly timeoutMs: number;
}

/**
 * Moves a user's place in a conversation forward, never back.
 *
 * @throws NetworkError (90004) when the broker does not answer within `timeoutMs`, with all tries.
 */
export function markRead(
  { broker, get, timeoutMs }: MarkReadDeps,
  userId: string,
  parties: Parties,
  place: number,
): Promise<void> {
  const conversation = conversationToken(parties);
  const infoSubject = chatInfoSubject(conversation);
  const readSubject = chatReadSubject(conversation, toToken(userId));
  return replace<void>(broker, deadlineIn(timeoutMs), async () => {
    const records = await readSubjects(get, [infoSubject, readSubject]);
    const before = records.get(readSubject);
    if ((decodeRecord(readRecord, before)?.hasReadSeq ?? 0) >= place) return { writes: [], answer: undefined };
    // A replica that is behind the one which told of the place.
    if ((decodeRecord(infoRecord, records.get(infoSubject))?.maxSeq ?? 0) < place) return again;
    const payload = readRecord.encode({ userId, hasReadSeq: place });
    return { writes: [{ subject: readSubject, payload, replaces: before?.sequence ?? 0 }], answer: undefined };
  });
}
