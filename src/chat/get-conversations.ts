import type { Caller } from "../auth/caller.ts";
import type { ChatDeps } from "./access.ts";
import type { UserConversation } from "./conversations.ts";

/**
 * The conversations of a caller that hold chat copies: at most 1,000, the one with the newest copy first.
 *
 * @throws NetworkError (90004) when the broker does not answer in time.
 */
export async function getConversations(
  { chat, groupIdsOf }: ChatDeps,
  { userId }: Caller,
): Promise<readonly UserConversation[]> {
  return chat.conversationsOf(userId, await groupIdsOf(userId));
}
