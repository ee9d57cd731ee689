import { ConnectError } from "@connectrpc/connect";
import { decodeProtectedHeader, errors, type JWTPayload, jwtVerify } from "jose";
import { failure } from "../errors.ts";
import type { Caller } from "./caller.ts";
import { createKeyFinder } from "./find-key.ts";
import { readClaims } from "./read-claims.ts";
import { isRevoked, type RevokedAtMs } from "./revoked.ts";
import { toSigningKey } from "./secret.ts";
import { createVerifiedTokens } from "./verified-tokens.ts";

/** Longer tokens are refused with 1503 before anything is computed. */
const maxTokenLength = 8_192;

/** The algorithms of an identity provider's tokens. None takes a secret, so no public key can ever be one. */
const asymmetricAlgorithms = [
  ...["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"],
  ...["EdDSA", "Ed25519"],
];

/** Options of {@link createTokenVerifier}. */
export interface TokenVerifierOptions {
  /** The token secret, for HS256. */
  readonly secret: string;
  /** The users whose tokens by the secret are admin tokens. */
  readonly adminUserIds: Iterable<string>;
  /** An identity provider whose tokens are accepted too. Default none. */
  readonly jwks?: JwksOptions | undefined;
  readonly revokedAtMs: RevokedAtMs;
}

/** An identity provider. */
export interface JwksOptions {
  /** Where its public keys are (RFC 7517). */
  readonly url: string;
  /** The `iss` that its tokens must have. Default: not checked. */
  readonly issuer?: string | undefined;
  /** The `aud` that its tokens must have. */
  readonly audience: string;
  /** The claim that names the user. Default `sub`. */
  readonly userClaim?: string | undefined;
  /** What makes its token an admin's, as MUSTREACH_JWT_ADMIN_CLAIM. Default: none is. */
  readonly adminClaim?: string | undefined;
}

/**
 * Verifies a token.
 *
 * | | |
 * |---|---|
 * | 1501 TokenExpiredError | good signature, but expired |
 * | 1503 TokenMalformedError | not a JWT, longer than 8 KiB, or without a usable UserID, PlatformID or `exp` |
 * | 1504 TokenNotValidYetError | good signature, but `nbf` is ahead, or `iat` by more than a minute |
 * | 1505 TokenUnknownError | bad signature, unknown key, another algorithm (also `none`), another `iss` or `aud`; an admin's user id in an identity provider's token that is no admin's |
 * | 1506 TokenKickedError | revoked |
 * | 90104 IdentityProviderError | the identity provider's keys cannot be fetched |
 *
 * OpenIM's 1507 (not in the token store) does not occur: there is no store. Any token with a good signature is
 * valid until it expires or is revoked. Clock skew is not tolerated in `exp` and `nbf`.
 */
export type TokenVerifier = (token: string) => Promise<Caller>;

/** Accepts OpenIM's tokens (HS256, nothing else by the secret) and, with `jwks`, an identity provider's. */
export function createTokenVerifier(options: TokenVerifierOptions): TokenVerifier {
  const { jwks, revokedAtMs } = options;
  const adminUserIds = new Set(options.adminUserIds);
  const signingKey = toSigningKey(options.secret);
  const findKey = jwks && createKeyFinder(jwks.url);
  const verifiedTokens = createVerifiedTokens();

  const verifySignature = async (token: string): Promise<Caller> => {
    if (jwks && findKey && asymmetricAlgorithms.includes(readAlgorithm(token))) {
      const { payload } = await jwtVerify(token, findKey, {
        algorithms: asymmetricAlgorithms,
        ...(jwks.issuer === undefined ? {} : { issuer: jwks.issuer }),
        audience: jwks.audience,
      });
      const isAdmin = hasClaim(payload, jwks.adminClaim);
      const caller = readClaims(payload, { userClaim: jwks.userClaim ?? "sub", isAdmin: () => isAdmin });
      // An admin's id must not be anybody's: what admins send is pushed to their own devices too.
      if (!isAdmin && adminUserIds.has(caller.userId)) {
        throw failure("TokenUnknownError", "the token names an admin and is not an admin's");
      }
      return caller;
    }
    const { payload } = await jwtVerify<JWTPayload>(token, await signingKey, { algorithms: ["HS256"] });
    return readClaims(payload, { userClaim: "UserID", isAdmin: (userId) => adminUserIds.has(userId) });
  };

  return async (token) => {
    if (token.length > maxTokenLength) throw failure("TokenMalformedError", "the token is longer than 8 KiB");
    let caller = verifiedTokens.get(token);
    if (caller === undefined) {
      caller = await verifySignature(token).catch((error: unknown) => {
        throw toTokenFailure(error);
      });
      verifiedTokens.set(token, caller);
    }
    if (caller.expiresAtMs <= Date.now()) throw expired();
    if (isRevoked(caller, revokedAtMs)) throw failure("TokenKickedError", "the token was revoked");
    return caller;
  };
}

/** Whether a token has a claim, written as `name` for one that is `true`, or as `name=value`. */
function hasClaim(claims: JWTPayload, wanted: string | undefined): boolean {
  if (wanted === undefined) return false;
  const [name = "", value] = wanted.split(/=(.*)/s);
  const claim = Object.hasOwn(claims, name) ? claims[name] : undefined;
  if (value === undefined) return claim === true;
  if (Array.isArray(claim)) return claim.includes(value);
  // The one claim that is a list of words in a string (RFC 8693 section 4.2).
  if (name === "scope" && typeof claim === "string") return claim.split(" ").includes(value);
  return claim === value;
}

function readAlgorithm(token: string): string {
  try {
    return decodeProtectedHeader(token).alg ?? "";
  } catch {
    // jwtVerify says what is wrong with it.
    return "";
  }
}

/** jose's errors as OpenIM's; what is not listed is 1505, as there. None of the texts holds a part of the token. */
function toTokenFailure(error: unknown): ConnectError {
  if (error instanceof ConnectError) return error;
  if (error instanceof errors.JWTExpired) return expired();
  if (error instanceof errors.JWSInvalid || error instanceof errors.JWTInvalid) {
    return failure("TokenMalformedError", "the token is not a JWT", error);
  }
  if (error instanceof errors.JWTClaimValidationFailed) {
    const { claim } = error;
    if (claim === "iss" || claim === "aud") {
      return failure("TokenUnknownError", `the token's ${claim} is not the expected one`, error);
    }
    if (claim === "nbf" && error.reason === "check_failed") {
      return failure("TokenNotValidYetError", "the token is not valid yet", error);
    }
    return failure("TokenMalformedError", `the token's ${claim} is not usable`, error);
  }
  if (error instanceof errors.JWSSignatureVerificationFailed) {
    return failure("TokenUnknownError", "the token's signature is invalid", error);
  }
  if (error instanceof errors.JOSEAlgNotAllowed) {
    return failure("TokenUnknownError", "the token's algorithm is not accepted", error);
  }
  return failure("TokenUnknownError", "the token cannot be verified", error);
}

function expired(): ConnectError {
  return failure("TokenExpiredError", "the token has expired");
}
