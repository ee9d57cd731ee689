import { type DescMethod, getOption } from "@bufbuild/protobuf";
import { Code, createContextKey, type HandlerContext } from "@connectrpc/connect";
import { failure } from "../errors.ts";
import { access } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import type { SenderRights } from "../senders/rights.ts";

/** Who makes a call: what a verified token says, or a certificate of MUSTREACH_TLS_CLIENT_ADMINS. */
export interface Caller {
  readonly userId: string;
  /** OpenIM's platformID, 1 to 11; 0 when the token names none. */
  readonly platformId: number;
  /**
   * Whether the user is in MUSTREACH_ADMIN_USER_IDS, or an identity provider's token has MUSTREACH_JWT_ADMIN_CLAIM. The
   * platform does not matter. A sender is none, whatever its user.
   */
  readonly isAdmin: boolean;
  /** What a token with the claim `mustreach` lets its bearer send. Undefined for any other. */
  readonly sender?: SenderRights | undefined;
  /** When the token was minted, in milliseconds since the Unix epoch; 0 for a token without `iat`. */
  readonly issuedAtMs: number;
  /** The token's `exp` in milliseconds since the Unix epoch. */
  readonly expiresAtMs: number;
}

/** Where {@link createAuthGate} leaves the caller. */
export const callerKey = createContextKey<Caller | undefined>(undefined, {
  description: "the caller, as the token says",
});

/** The part of a HandlerContext that says who calls what. */
export type CallerContext = Pick<HandlerContext, "values" | "method">;

/**
 * The caller of an RPC.
 *
 * @throws ArgsError (1001) for a call without a token, as OpenIM.
 */
export function requireCaller(context: CallerContext): Caller {
  const caller = context.values.get(callerKey);
  if (caller === undefined) throw missingToken();
  return caller;
}

/** Whether a caller may call a method. Of senders, the rules of {@link SenderRights} say what they may send by it. */
export function mayCall(caller: Pick<Caller, "isAdmin" | "sender"> | undefined, needed: Access): boolean {
  if (typeof needed === "string") return needed === "anybody" || caller !== undefined;
  return caller !== undefined && (caller.isAdmin || (needed.sendersToo && caller.sender !== undefined));
}

/**
 * The caller of an RPC that only admins, or also senders, may call, by {@link accessOf}. The verb asks, and not the gate before it: as with
 * OpenIM, a body that is wrong is told to anybody with a token (1001) before who may not is told so (1002). Whether each
 * verb of such a method asks, test/auth/access.test.ts finds out.
 *
 * @throws NoPermissionError (1002), or ArgsError (1001) for a call without a token.
 */
export function requireAdmin(context: CallerContext): Caller {
  const caller = requireCaller(context);
  const needed = accessOf(context.method);
  if (typeof needed === "string") throw failure("NoPermissionError", onlyAdmins);
  if (mayCall(caller, needed)) return caller;
  throw failure("NoPermissionError", needed.adminsOnly);
}

/** What a call without a token is answered: OpenIM's own words and its 1001, not a 15xx; over gRPC and Connect, Unauthenticated. */
export function missingToken() {
  return failure("ArgsError", "header must have token", undefined, { code: Code.Unauthenticated });
}

/**
 * Who may call a method: anybody without a token, the bearer of any valid token, or admins, and senders too or not, with
 * what others are told.
 */
export type Access = "anybody" | "users" | { readonly adminsOnly: string; readonly sendersToo: boolean };

/**
 * gRPC's own services, whose protos cannot say it: tools and orchestrators call them, without a token. They show whether
 * the service is well, and protos that anybody can have.
 */
const openServices = /^grpc\.(health|reflection)\./;

/** What others are told of a method that does not say who may call it. */
const onlyAdmins = "only an admin token may call this";

const known = new WeakMap<DescMethod, Access>();

/** Who may call a method, as its option `access` in the proto says. One without needs an admin's token. */
export function accessOf(method: DescMethod): Access {
  const found = known.get(method) ?? readAccess(method);
  known.set(method, found);
  return found;
}

function readAccess(method: DescMethod): Access {
  if (openServices.test(method.parent.typeName)) return "anybody";
  const { who } = getOption(method, access);
  if (who.case === "adminsOnly") return { adminsOnly: who.value, sendersToo: false };
  if (who.case === "sendersOnly") return { adminsOnly: who.value, sendersToo: true };
  return who.value === true ? who.case : { adminsOnly: onlyAdmins, sendersToo: false };
}
