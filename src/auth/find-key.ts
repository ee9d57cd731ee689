import { createRemoteJWKSet, errors, type JWTVerifyGetKey } from "jose";
import { failure } from "../errors.ts";

/**
 * Finds the public key of a token in a key set that is fetched on first use, again after 10 min, and for an unknown
 * `kid` at most every 30 s (jose's defaults).
 *
 * @throws TokenUnknownError (1505) for a token that no single key fits, and NetworkError (90004) when the key set
 * cannot be fetched or used.
 */
export function createKeyFinder(url: string): JWTVerifyGetKey {
  const keySet = createRemoteJWKSet(new URL(url));
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
      throw failure("NetworkError", "the identity provider's keys cannot be fetched", cause);
    }
  };
}
