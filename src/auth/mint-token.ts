import { SignJWT } from "jose";
import { toSigningKey } from "./secret.ts";

/** Options of {@link createTokenMinter}. */
export interface TokenMinterOptions {
  /** The token secret. */
  readonly secret: string;
  /** How long a token is valid, in milliseconds; whole seconds. */
  readonly ttlMs: number;
}

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

/** Mints OpenIM's tokens: HS256 with the claims `UserID`, `PlatformID`, `exp` and `iat`, and no others. */
export function createTokenMinter({ secret, ttlMs }: TokenMinterOptions): TokenMinter {
  const signingKey = toSigningKey(secret);
  const expireTimeSeconds = Math.floor(ttlMs / 1_000);
  return async ({ userId, platformId }) => {
    const now = Date.now() / 1_000;
    const claims = {
      UserID: userId,
      PlatformID: platformId,
      exp: Math.ceil(now) + expireTimeSeconds,
      // Not whole seconds, which RFC 7519 section 2 (NumericDate) allows: a revocation must tell the token that was
      // minted just before it from the one minted just after.
      iat: now,
    };
    const token = await new SignJWT(claims).setProtectedHeader({ alg: "HS256", typ: "JWT" }).sign(await signingKey);
    return { token, expireTimeSeconds };
  };
}
