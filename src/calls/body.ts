import type { DescMethod } from "@bufbuild/protobuf";
import type { HandlerContext } from "@connectrpc/connect";
import { type Access, accessOf, callerKey, mayCall } from "../auth/caller.ts";
import { failure } from "../errors.ts";
import { type BodyBudget, createBodyBudget, minBodyBytes } from "../http/body-budget.ts";
import type { Connection } from "../http2/exchange.ts";
import { BindError } from "../json/bind.ts";

/** The part of a HandlerContext that decides how much of a body is taken. */
export type BodyContext = Pick<HandlerContext, "method" | "values">;

/** Options of {@link createBodyLimits}. */
export interface BodyLimitOptions {
  /** The largest body, in bytes. */
  readonly maxBytes: number;
  /** The bytes kept for unfinished bodies of one connection. Default: two of the largest. */
  readonly maxConnectionBytes?: number;
  /** How many processes divide what an instance keeps. Default: 1. */
  readonly processes?: number;
  /** The bytes kept for unfinished bodies of this process. Default: its part of eight of the largest, but two of them. */
  readonly maxInstanceBytes?: number;
}

/** What bounds the bodies of all doors. */
export interface BodyLimits {
  /** The largest of anybody, in bytes. */
  readonly maxBytes: number;
  limitOf(context: BodyContext): BodyLimit;
  /** Those that an unfinished body of a connection counts in. */
  budgetsOf(connection: Connection): readonly BodyBudget[];
}

/** How large a body may be, and the error of one that is larger. */
export interface BodyLimit {
  readonly maxBytes: number;
  readonly tooLarge: () => Error;
}

/**
 * The largest body of a caller who is no admin, in bytes. Of the methods that are not for admins, none has a message of
 * more: a conversation id of 2 KiB is the largest field, and JSON may write each byte of it as \u00XX.
 */
export const maxOrdinaryBytes = 16_384;

export function createBodyLimits(options: BodyLimitOptions): BodyLimits {
  const { maxBytes } = options;
  const largest = Math.max(maxBytes, minBodyBytes);
  const { processes = 1, maxConnectionBytes = largest * 2 } = options;
  const { maxInstanceBytes = largest * Math.max(2, Math.floor(8 / processes)) } = options;
  const instance = createBodyBudget(maxInstanceBytes);
  const connections = new WeakMap<Connection, readonly BodyBudget[]>();
  /** One for all calls of a method, by those who may send as much as they like, and by others. */
  const limits = { trusted: new Map<DescMethod, BodyLimit>(), others: new Map<DescMethod, BodyLimit>() };
  return {
    maxBytes,
    limitOf({ method, values }) {
      const caller = values.get(callerKey);
      const access = accessOf(method);
      const isTrusted = caller?.isAdmin === true || (typeof access !== "string" && mayCall(caller, access));
      const known = isTrusted ? limits.trusted : limits.others;
      const limit = known.get(method) ?? toLimit(access, isTrusted, maxBytes);
      known.set(method, limit);
      return limit;
    },
    budgetsOf(connection) {
      const budgets = connections.get(connection) ?? [createBodyBudget(maxConnectionBytes), instance];
      connections.set(connection, budgets);
      return budgets;
    },
  };
}

/**
 * In the documented order a caller who may not call a method is told so after what is wrong with the body; a body that
 * is no ordinary one is not waited for.
 */
function toLimit(access: Access, isTrusted: boolean, largest: number): BodyLimit {
  const maxBytes = isTrusted ? largest : Math.min(largest, maxOrdinaryBytes);
  const tooLarge = () =>
    isTrusted || typeof access === "string"
      ? new BindError(`the body is larger than ${maxBytes} bytes`, 413)
      : failure("NoPermissionError", access.adminsOnly);
  return { maxBytes, tooLarge };
}
