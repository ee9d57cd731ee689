import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import type { GroupInfoSchema, GroupService } from "../gen/mustreach/directory/v1/directory_pb.ts";
import { addMembers } from "./add-members.ts";
import { createGroup, workingGroup } from "./create-group.ts";
import { dismissGroup } from "./dismiss-group.ts";
import type { Group, Groups } from "./groups.ts";
import { listGroups } from "./list-groups.ts";
import { listMembers } from "./list-members.ts";
import { removeMembers } from "./remove-members.ts";

/** OpenIM's status of a group that was dismissed. */
const dismissed = 2;

/** Creates the implementation of GroupService, which only translates. It expects the caller in the context. */
export function createGroupService(deps: { readonly groups: Groups }): ServiceImpl<typeof GroupService> {
  return {
    async createGroup(request, context) {
      return { groupInfo: toGroupInfo(await createGroup(deps, request, context)) };
    },
    async dismissGroup(request, context) {
      await dismissGroup(deps, request, context);
      return {};
    },
    async addMembers(request, context) {
      await addMembers(deps, request, context);
      return {};
    },
    async removeMembers(request, context) {
      await removeMembers(deps, request, context);
      return {};
    },
    async listMembers(request, context) {
      const { total, members } = await listMembers(deps, request, context);
      const { groupId } = request;
      return {
        total,
        members: members.map(({ userId, role, joinTime }) => ({
          groupId,
          userId,
          roleLevel: role,
          joinTime: BigInt(joinTime),
        })),
      };
    },
    async listGroups(request, context) {
      const { total, groups } = await listGroups(deps, request, context);
      return { total, groups: groups.map(toGroupInfo) };
    },
  };
}

function toGroupInfo(group: Group): MessageInitShape<typeof GroupInfoSchema> {
  const { groupId, groupName, ex, ownerUserId, creatorUserId, memberCount } = group;
  return {
    groupId,
    groupName,
    ex,
    groupType: workingGroup,
    ownerUserId,
    creatorUserId,
    createTime: BigInt(group.createTime),
    memberCount,
    status: group.status === "dismissed" ? dismissed : 0,
  };
}
