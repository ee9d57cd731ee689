import type { ServiceImpl } from "@connectrpc/connect";
import { requireCaller } from "../auth/caller.ts";
import type { ChatDeps } from "../chat/access.ts";
import { wrongField } from "../errors.ts";
import type { OpenimService } from "../gen/mustreach/openim/v1/openim_pb.ts";
import { maxUserIdBytes, requireId } from "../limits.ts";
import { getAllConversations, getSeqs, markConversationAsRead, pullMsgBySeq } from "./conversations.ts";

/** Users that may be asked for at once. */
const maxUsers = 1_000;

export interface OpenimServiceDeps {
  readonly conversations: ChatDeps;
}

/** Creates the implementation of OpenimService. */
export function createOpenimService({ conversations }: OpenimServiceDeps): ServiceImpl<typeof OpenimService> {
  return {
    async getAllConversations(request, context) {
      return { conversations: await getAllConversations(conversations, requireCaller(context), request) };
    },
    async pullMsgBySeq(request, context) {
      return { msgs: await pullMsgBySeq(conversations, requireCaller(context), request) };
    },
    async markConversationAsRead(request, context) {
      await markConversationAsRead(conversations, requireCaller(context), request);
      return {};
    },
    async getConversationsHasReadAndMaxSeq(request, context) {
      return { seqs: await getSeqs(conversations, requireCaller(context), request) };
    },
    getUsersInfo({ userIds }) {
      if (userIds.length > maxUsers) throw wrongField("userIDs", `userIDs must be at most ${maxUsers}`);
      const usersInfo = userIds.map((id) => {
        const userId = requireId(id, "userIDs", maxUserIdBytes);
        return { userId, nickname: userId };
      });
      return { usersInfo };
    },
    getIncrementalFriends: nothing,
    getFullFriendUserIds: nothing,
    getBlackList: nothing,
    getIncrementalJoinGroups: nothing,
    getFullJoinGroupIds: nothing,
    getIncrementalConversations: nothing,
    getNotNotifyConversationIds: nothing,
    getActiveConversations: nothing,
  };
}

function nothing(): Record<never, never> {
  return {};
}
