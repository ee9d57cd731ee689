import type { ServiceImpl } from "@connectrpc/connect";
import type { GroupService } from "../gen/mustreach/directory/v1/directory_pb.ts";
import { addMembers } from "./add-members.ts";
import { createGroup } from "./create-group.ts";
import { dismissGroup } from "./dismiss-group.ts";
import type { Groups } from "./groups.ts";
import { listGroups } from "./list-groups.ts";
import { listMembers } from "./list-members.ts";
import { removeMembers } from "./remove-members.ts";
import { toGroupInfo } from "./to-group-info.ts";

/** Options of {@link createGroupService}. */
export interface GroupServiceOptions {
  readonly groups: Groups;
}

/** Creates the implementation of GroupService, which only translates. It expects the caller in the context. */
export function createGroupService(options: GroupServiceOptions): ServiceImpl<typeof GroupService> {
  return {
    async createGroup(request, context) {
      return { groupInfo: toGroupInfo(await createGroup(options, request, context)) };
    },
    async dismissGroup(request, context) {
      await dismissGroup(options, request, context);
      return {};
    },
    async addMembers(request, context) {
      await addMembers(options, request, context);
      return {};
    },
    async removeMembers(request, context) {
      await removeMembers(options, request, context);
      return {};
    },
    async listMembers(request, context) {
      const { total, members } = await listMembers(options, request, context);
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
      const { total, groups } = await listGroups(options, request, context);
      return { total, groups: groups.map(toGroupInfo) };
    },
  };
}
