import type { HandlerContext } from "@connectrpc/connect";
import { accessOf } from "./access.ts";
import { type Caller, callerKey, missingToken } from "./caller.ts";
import type { TokenVerifier } from "./verify-token.ts";

/** Finds out who makes a request by its headers. */
export type Authenticator = (headers: Headers) => Promise<Caller>;

/**
 * Takes the token from the header `token` (OpenIM's), else from `authorization: Bearer`, and verifies it.
 *
 * The result throws ArgsError (1001) when there is neither, and what the verifier throws.
 */
export function createAuthenticator(verify: TokenVerifier): Authenticator {
  return async (headers) => {
    const token = headers.get("token") || readBearer(headers.get("authorization"));
    if (!token) throw missingToken();
    return verify(token);
  };
}

/**
 * What to give Connect as `requestGate`, and to call for every other door: leaves the caller in the context before the
 * body of a request is read, or throws. Open methods pass without a token.
 */
export function createAuthGate(authenticate: Authenticator): (context: HandlerContext) => Promise<void> {
  return async (context) => {
    if (accessOf(context.method) === "anybody") return;
    context.values.set(callerKey, await authenticate(context.requestHeader));
  };
}

/** RFC 6750 section 2.1; the scheme is case-insensitive (RFC 9110 section 11.1). */
function readBearer(authorization: string | null): string | undefined {
  return authorization?.match(/^bearer +(\S+) *$/i)?.[1];
}
