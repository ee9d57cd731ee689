import { createTokenMinter, type TokenMinter } from "./mint-token.ts";
import type { TokenSecrets } from "./secret.ts";
import { createTokenVerifier, type TokenVerifier, type TokenVerifierOptions } from "./verify-token.ts";

interface CredentialsOptions extends TokenVerifierOptions {
  /** How long a minted token is valid, in milliseconds; whole seconds. */
  readonly ttlMs: number;
}

/** What tokens are minted and verified by, which can change while the service runs. */
export interface Credentials {
  secrets(): TokenSecrets;
  readonly mint: TokenMinter;
  readonly verify: TokenVerifier;
  /**
   * Puts secrets in force, and forgets the keys of the identity provider, which are fetched again at the next use, and
   * the tokens that were verified by what was in force before.
   */
  renew(secrets: TokenSecrets): void;
}

export function createCredentials({ ttlMs, ...options }: CredentialsOptions): Credentials {
  const make = (secrets: TokenSecrets) => ({
    secrets,
    mint: createTokenMinter({ secret: secrets.current, ttlMs }),
    verify: createTokenVerifier({ ...options, secrets }),
  });
  let current = make(options.secrets);
  return {
    secrets: () => current.secrets,
    mint: (subject) => current.mint(subject),
    verify: (token) => current.verify(token),
    renew(secrets) {
      current = make(secrets);
    },
  };
}
