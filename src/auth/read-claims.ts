import type { ConnectError } from "@connectrpc/connect";
import type { JWTPayload } from "jose";
import { failure } from "../errors.ts";
import { isId, maxUserIdBytes } from "../limits.ts";
import type { Caller } from "./caller.ts";
import { anyPlatform, platformName } from "./platform.ts";

/**
 * How far ahead of this machine's clock a token's `iat` may be, in milliseconds. More is refused with 1504: until its
 * `iat` has passed such a token could not be revoked.
 */
const maxIssuedAheadMs = 60_000;

/** Options of {@link readClaims}. */
export interface ClaimsOptions {
  /** The users who are admins. */
  readonly adminUserIds: ReadonlySet<string>;
  /** Whether `sub` names the user when there is no `UserID`: for tokens of an identity provider. */
  readonly subjectIsUser: boolean;
}

/**
 * Makes the claims of a token with a good signature a caller. `PlatformID` may be absent (0), as in OpenIM.
 *
 * @throws TokenMalformedError (1503) for claims of a wrong type, without a usable user id or without `exp`, and
 * TokenNotValidYetError (1504) for a token from the future.
 */
export function readClaims(claims: JWTPayload, options: ClaimsOptions): Caller {
  const { UserID: named, PlatformID: platformId = anyPlatform, exp, iat = 0 } = claims;
  const userId = named === undefined && options.subjectIsUser ? claims.sub : named;
  if (typeof userId !== "string" || !isId(userId, maxUserIdBytes)) throw malformed("the token names no usable UserID");
  if (typeof platformId !== "number" || (platformId !== anyPlatform && platformName(platformId) === undefined)) {
    throw malformed("the token's PlatformID is not a platform");
  }
  // jose has made sure that those which are there are numbers, but JSON has 1e999.
  const expiresAtMs = Math.round((exp ?? Number.NaN) * 1_000);
  const issuedAtMs = Math.round(iat * 1_000);
  if (!Number.isSafeInteger(expiresAtMs)) throw malformed("the token has no usable exp");
  if (!Number.isSafeInteger(issuedAtMs)) throw malformed("the token's iat is not usable");
  if (issuedAtMs > Date.now() + maxIssuedAheadMs) {
    throw failure("TokenNotValidYetError", "the token was issued in the future");
  }
  return { userId, platformId, isAdmin: options.adminUserIds.has(userId), issuedAtMs, expiresAtMs };
}

function malformed(errDlt: string): ConnectError {
  return failure("TokenMalformedError", errDlt);
}
