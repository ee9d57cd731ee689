import { SignJWT } from "jose";
import type { SenderClaim, SenderRights } from "../senders/rights.ts";
import { toSigningKey } from "./secret.ts";

/** Whom a token is for. */
export interface TokenSubject {
  readonly userId: string;
  readonly platformId: number;
  /** Makes it a sender's token, with these rights. */
  readonly sender?: SenderRights | undefined;
}

/** A token, and how long it is valid from now. */
export interface MintedToken {
  readonly token: string;
  readonly expireTimeSeconds: number;
}

/** Mints a token. It checks nothing: who may have one is the caller's to decide. */
export type TokenMinter = (subject: TokenSubject) => Promise<MintedToken>;

/**
 * Mints OpenIM's tokens: HS256 with the claims `UserID`, `PlatformID`, `exp` and `iat`, in whole seconds. Of our own
 * are `iatMs`, the moment of `iat` in milliseconds, and a sender's `mustreach`.
 *
 * @param key.ttlMs how long a token is valid; whole seconds.
 */
export function createTokenMinter(key: { readonly secret: string; readonly ttlMs: number }): TokenMinter {
  const signingKey = toSigningKey(key.secret);
  const expireTimeSeconds = Math.floor(key.ttlMs / 1_000);
  return async ({ userId, platformId, sender }) => {
    const nowMs = Date.now();
    const claims = {
      UserID: userId,
      PlatformID: platformId,
      exp: Math.ceil(nowMs / 1_000) + expireTimeSeconds,
      iat: Math.floor(nowMs / 1_000),
      // A revocation must tell the token that was minted just before it from the one minted just after.
      iatMs: nowMs,
      ...(sender && ({ mustreach: { send: sender } } satisfies SenderClaim)),
    };
    const token = await new SignJWT(claims).setProtectedHeader({ alg: "HS256", typ: "JWT" }).sign(await signingKey);
    return { token, expireTimeSeconds };
  };
}
