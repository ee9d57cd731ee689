import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type { Caller } from "../auth/caller.ts";
import { type ChatDeps, findOwn } from "../chat/access.ts";
import { toConversationId } from "../chat/conversation-id.ts";
import type { UserConversation } from "../chat/conversations.ts";
import type { Parties } from "../chat/records.ts";
import { failure, wrongField } from "../errors.ts";
import {
  type GetAllConversationsRequest,
  type GetConversationsHasReadAndMaxSeqRequest,
  type MarkConversationAsReadRequest,
  PulledMessageSchema,
  type PulledMessages,
  PulledMessagesSchema,
  type PullMsgBySeqRequest,
  type PullRange,
  type SeqsSchema,
  type UserConversationSchema,
} from "../gen/mustreach/openim/v1/openim_pb.ts";
import { maxUserIdBytes, requireId } from "../limits.ts";
import { toMessage } from "./wire/messages.ts";

/** Conversations in a request. */
const maxConversations = 100;

/** Copies of a conversation in an answer. */
const maxCopies = 1_000;

/** An answer ends with the conversation that reaches this size, in bytes of the messages' content. */
const maxAnswerBytes = 8_388_608;

/** OpenIM's types of a conversation. */
const conversationTypes = { user: 1, group: 3 } as const;

/** OpenIM's orders of a pull. */
const orders = { ascending: 0, descending: 1 } as const;

/** OpenIM's status of a message that was sent. */
const sent = 2;

/** Lists a user's conversations, those of its groups without any copy last. */
export async function getAllConversations(
  deps: ChatDeps,
  caller: Caller,
  request: GetAllConversationsRequest,
): Promise<MessageInitShape<typeof UserConversationSchema>[]> {
  const ownerUserId = requireOneself(caller, request.ownerUserId, "ownerUserID");
  const groupIds = await deps.groupIdsOf(ownerUserId);
  const listed = await deps.chat.conversationsOf(ownerUserId, groupIds);
  const known = new Set(listed.map(({ conversationId }) => conversationId));
  const empty = groupIds
    .map((groupId) => ({ parties: { groupId }, conversationId: toConversationId({ groupId }) }))
    .filter(({ conversationId }) => !known.has(conversationId));
  return [...listed, ...empty].map(({ conversationId, parties }) => ({
    ownerUserId,
    conversationId,
    ...toPeer(ownerUserId, parties),
  }));
}

function toPeer(ownerUserId: string, parties: Parties) {
  if ("groupId" in parties) return { conversationType: conversationTypes.group, groupId: parties.groupId };
  const userId = parties.userIds.find((one) => one !== ownerUserId) ?? ownerUserId;
  return { conversationType: conversationTypes.user, userId };
}

/** Reads copies of a user's conversations by their place; what is not the user's is left out, as by OpenIM. */
export async function pullMsgBySeq(
  deps: ChatDeps,
  caller: Caller,
  request: PullMsgBySeqRequest,
): Promise<Record<string, PulledMessages>> {
  const userId = requireOneself(caller, request.userId, "userID");
  const { seqRanges, order } = request;
  if (order !== orders.ascending && order !== orders.descending) throw wrongField("order", "order must be 0 or 1");
  requireDistinct(
    seqRanges.map(({ conversationId }) => conversationId),
    "seqRanges",
  );
  const pulled: [string, PulledMessages][] = [];
  let left = maxAnswerBytes;
  // One after the other: together they would all be held before it is known that they are too much.
  for (const range of seqRanges) {
    const isFull = left <= 0;
    const found = isFull
      ? create(PulledMessagesSchema)
      : await pullRange(deps, userId, range, order === orders.descending);
    if (found === undefined) continue;
    for (const { content } of found.msgs) left -= content.length;
    pulled.push([range.conversationId, found]);
  }
  return Object.fromEntries(pulled);
}

