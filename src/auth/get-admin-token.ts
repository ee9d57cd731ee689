import { createHash, timingSafeEqual } from "node:crypto";
import { failure, wrongField } from "../errors.ts";
import { maxUserIdBytes, requireId } from "../limits.ts";
import type { GuessLimit } from "./guess-limit.ts";
import type { MintedToken, TokenMinter } from "./mint-token.ts";
import { adminPlatform } from "./platform.ts";

/** What {@link getAdminToken} needs. */
export interface AdminTokenOptions {
  readonly secret: string;
  readonly adminUserIds: ReadonlySet<string>;
  readonly mint: TokenMinter;
  readonly guesses: GuessLimit;
}

/**
 * Mints an admin's token for whoever knows the secret.
 *
 * @param peer the address of who asks.
 * @throws ArgsError (1001) for a user that is not an admin, NoPermissionError (1002) for a wrong secret,
 * TooManyRequestsError (429) after too many of those. Who does not know the secret does not learn who is an admin.
 */
export async function getAdminToken(
  { secret, adminUserIds, mint, guesses }: AdminTokenOptions,
  request: { readonly secret: string; readonly userId: string },
  peer: string,
): Promise<MintedToken> {
  const userId = requireId(request.userId, "userID", maxUserIdBytes);
  guesses.check(peer);
  if (!timingSafeEqual(digest(request.secret), digest(secret))) {
    guesses.wrong(peer);
    throw failure("NoPermissionError", "secret is wrong");
  }
  if (!adminUserIds.has(userId)) throw wrongField("userID", "userID is not an admin");
  return mint({ userId, platformId: adminPlatform });
}

/** Both sides of a timing-safe comparison need one length. */
function digest(secret: string): Buffer {
  return createHash("sha256").update(secret).digest();
}
