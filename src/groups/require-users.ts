import { wrongField } from "../errors.ts";
import { maxUserIdBytes, requireId } from "../limits.ts";

/** Users in one request, at most. */
const maxUsers = 100_000;

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
