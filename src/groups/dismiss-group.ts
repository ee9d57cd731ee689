import { type CallerContext, requireAdmin } from "../auth/caller.ts";
import type { DismissGroupRequest } from "../gen/mustreach/directory/v1/directory_pb.ts";
import { maxGroupIdBytes, requireId } from "../limits.ts";
import type { Groups } from "./groups.ts";

/**
 * Ends a group.
 *
 * @throws ArgsError (1001) for a bad argument, then NoPermissionError (1002) for a caller that is not an admin, then
 * RecordNotFoundError (1004) for an unknown group and DismissedAlreadyError (1204) for a dismissed one.
 */
export async function dismissGroup(
  { groups }: { readonly groups: Groups },
  request: DismissGroupRequest,
  context: CallerContext,
): Promise<void> {
  const groupId = requireId(request.groupId, "groupID", maxGroupIdBytes);
  requireAdmin(context);
  await groups.dismiss(groupId, { deleteMembers: request.deleteMember });
}
