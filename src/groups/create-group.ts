import { randomInt } from "node:crypto";
import { type CallerContext, requireAdmin } from "../auth/caller.ts";
import { failure, wrongField } from "../errors.ts";
import type { CreateGroupRequest } from "../gen/mustreach/directory/v1/directory_pb.ts";
import { maxGroupIdBytes, maxUserIdBytes, requireId } from "../limits.ts";
import { type Group, type Groups, roles } from "./groups.ts";
import { toProfile } from "./records.ts";
import { requireUsers } from "./requests.ts";

/** OpenIM's type of group, the only one. */
export const workingGroup = 2;

/** The longest `groupName` and `faceURL`, in bytes of UTF-8. */
const maxNameBytes = 1_024;

/** The longest `ex`, `notification` and `introduction`, in bytes of UTF-8. */
const maxTextBytes = 16_384;

/**
 * Creates a group with its first members.
 *
 * @throws ArgsError (1001) for a bad argument, then NoPermissionError (1002) for a caller that is not an admin, then
 * GroupIDExisted (1202) for an id that is taken, also by a dismissed group.
 */
export async function createGroup(
  { groups }: { readonly groups: Groups },
  request: CreateGroupRequest,
  context: CallerContext,
): Promise<Group> {
  const { groupInfo } = request;
  const ownerUserId = requireId(request.ownerUserId, "ownerUserID", maxUserIdBytes);
  requireUsers([...request.adminUserIds, ...request.memberUserIds], "memberUserIDs and adminUserIDs together");
  if ([...request.adminUserIds, ...request.memberUserIds].includes(ownerUserId)) {
    throw wrongField("memberUserIDs", "the owner must not be named as a member or admin again");
  }
  if (groupInfo === undefined) throw wrongField("groupInfo", "groupInfo is required");
  if (groupInfo.groupId !== "") requireId(groupInfo.groupId, "groupID", maxGroupIdBytes);
  requireText(groupInfo.groupName, "groupName", maxNameBytes);
  requireText(groupInfo.faceUrl, "faceURL", maxNameBytes);
  requireText(groupInfo.ex, "ex", maxTextBytes);
  requireText(groupInfo.notification, "notification", maxTextBytes);
  requireText(groupInfo.introduction, "introduction", maxTextBytes);
  if (groupInfo.groupType !== workingGroup)
    throw wrongField("groupInfo.groupType", `groupType must be ${workingGroup}`);
  const { userId: creatorUserId } = requireAdmin(context);

  const group = {
    ...toProfile(groupInfo),
    ownerUserId,
    creatorUserId,
    members: [
      ...request.adminUserIds.map((userId) => ({ userId, role: roles.admin })),
      ...request.memberUserIds.map((userId) => ({ userId, role: roles.member })),
    ],
  };
  if (groupInfo.groupId !== "") {
    const created = await groups.create({ ...group, groupId: groupInfo.groupId });
    if (created === undefined) throw failure("GroupIDExisted", "a group with this groupID exists");
    return created;
  }
  for (;;) {
    const created = await groups.create({ ...group, groupId: generateGroupId() });
    if (created !== undefined) return created;
  }
}

function requireText(value: string, field: string, maxBytes: number): void {
  // A lone surrogate has no UTF-8: what is read back would not be what was written.
  if (!value.isWellFormed() || Buffer.byteLength(value) > maxBytes) {
    throw wrongField(field, `${field} must be at most ${maxBytes} bytes of UTF-8`);
  }
}

/** Ten decimal digits, as OpenIM's. */
function generateGroupId(): string {
  return String(randomInt(1_000_000_000, 10_000_000_000));
}
