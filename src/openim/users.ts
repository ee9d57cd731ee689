import { type CallerContext, requireAdmin } from "../auth/caller.ts";
import { wrongField } from "../errors.ts";
import type {
  GetUsersInfoRequest,
  GetUsersOnlineStatusRequest,
  UserRegisterRequest,
} from "../gen/mustreach/openim/v1/openim_pb.ts";
import { maxUserIdBytes, requireId } from "../limits.ts";
import type { FindPlatforms } from "../live/presence.ts";

/** Users in a request. */
const maxUsers = 1_000;

/** OpenIM's statuses of a user. */
const statuses = { offline: 0, online: 1 } as const;

/**
 * Checks what OpenIM checks, and keeps nothing: any id is a user here.
 *
 * @throws ArgsError (1001) for a bad argument, then NoPermissionError (1002) for a caller that is not an admin.
 */
export function registerUsers({ users }: UserRegisterRequest, context: CallerContext): void {
  const userIds = requireUserIds(
    users.map(({ userId }) => userId),
    "users",
  );
  if (userIds.length === 0) throw wrongField("users", "users must name a user");
  if (new Set(userIds).size < userIds.length) throw wrongField("users", "users must not name a user twice");
  requireAdmin(context);
}

/** What is known of users. */
export function getUsersInfo({ userIds }: GetUsersInfoRequest) {
  return requireUserIds(userIds, "userIDs").map((userId) => ({ userId, nickname: userId }));
}

/**
 * Tells who has a session now.
 *
 * @throws ArgsError (1001) for a bad argument, then NoPermissionError (1002) for a caller that is not an admin.
 */
export async function getUsersOnlineStatus(
  findPlatforms: FindPlatforms,
  request: GetUsersOnlineStatusRequest,
  context: CallerContext,
) {
  const userIds = requireUserIds(request.userIds, "userIDs");
  if (userIds.length === 0) throw wrongField("userIDs", "userIDs must name a user");
  requireAdmin(context);
  const found = await findPlatforms(userIds);
  return userIds.map((userId, index) => {
    const platforms = found[index] ?? [];
    return {
      userId,
      status: platforms.length > 0 ? statuses.online : statuses.offline,
      detailPlatformStatus: platforms.map((platformId) => ({ platformId })),
    };
  });
}

function requireUserIds(userIds: readonly string[], field: string): readonly string[] {
  if (userIds.length > maxUsers) throw wrongField(field, `${field} must be at most ${maxUsers}`);
  return userIds.map((userId) => requireId(userId, field, maxUserIdBytes));
}
