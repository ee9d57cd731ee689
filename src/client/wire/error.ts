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

/** Any thrown value as an error of the client: what is not one already is of the way to the service. */
export function toClientError(thrown: unknown): MustreachClientError {
  if (thrown instanceof MustreachClientError) return thrown;
  return toNetworkError(thrown instanceof Error ? thrown.message : String(thrown), thrown);
}

/** The way to the service is broken. */
export function toNetworkError(errDlt: string, cause?: unknown): MustreachClientError {
  const options = cause === undefined ? {} : { cause };
  return new MustreachClientError({ errCode: networkErrCode, errMsg: "NetworkError", errDlt }, options);
}

/**
 * What an error means that the service gave no facts with, by its gRPC code.
 *
 * @param isBroken whether it was caused by something on the way.
 */
export function factsOfCode(code: number, isBroken: boolean): Omit<ErrorFacts, "errDlt"> {
  const network = { errCode: networkErrCode, errMsg: "NetworkError" };
  switch (code) {
    case grpcCodes.invalid_argument:
    case grpcCodes.out_of_range:
    case grpcCodes.resource_exhausted:
      return { errCode: 1001, errMsg: "ArgsError" };
    case grpcCodes.permission_denied:
      return { errCode: 1002, errMsg: "NoPermissionError" };
    case grpcCodes.unauthenticated:
      return { errCode: 1505, errMsg: "TokenUnknownError" };
    case grpcCodes.unavailable:
    case grpcCodes.deadline_exceeded:
    case grpcCodes.canceled:
    case grpcCodes.data_loss:
      return network;
    default:
      return isBroken ? network : { errCode: 500, errMsg: "ServerInternalError" };
  }
}

/** gRPC's codes that say what to do, under Connect's names. */
export const grpcCodes = {
  canceled: 1,
  unknown: 2,
  invalid_argument: 3,
  deadline_exceeded: 4,
  permission_denied: 7,
  resource_exhausted: 8,
  out_of_range: 11,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  data_loss: 15,
  unauthenticated: 16,
} as const;
