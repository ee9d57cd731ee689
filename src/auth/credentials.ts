import { createTokenMinter, type TokenMinter } from "./mint-token.ts";
import { createTokenVerifier, type TokenVerifier, type TokenVerifierOptions } from "./verify-token.ts";

interface CredentialsOptions extends TokenVerifierOptions {
  /** How long a minted token is valid, in milliseconds; whole seconds. */
  readonly ttlMs: number;
}

/** What tokens are minted and verified by, which can change while the service runs. */
export interface Credentials {
  /** The token secret in force. */
  secret(): string;
  readonly mint: TokenMinter;
  readonly verify: TokenVerifier;
  /**
   * Puts a secret in force, and forgets the keys of the identity provider, which are fetched again at the next use, and
   * the tokens that were verified by the old ones.
   */
  renew(secret: string): void;
}

export function createCredentials({ ttlMs, ...options }: CredentialsOptions): Credentials {
  const make = (secret: string) => ({
    secret,
    mint: createTokenMinter({ secret, ttlMs }),
    verify: createTokenVerifier({ ...options, secret }),
  });
  let current = make(options.secret);
  return {
    secret: () => current.secret,
    mint: (subject) => current.mint(subject),
    verify: (token) => current.verify(token),
    renew(secret) {
      current = make(secret);
    },
  };
}
