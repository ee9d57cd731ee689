import { type CallerContext, requireAdmin } from "../auth/caller.ts";
import { wrongField } from "../errors.ts";
import type { GetMembersRequest, ListMembersRequest } from "../gen/mustreach/directory/v1/directory_pb.ts";
import { maxGroupIdBytes, requireId } from "../limits.ts";
import { type Groups, type Member, type Role, roles } from "./groups.ts";
import { requireActive } from "./records.ts";
import { requirePage, requireUsers } from "./requests.ts";

/** The roles that each `filter` lets through, by its number. */
const filters: readonly (readonly Role[])[] = [
  [roles.owner, roles.admin, roles.member],
  [roles.owner],
  [roles.admin],
  [roles.member],
  [roles.admin, roles.member],
  [roles.owner, roles.admin],
];

/** Lists in listing order, by the list they were made from, which stays the same while its group does. */
const listings = new WeakMap<readonly Member[], readonly Member[]>();

/**
 * Tells which users are members of a group, and as what.
 *
 * @throws as {@link listMembers}.
 */
export async function getMembers(
  { groups }: { readonly groups: Groups },
  request: GetMembersRequest,
  context: CallerContext,
): Promise<Member[]> {
  const groupId = requireId(request.groupId, "groupID", maxGroupIdBytes);
  if (request.userIds.length === 0) throw wrongField("userIDs", "userIDs must name a user");
  requireUsers(request.userIds, "userIDs");
  requireAdmin(context);
  const { version } = requireActive(await groups.find(groupId));
  const wanted = new Set(request.userIds);
  const members = (await groups.membersAt(groupId, version)).filter(({ userId }) => wanted.has(userId));
  const byId = new Map(members.map((member) => [member.userId, member]));
  return request.userIds.flatMap((userId) => byId.get(userId) ?? []);
}

/**
 * Lists the members of a group, a page at a time.
 *
 * @throws ArgsError (1001) for a bad argument, then NoPermissionError (1002) for a caller that is not an admin, then
 * RecordNotFoundError (1004) for an unknown group and DismissedAlreadyError (1204) for a dismissed one.
 */
export async function listMembers(
  { groups }: { readonly groups: Groups },
  request: ListMembersRequest,
  context: CallerContext,
): Promise<{ total: number; members: readonly Member[] }> {
  const groupId = requireId(request.groupId, "groupID", maxGroupIdBytes);
  const page = requirePage(request.pagination);
  const wanted = filters[request.filter];
  if (wanted === undefined) throw wrongField("filter", `filter must be 0 to ${filters.length - 1}`);
  requireAdmin(context);
  const { version } = requireActive(await groups.find(groupId));
  const members = inListingOrder(await groups.membersAt(groupId, version)).filter(
    ({ userId, role }) => wanted.includes(role) && userId.includes(request.keyword),
  );
  return { total: members.length, members: members.slice(page.start, page.end) };
}

function inListingOrder(members: readonly Member[]): readonly Member[] {
  let listing = listings.get(members);
  if (listing === undefined) {
    listing = members.toSorted((a, b) => b.role - a.role || a.joinTime - b.joinTime || (a.userId < b.userId ? -1 : 1));
    listings.set(members, listing);
  }
  return listing;
}
