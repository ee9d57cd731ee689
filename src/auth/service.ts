import type { ServiceImpl } from "@connectrpc/connect";
import { wrongField } from "../errors.ts";
import type { AuthService } from "../gen/mustreach/auth/v1/auth_pb.ts";
import { type Caller, type CallerContext, requireCaller } from "./caller.ts";
import { forceLogout } from "./force-logout.ts";
import { type GuessLimit, getAdminToken } from "./get-admin-token.ts";
import { getUserToken } from "./get-user-token.ts";
import type { MintedToken, TokenMinter } from "./mint-token.ts";
import type { TokenSecrets } from "./secret.ts";
import type { TokenVerifier } from "./verify-token.ts";

interface AuthServiceDeps {
  /** The token secrets in force. */
  readonly secrets: () => TokenSecrets;
  /** The users who are admins. */
  readonly adminUserIds: Iterable<string>;
  readonly mint: TokenMinter;
  readonly verify: TokenVerifier;
  /** Counts wrong secrets of GetAdminToken. */
  readonly guesses: GuessLimit;
  /** The address that a call comes from. */
  readonly peerOf: (context: CallerContext) => string;
  /** Revokes a user's tokens for a platform that were minted up to `atMs` (epoch milliseconds), on every instance. */
  readonly revoke: (userId: string, platformId: number, atMs: number) => Promise<void>;
  /** Makes a ticket that stands in for the caller's token, and says for how long. */
  readonly issueTicket: (caller: Caller) => { readonly ticket: string; readonly expireTimeSeconds: number };
}

/** The AuthService. GetUserToken, ForceLogout and GetTicket expect the caller in the context. */
export function createAuthService(options: AuthServiceDeps): ServiceImpl<typeof AuthService> {
  const { secrets, mint, verify, guesses, peerOf, revoke, issueTicket } = options;
  const adminUserIds = new Set(options.adminUserIds);
  return {
    async getAdminToken(request, context) {
      const options = { secrets: secrets(), adminUserIds, mint, guesses };
      return toResponse(await getAdminToken(options, request, peerOf(context)));
    },
    async getUserToken(request, context) {
      return toResponse(await getUserToken({ adminUserIds, mint }, request, context));
    },
    async parseToken({ token }) {
      if (token === "") throw wrongField("token", "token must not be empty");
      const { userId, platformId, expiresAtMs } = await verify(token);
      return { userId, platformId, expireTimeSeconds: BigInt(Math.floor(expiresAtMs / 1_000)) };
    },
    async forceLogout(request, context) {
      await forceLogout({ revoke }, request, context);
      return {};
    },
    getTicket(_, context) {
      const { ticket, expireTimeSeconds } = issueTicket(requireCaller(context));
      return { ticket, expireTimeSeconds: BigInt(expireTimeSeconds) };
    },
  };
}

function toResponse({ token, expireTimeSeconds }: MintedToken) {
  return { token, expireTimeSeconds: BigInt(expireTimeSeconds) };
}
