import type { Caller } from "./caller.ts";
import { anyPlatform, platformIds } from "./platform.ts";

/**
 * The moment up to which a user's tokens for a platform are revoked, in milliseconds since the Unix epoch; undefined
 * if they never were.
 */
export type RevokedAtMs = (userId: string, platformId: number) => number | undefined;

/** What {@link isRevoked} looks at. */
export type RevocableToken = Pick<Caller, "userId" | "platformId" | "issuedAtMs">;

/**
 * Whether a token was revoked after it had been minted. A token that names no platform may be in use on any, so
 * revoking any platform of its user revokes it.
 *
 * Sessions ask this again when a revocation of their user arrives.
 */
export function isRevoked(token: RevocableToken, revokedAtMs: RevokedAtMs): boolean {
  const platforms = token.platformId === anyPlatform ? platformIds : [token.platformId];
  return platforms.some((platformId) => token.issuedAtMs <= (revokedAtMs(token.userId, platformId) ?? -Infinity));
}
