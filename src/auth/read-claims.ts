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
  /** The claim that names the user. */
  readonly userClaim: string;
  readonly isAdmin: (userId: string) => boolean;
}

/**
 * Makes the claims of a token with a good signature a caller. `PlatformID` may be absent (0), as in OpenIM.
 *
 * @throws TokenMalformedError (1503) for claims of a wrong type, without a usable user id or without `exp`, and
 * TokenNotValidYetError (1504) for a token from the future.
 */
export function readClaims(claims: JWTPayload, { userClaim, isAdmin }: ClaimsOptions): Caller {
  const { [userClaim]: userId, PlatformID: platformId = anyPlatform, exp } = claims;
  if (typeof userId !== "string" || !isId(userId, maxUserIdBytes)) {
    throw malformed(`the token names no usable ${userClaim}`);
  }
  if (typeof platformId !== "number" || (platformId !== anyPlatform && platformName(platformId) === undefined)) {
    throw malformed("the token's PlatformID is not a platform");
  }
  // jose has made sure that those which are there are numbers, but JSON has 1e999.
  const expiresAtMs = Math.round((exp ?? Number.NaN) * 1_000);
  const issuedAtMs = readIssuedAtMs(claims);
  if (!Number.isSafeInteger(expiresAtMs)) throw malformed("the token has no usable exp");
  if (!Number.isSafeInteger(issuedAtMs)) throw malformed("the token's iat is not usable");
  if (issuedAtMs > Date.now() + maxIssuedAheadMs) {
    throw failure("TokenNotValidYetError", "the token was issued in the future");
  }
  return { userId, platformId, isAdmin: isAdmin(userId), issuedAtMs, expiresAtMs };
}

/** `iat` says the second; `iatMs`, which only our own tokens have, says which millisecond of it. */
function readIssuedAtMs({ iat = 0, iatMs }: JWTPayload): number {
  return typeof iatMs === "number" && Math.floor(iatMs / 1_000) === iat ? Math.floor(iatMs) : Math.round(iat * 1_000);
}

function malformed(errDlt: string): ConnectError {
  return failure("TokenMalformedError", errDlt);
}
