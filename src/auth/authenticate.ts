import type { RequestHeaders } from "../http2/exchange.ts";
import { accessOf, type Caller, type CallerContext, callerKey, missingToken } from "./caller.ts";
import type { TokenVerifier } from "./verify-token.ts";

/** Finds out who makes a request by its headers; with a promise only where it has to. */
export type Authenticator = (headers: RequestHeaders) => Caller | Promise<Caller>;

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

/** Creates the gate of every door, which a request passes before its body is read. Open methods pass without a token. */
export function createAuthGate(authenticate: Authenticator): Gate {
  return ({ method, values, headers }) => {
    if (accessOf(method) === "anybody") return undefined;
    const caller = authenticate(headers);
    if (caller instanceof Promise) return caller.then((known) => void values.set(callerKey, known));
    values.set(callerKey, caller);
    return undefined;
  };
}

/** RFC 6750 section 2.1; the scheme is case-insensitive (RFC 9110 section 11.1). */
function readBearer(authorization: string | undefined): string | undefined {
  return authorization?.match(/^bearer +(\S+) *$/i)?.[1];
}
