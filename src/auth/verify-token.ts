import { createHmac, createSecretKey, timingSafeEqual } from "node:crypto";
import { ConnectError } from "@connectrpc/connect";
import { decodeProtectedHeader, errors, type JWTPayload, jwtVerify } from "jose";
import { failure } from "../errors.ts";
import { createKeyFinder } from "../jwks/key-finder.ts";
import { isId, maxUserIdBytes } from "../limits.ts";
import { readSenderRights, type SenderRights } from "../senders/rights.ts";
import type { Caller } from "./caller.ts";
import { anyPlatform, platformName } from "./platform.ts";
import { isRevoked, type RevokedAtMs } from "./revocations.ts";
import { type TokenSecrets, toSigningKey, verifyingSecrets } from "./secret.ts";
import { createVerifiedTokens } from "./verified-tokens.ts";

/** Longer tokens are refused with 1503 before anything is computed. */
const maxTokenLength = 8_192;

/** The algorithms of an identity provider's tokens. None takes a secret, so no public key can ever be one. */
const asymmetricAlgorithms = [
  ...["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"],
  ...["EdDSA", "Ed25519"],
];

/**
 * How far ahead of this machine's clock a token's `iat` may be, in milliseconds. More is refused with 1504: until its
 * `iat` has passed such a token could not be revoked.
 */
const maxIssuedAheadMs = 60_000;

