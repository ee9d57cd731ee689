import { type CallerContext, requireAdmin } from "../auth/caller.ts";
import { wrongField } from "../errors.ts";
import type { TransferGroupRequest } from "../gen/mustreach/directory/v1/directory_pb.ts";
import { maxGroupIdBytes, maxUserIdBytes, requireId } from "../limits.ts";
import type { Groups } from "./groups.ts";

/**
 * Gives a group another owner; repeating it changes nothing.
 *
 * @throws ArgsError (1001) for a bad argument, then NoPermissionError (1002) for a caller that is not an admin, then
 * RecordNotFoundError (1004) for an unknown group, DismissedAlreadyError (1204) for a dismissed one, and ArgsError for
 * users who are not its owner and a member.
 */
export async function transferGroup(
  { groups }: { readonly groups: Groups },
  request: TransferGroupRequest,
  context: CallerContext,
): Promise<void> {
  const groupId = requireId(request.groupId, "groupID", maxGroupIdBytes);
  const from = requireId(request.oldOwnerUserId, "oldOwnerUserID", maxUserIdBytes);
  const to = requireId(request.newOwnerUserId, "newOwnerUserID", maxUserIdBytes);
  if (from === to) throw wrongField("newOwnerUserID", "newOwnerUserID must be another user");
  requireAdmin(context);
  await groups.transfer(groupId, { from, to });
}
