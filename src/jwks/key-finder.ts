import { createRemoteJWKSet, customFetch, errors, type JWTVerifyGetKey } from "jose";
import { failure } from "../errors.ts";

/** How long after a fetch, good or failed, no other is made, in milliseconds: no caller can make us ask more often. */
const fetchPauseMs = 5_000;

/**
 * Finds the public key of a token in a key set that is fetched on first use, again after 10 min, and for an unknown
 * `kid` at most every 30 s (jose's defaults); at most every 5 s when that fails.
 *
 * @throws TokenUnknownError (1505) for a token that no single key fits, and IdentityProviderError (90104) when the key
 * set cannot be fetched or used.
 */
export function createKeyFinder(url: string): JWTVerifyGetKey {
  const keySet = createRemoteJWKSet(new URL(url), { [customFetch]: createSparingFetch() });
  return async (header, token) => {
    try {
      return await keySet(header, token);
    } catch (cause) {
      if (cause instanceof errors.JWKSNoMatchingKey) {
        throw failure("TokenUnknownError", "no key of the identity provider fits the token", cause);
      }
      if (cause instanceof errors.JWKSMultipleMatchingKeys) {
        throw failure("TokenUnknownError", "the token needs a kid: several keys of the identity provider fit", cause);
      }
      throw failure("IdentityProviderError", "the identity provider's keys cannot be fetched", cause);
    }
  };
}

/** Not around the key set, but inside: keys that it has already are found during the pause as well. */
function createSparingFetch(): typeof fetch {
  let nextAt = 0;
  return async (...request) => {
    if (performance.now() < nextAt) throw new Error("the last fetch was a moment ago, and did not help");
    nextAt = performance.now() + fetchPauseMs;
    return fetch(...request);
  };
}
