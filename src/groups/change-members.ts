import { type CallerContext, requireAdmin } from "../auth/caller.ts";
import { wrongField } from "../errors.ts";
import type { AddMembersRequest, RemoveMembersRequest } from "../gen/mustreach/directory/v1/directory_pb.ts";
import { maxGroupIdBytes, requireId } from "../limits.ts";
import { type Groups, roles } from "./groups.ts";
import { requireUsers } from "./requests.ts";

/**
 * Adds users to a group; those who are members stay as they are. When the broker does not answer in time (90004), some
 * may have been added: the same call again adds the rest.
 *
 * @throws ArgsError (1001) for a bad argument, then NoPermissionError (1002) for a caller that is not an admin, then
 * RecordNotFoundError (1004) for an unknown group and DismissedAlreadyError (1204) for a dismissed one.
 */
export async function addMembers(
  { groups }: { readonly groups: Groups },
  request: AddMembersRequest,
  context: CallerContext,
): Promise<void> {
  const groupId = requireId(request.groupId, "groupID", maxGroupIdBytes);
  if (request.invitedUserIds.length === 0) throw wrongField("invitedUserIDs", "invitedUserIDs must name a user");
  requireUsers(request.invitedUserIds, "invitedUserIDs");
  requireAdmin(context);
  await groups.add(groupId, request.invitedUserIds, roles.member);
}

/**
 * Removes users from a group; those who are not members are passed over. When the broker does not answer in time
 * (90004), some may have been removed: the same call again removes the rest.
 *
 * @throws ArgsError (1001) for a bad argument, then NoPermissionError (1002) for a caller that is not an admin, then
 * RecordNotFoundError (1004) for an unknown group, DismissedAlreadyError (1204) for a dismissed one, and ArgsError for
 * its owner.
 */
export async function removeMembers(
  { groups }: { readonly groups: Groups },
  request: RemoveMembersRequest,
  context: CallerContext,
): Promise<void> {
  const groupId = requireId(request.groupId, "groupID", maxGroupIdBytes);
  if (request.kickedUserIds.length === 0) throw wrongField("kickedUserIDs", "kickedUserIDs must name a user");
  requireUsers(request.kickedUserIds, "kickedUserIDs");
  requireAdmin(context);
  await groups.remove(groupId, request.kickedUserIds);
}
