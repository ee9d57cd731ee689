import { SignJWT } from "jose";
import { toSigningKey } from "./secret.ts";

/** Whom a token is for. */
export interface TokenSubject {
  readonly userId: string;
  readonly platformId: number;
}

/** A token, and how long it is valid from now. */
export interface MintedToken {
  readonly token: string;
  readonly expireTimeSeconds: number;
}

/** Mints a token. It checks nothing: who may have one is the caller's to decide. */
export type TokenMinter = (subject: TokenSubject) => Promise<MintedToken>;

/**
 * Mints OpenIM's tokens: HS256 with the claims `UserID`, `PlatformID`, `exp` and `iat`, in whole seconds. One of our own
 * is beside them: `iatMs`, the moment of `iat` in milliseconds.
 *
 * @param key.ttlMs how long a token is valid; whole seconds.
 */
export function createTokenMinter(key: { readonly secret: string; readonly ttlMs: number }): TokenMinter {
  const signingKey = toSigningKey(key.secret);
  const expireTimeSeconds = Math.floor(key.ttlMs / 1_000);
  return async ({ userId, platformId }) => {
    const nowMs = Date.now();
    const claims = {
      UserID: userId,
      PlatformID: platformId,
      exp: Math.ceil(nowMs / 1_000) + expireTimeSeconds,
      iat: Math.floor(nowMs / 1_000),
      // A revocation must tell the token that was minted just before it from the one minted just after.
      iatMs: nowMs,
    };
    const token = await new SignJWT(claims).setProtectedHeader({ alg: "HS256", typ: "JWT" }).sign(await signingKey);
    return { token, expireTimeSeconds };
  };
}
