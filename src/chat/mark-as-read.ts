import type { Caller } from "../auth/caller.ts";
import { wrongField } from "../errors.ts";
import type { MarkConversationAsReadRequest } from "../gen/mustreach/msg/v1/msg_pb.ts";
import type { ConversationAccess } from "./access.ts";
import type { Chat } from "./chat.ts";

/** Moves the caller's place in a conversation forward; {@link createMarkConversationAsRead} makes it. */
export type MarkConversationAsRead = (caller: Caller, request: MarkConversationAsReadRequest) => Promise<void>;

/**
 * Creates the {@link MarkConversationAsRead}.
 *
 * Throws ArgsError (1001) for a bad argument, also a place above the newest copy, as OpenIM; NoPermissionError (1002)
 * for a conversation that is not the caller's, whether or not it is an admin; NetworkError (90004) when the broker does
 * not answer in time.
 */
export function createMarkConversationAsRead(
  chat: Pick<Chat, "markRead">,
  access: ConversationAccess,
): MarkConversationAsRead {
  return async (caller, { conversationId, hasReadSeq }) => {
    if (hasReadSeq < 0n) throw wrongField("hasReadSeq", "hasReadSeq must be a place, from 1");
    const conversation = await access.requireOwn(caller, conversationId);
    const newest = conversation?.maxSeq ?? 0;
    if (hasReadSeq > newest) throw wrongField("hasReadSeq", `hasReadSeq must not be above the newest place, ${newest}`);
    if (conversation === undefined) return;
    await chat.markRead(caller.userId, conversation.parties, Number(hasReadSeq) || newest);
  };
}
