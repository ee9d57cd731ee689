import { create } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { ErrorInfoSchema } from "./gen/google/rpc/error_details_pb.ts";

/**
 * Every error that a caller can see: name ↔ OpenIM code ↔ Connect code. Names and codes are OpenIM's
 * (pkg/common/servererrs); what a name means here is said in the protos, next to the RPC that answers it.
 */
export const errorTable = {
  ServerInternalError: { errCode: 500, code: Code.Internal },
  ArgsError: { errCode: 1001, code: Code.InvalidArgument },
  NoPermissionError: { errCode: 1002, code: Code.PermissionDenied },
  DuplicateKeyError: { errCode: 1003, code: Code.AlreadyExists },
  RecordNotFoundError: { errCode: 1004, code: Code.NotFound },
  GroupIDExisted: { errCode: 1202, code: Code.AlreadyExists },
  NotInGroupYetError: { errCode: 1203, code: Code.FailedPrecondition },
  DismissedAlreadyError: { errCode: 1204, code: Code.FailedPrecondition },
  TokenExpiredError: { errCode: 1501, code: Code.Unauthenticated },
  TokenInvalidError: { errCode: 1502, code: Code.Unauthenticated },
  TokenMalformedError: { errCode: 1503, code: Code.Unauthenticated },
  TokenNotValidYetError: { errCode: 1504, code: Code.Unauthenticated },
  TokenUnknownError: { errCode: 1505, code: Code.Unauthenticated },
  TokenKickedError: { errCode: 1506, code: Code.Unauthenticated },
  TokenNotExistError: { errCode: 1507, code: Code.Unauthenticated },
  ConnOverMaxNumLimit: { errCode: 1601, code: Code.ResourceExhausted },
  NetworkError: { errCode: 90004, code: Code.Unavailable },
} as const satisfies Record<string, { errCode: number; code: Code }>;

/** An error's name in {@link errorTable}. */
export type ErrorName = keyof typeof errorTable;

/** What the REST envelope says of an error, and what a gRPC or Connect caller finds in the ErrorInfo detail. */
export interface ErrorFacts {
  readonly errCode: number;
  readonly errMsg: string;
  readonly errDlt: string;
}

/**
 * An error for the caller: `errDlt` says what was wrong and what was expected. It must not hold a token, a secret or
 * a stack. `cause` is for the log and never sent.
 */
export function failure(name: ErrorName, errDlt: string, cause?: unknown): ConnectError {
  const { errCode, code } = errorTable[name];
  const info = {
    desc: ErrorInfoSchema,
    value: create(ErrorInfoSchema, {
      // "NotInGroupYetError" → "NOT_IN_GROUP_YET_ERROR", "GroupIDExisted" → "GROUP_ID_EXISTED" (AIP-193)
      reason: name.replace(/([a-z])([A-Z])|([A-Z])([A-Z][a-z])/g, "$1$3_$2$4").toUpperCase(),
      domain: "mustreach",
      metadata: { errCode: String(errCode), errMsg: name, errDlt },
    }),
  };
  return new ConnectError(`${name}: ${errDlt}`, code, undefined, [info], cause);
}

/**
 * The facts of any thrown value. One that {@link failure} did not make is the caller's mistake at protocol level
 * (1001: a message that does not decode, a body that is too large), a broken wire (90004), or ours (500), and then
 * says nothing of the inside.
 */
export function toErrorFacts(thrown: unknown): ErrorFacts {
  if (!(thrown instanceof ConnectError)) return internal;
  const [info] = thrown.findDetails(ErrorInfoSchema);
  const metadata = info?.metadata;
  if (isFacts(metadata)) {
    return { errCode: Number(metadata.errCode), errMsg: metadata.errMsg, errDlt: metadata.errDlt };
  }
  switch (thrown.code) {
    case Code.InvalidArgument:
    case Code.ResourceExhausted:
    case Code.OutOfRange:
      return { errCode: errorTable.ArgsError.errCode, errMsg: "ArgsError", errDlt: thrown.rawMessage };
    case Code.Unavailable:
    case Code.DeadlineExceeded:
    case Code.Canceled:
      return { errCode: errorTable.NetworkError.errCode, errMsg: "NetworkError", errDlt: thrown.rawMessage };
    default:
      return internal;
  }
}

/**
 * What goes on the wire for any thrown value: itself when {@link failure} or Connect made it, else ServerInternalError
 * with the original as `cause`.
 */
export function toWireError(thrown: unknown): ConnectError {
  return thrown instanceof ConnectError ? thrown : failure("ServerInternalError", "internal error", thrown);
}

const internal: ErrorFacts = {
  errCode: errorTable.ServerInternalError.errCode,
  errMsg: "ServerInternalError",
  errDlt: "internal error",
};

function isFacts(value: object | undefined): value is { errCode: string; errMsg: string; errDlt: string } {
  return value !== undefined && "errCode" in value && "errMsg" in value && "errDlt" in value;
}
