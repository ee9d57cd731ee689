import type { Caller } from "../auth/caller.ts";
import { failure } from "../errors.ts";
import { requireId } from "../limits.ts";
import type { Chat, StoredConversation } from "./chat.ts";
import { maxConversationIdBytes, partiesNamed } from "./conversation-id.ts";

export interface ChatDeps {
  readonly chat: Pick<Chat, "find" | "pull" | "conversationsOf" | "markRead">;
  /** The ids of the groups of which a user is a member now. */
  readonly groupIdsOf: (userId: string) => Promise<readonly string[]>;
}

/**
 * A conversation of the caller: one of its own with another user, or that of a group of which it is a member now.
 * Undefined for that of such a group while it holds no copies.
 *
 * @throws ArgsError (1001) for what cannot be an id, NoPermissionError (1002) for a conversation that is not the
 * caller's and for one that does not exist: a stranger does not learn which.
 */
export function requireOwn(deps: ChatDeps, caller: Caller, conversationId: string) {
  return requireConversation(deps, caller, conversationId, false);
}

/** As {@link requireOwn}, and for an admin any conversation that holds copies. */
export function requireReadable(deps: ChatDeps, caller: Caller, conversationId: string) {
  return requireConversation(deps, caller, conversationId, caller.isAdmin);
}

/** A conversation that was looked for. */
export interface Found {
  /** Whether the user may see it. */
  readonly isAllowed: boolean;
  /** Undefined while it holds no copies. */
  readonly stored: StoredConversation | undefined;
}

/** Looks for a conversation of a user, as {@link requireOwn} has it. */
export function findOwn(deps: ChatDeps, userId: string, conversationId: string): Promise<Found> {
  return findConversation(deps, userId, conversationId, false);
}

async function requireConversation(
  deps: ChatDeps,
  { userId }: Caller,
  conversationId: string,
  isAny: boolean,
): Promise<StoredConversation | undefined> {
  const { isAllowed, stored } = await findConversation(deps, userId, conversationId, isAny);
  if (isAllowed) return stored;
  throw failure("NoPermissionError", "the conversation is not the caller's");
}

async function findConversation(
  { chat, groupIdsOf }: ChatDeps,
  userId: string,
  conversationId: string,
  isAny: boolean,
): Promise<Found> {
  requireId(conversationId, "conversationID", maxConversationIdBytes);
  const named = partiesNamed(conversationId, isAny ? undefined : userId);
  const group = named.find((parties) => "groupId" in parties);
  const isMember = group !== undefined && (await groupIdsOf(userId)).includes(group.groupId);
  // Looked up whether or not the caller may see it, so that the time of a refusal does not tell what exists.
  const stored = await chat.find(named);
  return { isAllowed: isMember || (stored !== undefined && (isAny || isParticipant(stored, userId))), stored };
}

function isParticipant({ parties }: StoredConversation, userId: string): boolean {
  return "userIds" in parties && parties.userIds.includes(userId);
}
