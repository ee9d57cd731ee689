import type { DirectGet, DirectMessage } from "../broker/reads/direct-get.ts";
import { toToken } from "../broker/subjects.ts";
import {
  chatInfoSubject,
  chatReadSubject,
  chatStream,
  conversationFilter,
  parseConversationSubject,
} from "./layout.ts";
import { decodeRecord, infoRecord, maxSubjects, type Parties, readRecord, readSubjects } from "./records.ts";

/** A user's view of a conversation. */
export interface UserConversation {
  readonly conversationId: string;
  readonly parties: Parties;
  /** The place of the newest copy. */
  readonly maxSeq: number;
  /** When the newest copy was sent, in epoch milliseconds. */
  readonly maxSeqTime: number;
  /** The place up to which the user has read, its own newest copy at least; 0 when there is none. */
  readonly hasReadSeq: number;
  /** How many copies follow it: OpenIM's rule. */
  readonly unreadCount: number;
}

/** A conversation with the sequence of its newest copy's batch, by which conversations are ordered. */
interface Ranked {
  readonly conversation: string;
  readonly sequence: number;
}

/** At most this many conversations are listed. */
const maxListed = 1_000;

/** Records of one conversation that a view is made of; they are read at one moment. */
const recordsPerView = 2;

/**
 * Lists a user's conversations with other users and those of the given groups, by their tokens: at most 1,000, the one
 * with the newest copy first.
 */
export async function listConversations(
  get: DirectGet,
  userId: string,
  groups: readonly string[],
): Promise<readonly UserConversation[]> {
  const user = toToken(userId);
  const [own, shared] = await Promise.all([newestOfUser(get, user), rankGroups(get, groups)]);
  const listed = [...own, ...shared].sort((a, b) => b.sequence - a.sequence).slice(0, maxListed);
  const perRead = Math.floor(maxSubjects / recordsPerView);
  const chunks = Array.from({ length: Math.ceil(listed.length / perRead) }, (_, n) =>
    listed.slice(n * perRead, (n + 1) * perRead).map(({ conversation }) => conversation),
  );
  return (await Promise.all(chunks.map((chunk) => readViews(get, user, chunk)))).flat();
}

async function readViews(get: DirectGet, user: string, conversations: readonly string[]): Promise<UserConversation[]> {
  const subjects = conversations.map((conversation) => ({
    info: chatInfoSubject(conversation),
    read: chatReadSubject(conversation, user),
  }));
  const records = await readSubjects(
    get,
    subjects.flatMap(({ info, read }) => [info, read]),
  );
  return subjects.flatMap((of) => {
    const info = decodeRecord(infoRecord, records.get(of.info));
    if (info === undefined) return [];
    const { hasReadSeq = 0 } = decodeRecord(readRecord, records.get(of.read)) ?? {};
    const { conversationId, parties, maxSeq, maxSeqTime } = info;
    return [{ conversationId, parties, maxSeq, maxSeqTime, hasReadSeq, unreadCount: maxSeq - hasReadSeq }];
  });
}

async function rankGroups(get: DirectGet, groups: readonly string[]): Promise<Ranked[]> {
  const records = await readSubjects(get, groups.map(chatInfoSubject));
  return groups.flatMap((conversation) => {
    const info = records.get(chatInfoSubject(conversation));
    return info === undefined ? [] : [{ conversation, sequence: info.sequence }];
  });
}

/** The conversations with other users that have the newest copies: {@link maxListed} or a few more, if there are. */
async function newestOfUser(get: DirectGet, user: string): Promise<Ranked[]> {
  const filter = conversationFilter(user);
  const indexed = await get.index(chatStream, [filter]);
  const messages = indexed?.messages ?? (await readTail(get, filter));
  return messages.map(({ subject, sequence }) => ({ conversation: parseConversationSubject(subject), sequence }));
}

/**
 * Reads the last {@link maxListed} messages or up to twice as many that match. The index answers none when more than
 * 1,024 match, and a stream is read forward only, so where they begin is searched for by how many follow.
 */
async function readTail(get: DirectGet, filter: string): Promise<readonly DirectMessage[]> {
  let from = 1;
  let to = (await get.last(chatStream, filter))?.sequence ?? 0;
  while (from < to) {
    const middle = Math.ceil((from + to) / 2);
    const { messages, pending } = await get.along(chatStream, filter, { from: middle, count: 1 });
    const following = messages.length + pending;
    if (following < maxListed) to = middle - 1;
    else from = middle;
    if (following >= maxListed && following <= 2 * maxListed) break;
  }
  // With room for copies that have come since.
  return (await get.along(chatStream, filter, { from, count: 3 * maxListed })).messages;
}
