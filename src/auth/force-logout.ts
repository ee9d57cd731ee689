import { setTimeout as delay } from "node:timers/promises";
import { maxUserIdBytes, requireId } from "../limits.ts";
import { type CallerContext, requireAdmin } from "./caller.ts";
import type { TokenSubject } from "./mint-token.ts";
import { requirePlatform } from "./platform.ts";

interface ForceLogoutDeps {
  /** Revokes a user's tokens for a platform that were minted up to `atMs` (epoch milliseconds), on every instance. */
  readonly revoke: (userId: string, platformId: number, atMs: number) => Promise<void>;
}

/**
 * Revokes a user's tokens for a platform that were minted until now.
 *
 * @throws ArgsError (1001) for a bad argument, then NoPermissionError (1002) for a caller that is not an admin, and
 * NetworkError (90004) when the broker cannot be reached.
 */
export async function forceLogout(
  { revoke }: ForceLogoutDeps,
  request: TokenSubject,
  context: CallerContext,
): Promise<void> {
  const userId = requireId(request.userId, "userID", maxUserIdBytes);
  const platformId = requirePlatform(request.platformId);
  requireAdmin(context);
  const atMs = Date.now();
  await revoke(userId, platformId, atMs);
  // A token that is minted in the millisecond of the revocation counts as revoked. Whoever waits for the answer and
  // then mints gets a later one; a clock that was set back meanwhile is not waited for.
  while (Date.now() === atMs) await delay(1);
}
