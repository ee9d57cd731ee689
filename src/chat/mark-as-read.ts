import type { Caller } from "../auth/caller.ts";
import { wrongField } from "../errors.ts";
import type { MarkConversationAsReadRequest } from "../gen/mustreach/msg/v1/msg_pb.ts";
import { type ChatDeps, requireOwn } from "./access.ts";

/**
 * Moves the caller's place in a conversation forward, to the newest copy unless the request says which.
 *
 * @throws ArgsError (1001) for a bad argument, also a place above the newest copy, as OpenIM; NoPermissionError (1002)
 * for a conversation that is not the caller's, whether or not it is an admin; NetworkError (90004) when the broker does
 * not answer in time.
 */
export async function markConversationAsRead(
  deps: ChatDeps,
  caller: Caller,
  { conversationId, hasReadSeq }: MarkConversationAsReadRequest,
): Promise<void> {
  if (hasReadSeq < 0n) throw wrongField("hasReadSeq", "hasReadSeq must be a place, from 1");
  const conversation = await requireOwn(deps, caller, conversationId);
  const newest = conversation?.maxSeq ?? 0;
  if (hasReadSeq > newest) throw wrongField("hasReadSeq", `hasReadSeq must not be above the newest place, ${newest}`);
  if (conversation === undefined) return;
  await deps.chat.markRead(caller.userId, conversation.parties, Number(hasReadSeq) || newest);
}
