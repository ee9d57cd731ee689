import type { Notification } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import { isId, maxGroupIdBytes, maxUserIdBytes } from "../limits.ts";
import type { Parties } from "./records.ts";

const userPrefix = "si_";
const groupPrefix = "sg_";

/** The longest conversation id, in bytes of UTF-8: `si_`, two user ids and the `_` between them. */
export const maxConversationIdBytes = 2 * maxUserIdBytes + 4;

/** Whose conversation a notification belongs to: its group's, or its sender's with its receiver. */
export function toParties(notification: Pick<Notification, "sendUserId" | "recvUserId" | "recvGroupId">): Parties {
  const { sendUserId, recvUserId, recvGroupId } = notification;
  if (recvGroupId !== "") return { groupId: recvGroupId };
  return { userIds: isInOrder(sendUserId, recvUserId) ? [sendUserId, recvUserId] : [recvUserId, sendUserId] };
}

/** The id of a conversation, as OpenIM's: `si_<a>_<b>` for two users, their ids in order, `sg_<group>` for a group. */
export function toConversationId(parties: Parties): string {
  return "groupId" in parties ? groupPrefix + parties.groupId : userPrefix + parties.userIds.join("_");
}

/**
 * Whose conversation an id can name; with a user, only those of that user and of groups. Ids may contain `_`, so
 * `si_a_b_c` can be that of `a` and `b_c` as well as that of `a_b` and `c`, and what is stored decides.
 */
export function partiesNamed(conversationId: string, userId?: string): Parties[] {
  if (conversationId.startsWith(groupPrefix)) {
    const groupId = conversationId.slice(groupPrefix.length);
    return isId(groupId, maxGroupIdBytes) ? [{ groupId }] : [];
  }
  if (!conversationId.startsWith(userPrefix)) return [];
  const pairs: Parties[] = [];
  let at = conversationId.indexOf("_", userPrefix.length);
  for (; at !== -1; at = conversationId.indexOf("_", at + 1)) {
    const a = conversationId.slice(userPrefix.length, at);
    const b = conversationId.slice(at + 1);
    if (userId !== undefined && userId !== a && userId !== b) continue;
    if (isId(a, maxUserIdBytes) && isId(b, maxUserIdBytes) && isInOrder(a, b)) pairs.push({ userIds: [a, b] });
  }
  return pairs;
}

/** By bytes of UTF-8, as Go sorts; JavaScript's own order differs above U+FFFF. */
function isInOrder(a: string, b: string): boolean {
  return Buffer.compare(Buffer.from(a), Buffer.from(b)) <= 0;
}
