import { type CallerContext, requireAdmin, requireCaller } from "../auth/caller.ts";
import { failure, wrongField } from "../errors.ts";
import type { GetGroupsRequest, ListGroupsRequest } from "../gen/mustreach/directory/v1/directory_pb.ts";
import { maxGroupIdBytes, maxUserIdBytes, requireId } from "../limits.ts";
import type { Group, Groups } from "./groups.ts";
import { requirePage } from "./requests.ts";

/** Groups in a request that names them: each is asked for by itself. */
const maxGroups = 100;

/**
 * Describes groups, dismissed ones too; an unknown one is left out.
 *
 * @throws ArgsError (1001) for a bad argument, then NoPermissionError (1002) for a caller that is not an admin.
 */
export async function getGroups(
  { groups }: { readonly groups: Groups },
  { groupIds }: GetGroupsRequest,
  context: CallerContext,
): Promise<Group[]> {
  if (groupIds.length === 0 || groupIds.length > maxGroups) {
    throw wrongField("groupIDs", `groupIDs must name 1 to ${maxGroups} groups`);
  }
  for (const groupId of groupIds) requireId(groupId, "groupIDs", maxGroupIdBytes);
  requireAdmin(context);
  const found = await Promise.all(groupIds.map((groupId) => groups.find(groupId)));
  return found.filter((group) => group !== undefined);
}

/**
 * Lists the groups that a user is a member of, a page at a time, without dismissed ones.
 *
 * @throws ArgsError (1001) for a bad argument, then NoPermissionError (1002) for a caller that is neither an admin nor
 * the user.
 */
export async function listGroups(
  { groups }: { readonly groups: Groups },
  request: ListGroupsRequest,
  context: CallerContext,
): Promise<{ total: number; groups: readonly Group[] }> {
  const userId = requireId(request.fromUserId, "fromUserID", maxUserIdBytes);
  const page = requirePage(request.pagination);
  const caller = requireCaller(context);
  if (!caller.isAdmin && caller.userId !== userId) {
    throw failure("NoPermissionError", "only an admin token or the user's own may list a user's groups");
  }
  const joined = await groups.joined(userId);
  return { total: joined.length, groups: joined.slice(page.start, page.end) };
}
