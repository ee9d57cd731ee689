import type { Caller } from "../auth/caller.ts";
import type { Chat } from "./chat.ts";
import type { UserConversation } from "./conversations.ts";

/** Lists the conversations of a caller that hold chat copies; {@link createGetConversations} makes it. */
export type GetConversations = (caller: Caller) => Promise<readonly UserConversation[]>;

/**
 * Creates the {@link GetConversations}.
 *
 * Throws NetworkError (90004) when the broker does not answer in time.
 *
 * @param joined the ids of the groups of which a user is a member now.
 */
export function createGetConversations(
  chat: Pick<Chat, "conversationsOf">,
  joined: (userId: string) => Promise<readonly string[]>,
): GetConversations {
  return async ({ userId }) => chat.conversationsOf(userId, await joined(userId));
}
