import type { Certificate, RequestHeaders } from "../http2/exchange.ts";
import { certificateKey } from "../observe/peer.ts";
import { accessOf, type Caller, type CallerContext, callerKey, missingToken } from "./caller.ts";
import { adminPlatform } from "./platform.ts";
import type { TokenVerifier } from "./verify-token.ts";

/** Finds out who makes a request by its headers; with a promise only where it has to. */
export type Authenticator = (headers: RequestHeaders) => Caller | Promise<Caller>;

/** Finds out who makes a request by the certificate of its connection; undefined when that says nothing. */
export type FindByCertificate = (certificate: Certificate, headers: RequestHeaders) => Caller | undefined;

/** The part of a call's context that the gate looks at. */
export interface GateContext extends CallerContext {
  readonly headers: RequestHeaders;
}

/** Lets a call through, leaving the caller in its context, or throws; with a promise only where it has to. */
export type Gate = (context: GateContext) => void | Promise<void>;

/**
 * Takes the token from the header `token` (OpenIM's), else from `authorization: Bearer`, and verifies it.
 *
 * The result throws ArgsError (1001) when there is neither, and what the verifier throws.
 */
export function createAuthenticator(verify: TokenVerifier): Authenticator {
  return (headers) => {
    const token = headers.token || readBearer(headers.authorization);
    if (!token) throw missingToken();
    return verify(token);
  };
}

/**
 * Creates the gate of every door, which a request passes before its body is read. Open methods pass without a token.
 *
 * @param findByCertificate who makes a request without a token. Default: nobody.
 */
export function createAuthGate(authenticate: Authenticator, findByCertificate?: FindByCertificate): Gate {
  return ({ method, values, headers }) => {
    if (accessOf(method) === "anybody") return undefined;
    const certificate = values.get(certificateKey);
    const caller = (certificate && findByCertificate?.(certificate, headers)) ?? authenticate(headers);
    if (caller instanceof Promise) return caller.then((known) => void values.set(callerKey, known));
    values.set(callerKey, caller);
    return undefined;
  };
}

/**
 * Creates what takes the holders of certificates for admins, by their names. The caller's user id is the name, such as
 * `DNS:orders.internal`.
 *
 * A request that has a token is its bearer's, whatever its connection: a certificate never adds to what a token may. And
 * one that a web page makes is nobody's: a browser shows its user's certificate for any page, and does not ask.
 */
export function createCertificateAdmins(admins: readonly string[]): FindByCertificate {
  const known = new Set(admins);
  return ({ names, validFromMs, expiresAtMs }, headers) => {
    if (known.size === 0 || headers.token !== undefined || headers.authorization !== undefined) return undefined;
    if (headers.origin !== undefined || headers["sec-fetch-site"] !== undefined) return undefined;
    // A connection can last longer.
    if (expiresAtMs <= Date.now()) return undefined;
    const name = names.find((each) => known.has(each));
    if (name === undefined) return undefined;
    return { userId: name, platformId: adminPlatform, isAdmin: true, issuedAtMs: validFromMs, expiresAtMs };
  };
}

/** RFC 6750 section 2.1; the scheme is case-insensitive (RFC 9110 section 11.1). */
function readBearer(authorization: string | undefined): string | undefined {
  return authorization?.match(/^bearer +(\S+) *$/i)?.[1];
}
