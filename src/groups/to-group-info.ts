import type { MessageInitShape } from "@bufbuild/protobuf";
import type { GroupInfoSchema } from "../gen/mustreach/directory/v1/directory_pb.ts";
import type { Group } from "./groups.ts";

/** OpenIM's type of group, the only one. */
export const workingGroup = 2;

const dismissed = 2;

/** A group as callers get it. */
export function toGroupInfo(group: Group): MessageInitShape<typeof GroupInfoSchema> {
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
