import { failure } from "../errors.ts";
import { maxUserIdBytes, requireId } from "../limits.ts";
import { type CallerContext, requireAdmin } from "./caller.ts";
import type { MintedToken, TokenMinter, TokenSubject } from "./mint-token.ts";
import { adminPlatform, requirePlatform } from "./platform.ts";

interface UserTokenDeps {
  readonly adminUserIds: ReadonlySet<string>;
  readonly mint: TokenMinter;
}

/**
 * Mints a token for a user's device. Users are not registered here, so any user id will do.
 *
 * @throws ArgsError (1001) for a bad argument; then NoPermissionError (1002) for a caller that is not an admin, for an
 * admin's user id and for the platform of admins.
 */
export async function getUserToken(
  { adminUserIds, mint }: UserTokenDeps,
  request: TokenSubject,
  context: CallerContext,
): Promise<MintedToken> {
  const userId = requireId(request.userId, "userID", maxUserIdBytes);
  const platformId = requirePlatform(request.platformId);
  requireAdmin(context);
  if (platformId === adminPlatform) throw failure("NoPermissionError", "platformID must not be 10 (Admin)");
  if (adminUserIds.has(userId)) throw failure("NoPermissionError", "userID must not be an admin's");
  return mint({ userId, platformId });
}
