import type { ServiceImpl } from "@connectrpc/connect";
import { wrongField } from "../errors.ts";
import type { OpenimService } from "../gen/mustreach/openim/v1/openim_pb.ts";
import { maxUserIdBytes, requireId } from "../limits.ts";

/** Users that may be asked for at once. */
const maxUsers = 1_000;

/** Creates the implementation of OpenimService. */
export function createOpenimService(): ServiceImpl<typeof OpenimService> {
  return {
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