async function pullRange(
  deps: ChatDeps,
  userId: string,
  { conversationId, begin, end, num }: PullRange,
  isDescending: boolean,
): Promise<PulledMessages | undefined> {
  const { isAllowed, stored } = await findOwn(deps, userId, conversationId);
  if (!isAllowed || stored === undefined) return undefined;
  const limit = num > 0n && num < maxCopies ? Number(num) : maxCopies;
  const last = Math.min(Number(end), stored.maxSeq);
  // The newest of the range, as OpenIM.
  const first = Math.max(1, Number(begin), last - limit + 1);
  if (first > last) return undefined;
  const { messages, isEnd } = await deps.chat.pull(stored, { begin: first, end: last, limit });
  const msgs = messages.flatMap(({ conversationSequence, notification }) =>
    notification === undefined
      ? []
      : create(PulledMessageSchema, { ...toMessage(notification, Number(conversationSequence)), status: sent }),
  );
  const newest = msgs.at(-1);
  if (newest === undefined) return undefined;
  return create(PulledMessagesSchema, {
    msgs,
    isEnd: isDescending ? first === 1 : isEnd && last === stored.maxSeq,
    endSeq: newest.seq,
  });
}

/**
 * Moves a user's place in a conversation forward. One above the newest copy is the newest: what comes next is unread.
 *
 * @throws RecordNotFoundError (1004) for a conversation that is not the user's.
 */
export async function markConversationAsRead(
  deps: ChatDeps,
  caller: Caller,
  request: MarkConversationAsReadRequest,
): Promise<void> {
  const { conversationId, hasReadSeq } = request;
  if (hasReadSeq < 1n) throw wrongField("hasReadSeq", "hasReadSeq must be a place, from 1");
  const userId = requireOneself(caller, request.userId, "userID");
  const { isAllowed, stored } = await findOwn(deps, userId, conversationId);
  if (!isAllowed) throw failure("RecordNotFoundError", "the user has no such conversation");
  if (stored === undefined) return;
  await deps.chat.markRead(userId, stored.parties, Math.min(Number(hasReadSeq), stored.maxSeq));
}

/** How far a user's conversations go, and how far they have been read. */
export async function getSeqs(
  deps: ChatDeps,
  caller: Caller,
  request: GetConversationsHasReadAndMaxSeqRequest,
): Promise<Record<string, MessageInitShape<typeof SeqsSchema>>> {
  const userId = requireOneself(caller, request.userId, "userID");
  requireDistinct(request.conversationIds, "conversationIDs");
  const wanted = new Set(request.conversationIds);
  const listed = await deps.chat.conversationsOf(userId, await deps.groupIdsOf(userId));
  return Object.fromEntries(
    listed
      .filter(({ conversationId }) => wanted.size === 0 || wanted.has(conversationId))
      .map((conversation) => [conversation.conversationId, toSeqs(conversation)]),
  );
}

function toSeqs({ maxSeq, hasReadSeq, maxSeqTime }: UserConversation) {
  return { maxSeq: BigInt(maxSeq), hasReadSeq: BigInt(hasReadSeq), maxSeqTime: BigInt(maxSeqTime) };
}

/**
 * The user for whom a caller asks: itself, or any for an admin.
 *
 * @throws ArgsError (1001) for what cannot be a user id, NoPermissionError (1002) for somebody else.
 */
function requireOneself(caller: Caller, userId: string, field: string): string {
  requireId(userId, field, maxUserIdBytes);
  if (caller.isAdmin || caller.userId === userId) return userId;
  throw failure("NoPermissionError", `${field} must be the caller, unless it is an admin`);
}

function requireDistinct(conversationIds: readonly string[], field: string): void {
  if (conversationIds.length > maxConversations) {
    throw wrongField(field, `${field} must name at most ${maxConversations} conversations`);
  }
  if (new Set(conversationIds).size < conversationIds.length) {
    throw wrongField(field, `${field} must not name a conversation twice`);
  }
}
