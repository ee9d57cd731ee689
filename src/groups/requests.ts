import { wrongField } from "../errors.ts";
import type { Pagination } from "../gen/mustreach/directory/v1/directory_pb.ts";
import { maxUserIdBytes, requireId } from "../limits.ts";

/** Users in one request, at most. */
const maxUsers = 100_000;

/** Entries on a page, unless the caller says how many. */
const defaultShowNumber = 100;
const maxShowNumber = 5_000;

/**
 * Checks the users of a request.
 *
 * @param field the name of the list as the caller wrote it, such as `invitedUserIDs`.
 * @throws ArgsError (1001) for too many users, for one that cannot be a user id, and for one that is named twice.
 */
export function requireUsers(userIds: readonly string[], field: string): void {
  if (userIds.length > maxUsers) throw wrongField(field, `${field} must name at most ${maxUsers} users`);
  for (const userId of userIds) requireId(userId, field, maxUserIdBytes);
  if (new Set(userIds).size < userIds.length) throw wrongField(field, `${field} must not name a user twice`);
}

/**
 * From where to where a request wants a list; absent, it is the first page.
 *
 * @throws ArgsError (1001) for a page number or size that is out of range.
 */
export function requirePage(pagination: Pagination | undefined) {
  const { pageNumber = 0, showNumber = 0 } = pagination ?? {};
  if (pageNumber < 0) throw wrongField("pagination.pageNumber", "pageNumber must be 1 or more");
  if (showNumber < 0 || showNumber > maxShowNumber) {
    throw wrongField("pagination.showNumber", `showNumber must be 1 to ${maxShowNumber}`);
  }
  const size = showNumber || defaultShowNumber;
  const start = ((pageNumber || 1) - 1) * size;
  return { start, end: start + size };
}
