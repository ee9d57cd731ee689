import type { Caller } from "../auth/caller.ts";
import { failure } from "../errors.ts";
import { requireId } from "../limits.ts";
import type { Chat, StoredConversation } from "./chat.ts";
import { maxConversationIdBytes, partiesNamed } from "./conversation-id.ts";

/** Options of {@link createConversationAccess}. */
export interface ConversationAccessOptions {
  readonly chat: Pick<Chat, "find">;
  /** Whether a user is a member of a group now. */
  readonly isMember: (userId: string, groupId: string) => Promise<boolean>;
}

/** Finds a conversation for a caller who may see it; {@link createConversationAccess} makes it. */
export interface ConversationAccess {
  /**
   * A conversation of the caller: one of its own with another user, or that of a group of which it is a member now.
   * Undefined for that of such a group while it holds no copies.
   *
   * @throws ArgsError (1001) for what cannot be an id, NoPermissionError (1002) for a conversation that is not the
   * caller's and for one that does not exist: a stranger does not learn which.
   */
  requireOwn(caller: Caller, conversationId: string): Promise<StoredConversation | undefined>;
  /** As {@link requireOwn}, and for an admin any conversation that holds copies. */
  requireReadable(caller: Caller, conversationId: string): Promise<StoredConversation | undefined>;
}

/** Creates the {@link ConversationAccess}. */
export function createConversationAccess({ chat, isMember }: ConversationAccessOptions): ConversationAccess {
  const require = async (caller: Caller, conversationId: string, isAny: boolean) => {
    requireId(conversationId, "conversationID", maxConversationIdBytes);
    const named = partiesNamed(conversationId, isAny ? undefined : caller.userId);
    const group = named.find((parties) => "groupId" in parties);
    const isMemberNow = group !== undefined && (await isMember(caller.userId, group.groupId));
    // Looked up whether or not the caller may see it, so that the time of a refusal does not tell what exists.
    const stored = await chat.find(named);
    if (isMemberNow) return stored;
    if (stored === undefined || !(isAny || isParticipant(stored, caller.userId))) {
      throw failure("NoPermissionError", "the conversation is not the caller's");
    }
    return stored;
  };

  return {
    requireOwn: (caller, conversationId) => require(caller, conversationId, false),
    requireReadable: (caller, conversationId) => require(caller, conversationId, caller.isAdmin),
  };
}

function isParticipant({ parties }: StoredConversation, userId: string): boolean {
  return "userIds" in parties && parties.userIds.includes(userId);
}