export interface TokenVerifierOptions {
  /** The token secrets, for HS256. */
  readonly secrets: TokenSecrets;
  /** The users whose tokens by a secret are admin tokens. */
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
 * | 1503 TokenMalformedError | not a JWT, longer than 8 KiB, or without a usable UserID, PlatformID or `exp`, or with an unusable `mustreach` |
 * | 1504 TokenNotValidYetError | good signature, but `nbf` is ahead, or `iat` by more than a minute |
 * | 1505 TokenUnknownError | bad signature, unknown key, another algorithm (also `none`), another `iss` or `aud`; an admin's user id in an identity provider's token that is no admin's |
 * | 1506 TokenKickedError | revoked |
 * | 90104 IdentityProviderError | the identity provider's keys cannot be fetched |
 *
 * OpenIM's 1507 (not in the token store) does not occur: there is no store. Any token with a good signature is
 * valid until it expires or is revoked. Clock skew is not tolerated in `exp` and `nbf`.
 *
 * Most tokens need no promise: what is wrong with one is then thrown, not rejected.
 */
export type TokenVerifier = (token: string) => Caller | Promise<Caller>;

/** Accepts OpenIM's tokens (HS256, nothing else by a secret) and, with `jwks`, an identity provider's. */
export function createTokenVerifier(options: TokenVerifierOptions): TokenVerifier {
  const { jwks, revokedAtMs } = options;
  const adminUserIds = new Set(options.adminUserIds);
  const secrets = verifyingSecrets(options.secrets);
  const signingKeys = Promise.all(secrets.map(toSigningKey));
  const plainReaders = secrets.map(createPlainReader);
  const findKey = jwks && createKeyFinder(jwks.url);
  const verifiedTokens = createVerifiedTokens();

  const verifySignature = async (token: string): Promise<Caller> => {
    if (jwks && findKey && asymmetricAlgorithms.includes(readAlgorithm(token))) {
      const { payload } = await jwtVerify(token, findKey, {
        algorithms: asymmetricAlgorithms,
        ...(jwks.issuer === undefined ? {} : { issuer: jwks.issuer }),
        audience: jwks.audience,
      });
      const isProviderAdmin = hasClaim(payload, jwks.adminClaim);
      const caller = readClaims(payload, jwks.userClaim ?? "sub", () => isProviderAdmin);
      // An admin's id must not be anybody's: what admins send is pushed to their own devices too.
      if (!caller.isAdmin && adminUserIds.has(caller.userId)) {
        throw failure("TokenUnknownError", "the token names an admin and is not an admin's");
      }
      return caller;
    }
    return readOwnClaims(await verifyByOneOf(await signingKeys, token));
  };
  const readOwnClaims = (claims: JWTPayload) => readClaims(claims, "UserID", (userId) => adminUserIds.has(userId));

  const requireValid = (caller: Caller): Caller => {
    if (caller.expiresAtMs <= Date.now()) throw expired();
    if (isRevoked(caller, revokedAtMs)) throw failure("TokenKickedError", "the token was revoked");
    return caller;
  };

  const remember = (token: string, caller: Caller): Caller => {
    verifiedTokens.set(token, caller);
    return requireValid(caller);
  };

  const verifyAnew = async (token: string): Promise<Caller> => {
    const caller = await verifySignature(token).catch((error: unknown) => {
      throw toTokenFailure(error);
    });
    return remember(token, caller);
  };

  return (token) => {
    if (token.length > maxTokenLength) throw failure("TokenMalformedError", "the token is longer than 8 KiB");
    const caller = verifiedTokens.get(token);
    if (caller !== undefined) return requireValid(caller);
    let claims: JWTPayload | undefined;
    for (const readPlain of plainReaders) claims ??= readPlain(token);
    return claims === undefined ? verifyAnew(token) : remember(token, readOwnClaims(claims));
  };
}

/** The claims of a token that one of the keys has signed. */
async function verifyByOneOf(keys: readonly CryptoKey[], token: string): Promise<JWTPayload> {
  let unfit: unknown;
  for (const key of keys) {
    try {
      return (await jwtVerify<JWTPayload>(token, key, { algorithms: ["HS256"] })).payload;
    } catch (error) {
      if (!(error instanceof errors.JWSSignatureVerificationFailed)) throw error;
      unfit = error;
    }
  }
  throw unfit;
}

/** The headers that tokens by a secret have, of ours and of OpenIM's servers. */
const plainHeaders: ReadonlySet<string> = new Set(
  ['{"alg":"HS256","typ":"JWT"}', '{"typ":"JWT","alg":"HS256"}'].map((header) =>
    Buffer.from(header).toString("base64url"),
  ),
);

/** A header, claims and the 256 bits of a signature, in base64url as it is to be. */
const plainToken = /^([\w-]+)\.([\w-]+)\.([\w-]{43})$/;

/**
 * Reads the claims of a token by the secret that there is nothing to say against. Any other is jose's to judge: what is
 * wrong with it is found out in one place. Here it is a tenth of the work: jose's goes over WebCrypto's threads.
 */
function createPlainReader(secret: string): (token: string) => JWTPayload | undefined {
  // Made once: to make it is five times the work of a signature.
  const key = createSecretKey(secret, "utf8");
  return (token) => {
    const [, header = "", claims = "", signature = ""] = plainToken.exec(token) ?? [];
    if (!plainHeaders.has(header)) return undefined;
    const expected = createHmac("sha256", key).update(`${header}.${claims}`).digest("base64url");
    if (!timingSafeEqual(Buffer.from(expected), Buffer.from(signature))) return undefined;
    return readPlainClaims(Buffer.from(claims, "base64url").toString("utf8"));
  };
}

/** Claims, in JSON, whose times are numbers, if they are there, and allow the token now. */
function readPlainClaims(json: string): JWTPayload | undefined {
  let claims: unknown;
  try {
    claims = JSON.parse(json);
  } catch {
    return undefined;
  }
  if (!isRecord(claims)) return undefined;
  const { exp, nbf = 0, iat = 0 } = claims;
  const now = Math.floor(Date.now() / 1_000);
  const isPlain = typeof exp === "number" && exp > now && typeof nbf === "number" && nbf <= now;
  return isPlain && typeof iat === "number" ? claims : undefined;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * Makes the claims of a token with a good signature a caller. `PlatformID` may be absent (0), as in OpenIM.
 *
 * @throws TokenMalformedError (1503) for claims of a wrong type, without a usable user id or without `exp`, and
 * TokenNotValidYetError (1504) for a token from the future.
 */
function readClaims(claims: JWTPayload, userClaim: string, isAdmin: (userId: string) => boolean): Caller {
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
  const sender = readSender(claims.mustreach);
  const who = { userId, platformId, issuedAtMs, expiresAtMs };
  // The claim takes away: an admin's token with it is a sender's.
  return sender === undefined ? { ...who, isAdmin: isAdmin(userId) } : { ...who, isAdmin: false, sender };
}

function readSender(claim: unknown): SenderRights | undefined {
  try {
    return claim === undefined ? undefined : readSenderRights(claim);
  } catch {
    throw malformed("the token's claim mustreach is not usable");
  }
}

/** `iat` says the second; `iatMs`, which only our own tokens have, says which millisecond of it. */
function readIssuedAtMs({ iat = 0, iatMs }: JWTPayload): number {
  return typeof iatMs === "number" && Math.floor(iatMs / 1_000) === iat ? Math.floor(iatMs) : Math.round(iat * 1_000);
}

function malformed(errDlt: string): ConnectError {
  return failure("TokenMalformedError", errDlt);
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
