import { Code, ConnectError } from "@connectrpc/connect";
import { ErrorInfoSchema, RetryInfoSchema } from "../../gen/google/rpc/error_details_pb.ts";

/** What OpenIM's envelope says of an error. */
export interface ErrorFacts {
  /** OpenIM's code, such as 1501. */
  readonly errCode: number;

  /** OpenIM's name of it, such as `TokenExpiredError`. */
  readonly errMsg: string;

  /** What was wrong, for people. */
  readonly errDlt: string;
}

/**
 * An error of the service, or of the way to it (90004). The codes are listed at the RPCs in the protos; `cause` is
 * what was thrown beneath.
 */
export class MustreachClientError extends Error implements ErrorFacts {
  override readonly name = "MustreachClientError";
  readonly errCode: number;
  readonly errMsg: string;
  readonly errDlt: string;

  /**
   * How long to wait before the next try, in milliseconds, 0 when that is the caller's choice; undefined when trying
   * again does not mend it.
   */
  readonly retryAfterMs: number | undefined;

  constructor(
    { errCode, errMsg, errDlt }: ErrorFacts,
    options: ErrorOptions & { readonly retryAfterMs?: number } = {},
  ) {
    super(`${errMsg} (${errCode}): ${errDlt}`, options);
    this.errCode = errCode;
    this.errMsg = errMsg;
    this.errDlt = errDlt;
    this.retryAfterMs = options.retryAfterMs ?? (errCode === networkErrCode ? 0 : undefined);
  }
}

/** The code of an unreachable service, a broken stream, or a service that cannot reach its broker. */
export const networkErrCode = 90_004;

/** The code of an expired token. */
export const tokenExpiredErrCode = 1501;

/** Errors that asking again does not cure: bad argument, no permission, bad token, kicked or superseded. */
const fatalErrCodes: ReadonlySet<number> = new Set([1001, 1002, 1501, 1502, 1503, 1504, 1505, 1506, 1507]);

/** Whether a client must stop. After 1506 two devices of one name would otherwise supersede each other for ever. */
export function isFatal(error: MustreachClientError): boolean {
  return fatalErrCodes.has(error.errCode);
}

/**
 * Reads the OpenIM facts of any thrown value from its google.rpc.ErrorInfo detail. Without one it comes from a proxy
 * or from the wire, and the Connect code decides.
 */
export function toClientError(thrown: unknown): MustreachClientError {
  if (thrown instanceof MustreachClientError) return thrown;
  const error = ConnectError.from(thrown);
  const metadata = error.findDetails(ErrorInfoSchema)[0]?.metadata;
  const errCode = Number(metadata?.errCode);
  if (metadata !== undefined && Number.isInteger(errCode)) {
    const { errMsg = "", errDlt = "" } = metadata;
    return new MustreachClientError({ errCode, errMsg, errDlt }, { cause: error, ...toRetry(error) });
  }
  const [code, errMsg] = toFacts(error);
  return new MustreachClientError({ errCode: code, errMsg, errDlt: error.rawMessage }, { cause: error });
}

function toRetry(error: ConnectError): { readonly retryAfterMs?: number } {
  const delay = error.findDetails(RetryInfoSchema)[0]?.retryDelay;
  return delay === undefined
    ? {}
    : { retryAfterMs: Number(delay.seconds) * 1_000 + Math.ceil(delay.nanos / 1_000_000) };
}

function toFacts(error: ConnectError): readonly [errCode: number, errMsg: string] {
  switch (error.code) {
    case Code.InvalidArgument:
    case Code.OutOfRange:
    case Code.ResourceExhausted:
      return [1001, "ArgsError"];
    case Code.PermissionDenied:
      return [1002, "NoPermissionError"];
    case Code.Unauthenticated:
      return [1505, "TokenUnknownError"];
    case Code.Unavailable:
    case Code.DeadlineExceeded:
    case Code.Canceled:
    case Code.DataLoss:
      return [networkErrCode, "NetworkError"];
    default:
      // fetch reports a failed connection as a TypeError, which Connect keeps as the cause; an error that the service
      // sent has no cause.
      return error.cause === undefined ? [500, "ServerInternalError"] : [networkErrCode, "NetworkError"];
  }
}
