import { create } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb.ts";

/** One row of {@link errorTable}. */
interface ErrorRow {
  readonly errCode: number;
  readonly code: Code;
  /** The wait before the next try, in milliseconds. Absent: trying again does not mend it. */
  readonly retryAfterMs?: number;
}

/**
 * Every error that a caller can see: name ↔ OpenIM code ↔ Connect code ↔ whether to try again. Names and codes are
 * OpenIM's (pkg/common/servererrs), but for 429, OpenIM's rate limiter, and 901xx, which are ours; what a name means
 * here is said in the protos, next to the RPC that answers it.
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
  ConnOverMaxNumLimit: { errCode: 1601, code: Code.ResourceExhausted, retryAfterMs: 5_000 },
  /** A rate or a budget is used up; REST answers it with HTTP 429. */
  TooManyRequestsError: { errCode: 429, code: Code.ResourceExhausted, retryAfterMs: 1_000 },
  /** The broker is away or has not answered in time: what was asked may have been done. */
  NetworkError: { errCode: 90004, code: Code.Unavailable, retryAfterMs: 1_000 },
  /** The store is full: nothing was stored, and only the operator can mend it. */
  StoreFullError: { errCode: 90101, code: Code.ResourceExhausted },
  /** The broker refuses what was asked, and would again. */
  BrokerRefusedError: { errCode: 90102, code: Code.Internal },
  /** This instance is stopping: nothing was done, and another instance answers. */
  ServerStoppingError: { errCode: 90103, code: Code.Unavailable, retryAfterMs: 500 },
  /** The keys of the identity provider cannot be fetched. */
  IdentityProviderError: { errCode: 90104, code: Code.Unavailable, retryAfterMs: 5_000 },
} as const satisfies Record<string, ErrorRow>;

/** An error's name in {@link errorTable}. */
export type ErrorName = keyof typeof errorTable;

/** The reason of each in ErrorInfo (AIP-193): "NotInGroupYetError" → "NOT_IN_GROUP_YET_ERROR", "GroupIDExisted" → "GROUP_ID_EXISTED". */
const reasons = Object.fromEntries(
  Object.keys(errorTable).map((name) => [
    name,
    name.replace(/([a-z])([A-Z])|([A-Z])([A-Z][a-z])/g, "$1$3_$2$4").toUpperCase(),
  ]),
) as Record<ErrorName, string>;

/** What the REST envelope says of an error, and what a gRPC or Connect caller finds in the ErrorInfo detail. */
export interface ErrorFacts {
  readonly errCode: number;
  readonly errMsg: string;
  readonly errDlt: string;
}

/** What an error says besides its facts. */
export interface FailureDetails {
  /** The field that is wrong, by its documented JSON name; sent as google.rpc.BadRequest, with its name in the proto. */
  readonly field?: string;
  /** The wait before the next try, in milliseconds, where it is not that of the table; sent as google.rpc.RetryInfo. */
  readonly retryAfterMs?: number;
  /** The gRPC and Connect code, where it is not that of the table. REST knows the errCode only. */
  readonly code?: Code;
}

/**
 * An error for the caller: `errDlt` says what was wrong and what was expected. It must not hold a token, a secret or
 * a stack. `cause` is for the log and never sent.
 */
export function failure(name: ErrorName, errDlt: string, cause?: unknown, details: FailureDetails = {}): ConnectError {
  const row: ErrorRow = errorTable[name];
  const { field, retryAfterMs = row.retryAfterMs, code = row.code } = details;
  const info = {
    desc: ErrorInfoSchema,
    value: create(ErrorInfoSchema, {
      reason: reasons[name],
      domain: "mustreach",
      metadata: { errCode: String(row.errCode), errMsg: name, errDlt },
    }),
  };
  const retry = retryAfterMs === undefined ? [] : [{ desc: RetryInfoSchema, value: toRetryInfo(retryAfterMs) }];
  const badRequest = field === undefined ? [] : [{ desc: BadRequestSchema, value: toBadRequest(field, errDlt) }];
  const make = () => new ConnectError(`${name}: ${errDlt}`, code, undefined, [info, ...retry, ...badRequest], cause);
  return name === "ServerInternalError" ? make() : withoutStack(make);
}

/** Of an answer nobody sees the stack, and to capture it costs more than the rest of it: a flood is refused by thousands. */
function withoutStack<E extends Error>(make: () => E): E {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  const error = make();
  Error.stackTraceLimit = stackTraceLimit;
  return error;
}

/** ArgsError (1001) for one field, by its documented JSON name. */
export function wrongField(field: string, errDlt: string): ConnectError {
  return failure("ArgsError", errDlt, undefined, { field });
}

/** How long to wait before a failed call is tried again, in milliseconds; undefined when that does not mend it. */
export function retryAfterMsOf(thrown: unknown): number | undefined {
  const [info] = thrown instanceof ConnectError ? thrown.findDetails(RetryInfoSchema) : [];
  const delay = info?.retryDelay;
  return delay === undefined ? undefined : Number(delay.seconds) * 1_000 + Math.ceil(delay.nanos / 1_000_000);
}

function toRetryInfo(ms: number) {
  const retryDelay = { seconds: BigInt(Math.floor(ms / 1_000)), nanos: (ms % 1_000) * 1_000_000 };
  return create(RetryInfoSchema, { retryDelay });
}

/** "recvUserID" → "recv_user_id", "pagination.showNumber" → "pagination.show_number": as the protos name what they take. */
export function toProtoName(jsonName: string): string {
  // "each of recvUserIDs" is said of a list.
  const [path = jsonName] = /\S+$/.exec(jsonName) ?? [];
  return path.replace(/([a-z0-9])([A-Z])/g, "$1_$2").toLowerCase();
}

function toBadRequest(field: string, description: string) {
  return create(BadRequestSchema, { fieldViolations: [{ field: toProtoName(field), description }] });
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
    case Code.Unimplemented:
      return { errCode: errorTable.ArgsError.errCode, errMsg: "ArgsError", errDlt: thrown.rawMessage };
    case Code.NotFound:
      return {
        errCode: errorTable.RecordNotFoundError.errCode,
        errMsg: "RecordNotFoundError",
        errDlt: thrown.rawMessage,
      };
    case Code.Unavailable:
    case Code.DeadlineExceeded:
    case Code.Canceled:
    case Code.Aborted:
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
