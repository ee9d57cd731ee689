import { createHash, timingSafeEqual } from "node:crypto";
import { failure, wrongField } from "../errors.ts";
import { maxUserIdBytes, requireId } from "../limits.ts";
import type { MintedToken, TokenMinter } from "./mint-token.ts";
import { adminPlatform } from "./platform.ts";
import { type TokenSecrets, verifyingSecrets } from "./secret.ts";

interface AdminTokenDeps {
  readonly secrets: TokenSecrets;
  readonly adminUserIds: ReadonlySet<string>;
  readonly mint: TokenMinter;
  readonly guesses: GuessLimit;
}

/**
 * Mints an admin's token for whoever knows a secret in force.
 *
 * @param peer the address of who asks.
 * @throws ArgsError (1001) for a user that is not an admin, NoPermissionError (1002) for a wrong secret,
 * TooManyRequestsError (429) after too many of those. Who does not know the secret does not learn who is an admin.
 */
export async function getAdminToken(
  { secrets, adminUserIds, mint, guesses }: AdminTokenDeps,
  request: { readonly secret: string; readonly userId: string },
  peer: string,
): Promise<MintedToken> {
  const userId = requireId(request.userId, "userID", maxUserIdBytes);
  await guesses.check(peer);
  const given = digest(request.secret);
  if (!verifyingSecrets(secrets).some((secret) => timingSafeEqual(given, digest(secret)))) {
    await guesses.wrong(peer);
    throw failure("NoPermissionError", "secret is wrong");
  }
  if (!adminUserIds.has(userId)) throw wrongField("userID", "userID is not an admin");
  return mint({ userId, platformId: adminPlatform });
}

/** Both sides of a timing-safe comparison need one length. */
function digest(secret: string): Buffer {
  return createHash("sha256").update(secret).digest();
}

/** Who has given wrong secrets, counted in this process or, with promises, in another. */
export interface GuessLimit {
  /**
   * Before a secret is looked at: a right one is refused as well, since who guesses must not learn of it.
   *
   * @throws TooManyRequestsError (429), with when to try again.
   */
  check(peer: string): void | Promise<void>;
  wrong(peer: string): void | Promise<void>;
}

/** A {@link GuessLimit} of this process. */
export interface LocalGuessLimit extends GuessLimit {
  check(peer: string): void;
  wrong(peer: string): void;
}

/**
 * Slows those who try secrets, by the address that they come from: a token bucket for each, in one instance.
 *
 * `burst` wrong secrets may be given one after the other, and one more each `refillMs`. Of `maxPeers` addresses that are
 * kept, the one that has not been wrong for the longest time is forgotten.
 */
export function createGuessLimit({ burst = 10, refillMs = 6_000, maxPeers = 10_000 } = {}): LocalGuessLimit {
  /** When the bucket of an address is full again, on the clock of performance.now(); the last to fail is the last. */
  const fullAt = new Map<string, number>();
  return {
    check(peer) {
      const waitMs = Math.ceil((fullAt.get(peer) ?? 0) - performance.now() - (burst - 1) * refillMs);
      if (waitMs <= 0) return;
      throw failure("TooManyRequestsError", "too many wrong secrets from this address", undefined, {
        retryAfterMs: waitMs,
      });
    },
    wrong(peer) {
      const until = Math.max(fullAt.get(peer) ?? 0, performance.now()) + refillMs;
      fullAt.delete(peer);
      fullAt.set(peer, until);
      const [oldest] = fullAt.keys();
      if (fullAt.size > maxPeers && oldest !== undefined) fullAt.delete(oldest);
    },
  };
}
