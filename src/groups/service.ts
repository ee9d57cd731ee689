import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import type { GroupInfoSchema, GroupMemberSchema, GroupService } from "../gen/mustreach/directory/v1/directory_pb.ts";
import { addMembers, removeMembers } from "./change-members.ts";
import { createGroup, workingGroup } from "./create-group.ts";
import { dismissGroup } from "./dismiss-group.ts";
import type { Group, Groups, Member } from "./groups.ts";
import { getGroups, listGroups } from "./list-groups.ts";
import { getMembers, listMembers } from "./list-members.ts";
import { toProfile } from "./records.ts";
import { transferGroup } from "./transfer-group.ts";

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
      return { total, members: members.map((member) => toGroupMember(request.groupId, member)) };
    },
    async getMembers(request, context) {
      const members = await getMembers(deps, request, context);
      return { members: members.map((member) => toGroupMember(request.groupId, member)) };
    },
    async transferGroup(request, context) {
      await transferGroup(deps, request, context);
      return {};
    },
    async getGroups(request, context) {
      return { groupInfos: (await getGroups(deps, request, context)).map(toGroupInfo) };
    },
    async listGroups(request, context) {
      const { total, groups } = await listGroups(deps, request, context);
      return { total, groups: groups.map(toGroupInfo) };
    },
  };
}

function toGroupMember(
  groupId: string,
  { userId, role, joinTime }: Member,
): MessageInitShape<typeof GroupMemberSchema> {
  return { groupId, userId, roleLevel: role, joinTime: BigInt(joinTime) };
}

function toGroupInfo(group: Group): MessageInitShape<typeof GroupInfoSchema> {
  const { groupId, ownerUserId, creatorUserId, memberCount } = group;
  return {
    groupId,
    ...toProfile(group),
    groupType: workingGroup,
    ownerUserId,
    creatorUserId,
    createTime: BigInt(group.createTime),
    memberCount,
    status: group.status === "dismissed" ? dismissed : 0,
  };
}
