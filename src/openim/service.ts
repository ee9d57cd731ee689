import type { ServiceImpl } from "@connectrpc/connect";
import { requireCaller } from "../auth/caller.ts";
import type { ChatDeps } from "../chat/access.ts";
import type { OpenimService } from "../gen/mustreach/openim/v1/openim_pb.ts";
import type { FindPlatforms } from "../live/presence.ts";
import { getAllConversations, getSeqs, markConversationAsRead, pullMsgBySeq } from "./conversations.ts";
import { getUsersInfo, getUsersOnlineStatus, registerUsers } from "./users.ts";

export interface OpenimServiceDeps {
  readonly conversations: ChatDeps;
  readonly findPlatforms: FindPlatforms;
}

/** Creates the implementation of OpenimService. */
export function createOpenimService({
  conversations,
  findPlatforms,
}: OpenimServiceDeps): ServiceImpl<typeof OpenimService> {
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
    userRegister(request, context) {
      registerUsers(request, context);
      return {};
    },
    getUsersInfo: (request) => ({ usersInfo: getUsersInfo(request) }),
    async getUsersOnlineStatus(request, context) {
      return { statuses: await getUsersOnlineStatus(findPlatforms, request, context) };
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
