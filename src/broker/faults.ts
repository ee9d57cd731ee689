import { ConnectError } from "@connectrpc/connect";
import { JetStreamApiCodes, JetStreamApiError } from "@nats-io/jetstream";
import {
  ClosedConnectionError,
  ConnectionError,
  DrainingConnectionError,
  InvalidArgumentError,
  NoRespondersError,
  PermissionViolationError,
  RequestError,
  TimeoutError,
} from "@nats-io/transport-node";
import { errorTable, failure, toErrorFacts } from "../errors.ts";

/** Why the broker has not done something, and the error for whoever asked. */
export type Fault =
  /** It is away, or has not answered: what was asked may have been done. */
  | { readonly kind: "retry"; readonly failure: ConnectError }
  /** It refuses, and would again. */
  | { readonly kind: "permanent"; readonly failure: ConnectError }
  /** Not of the broker at all: a mistake of ours. */
  | { readonly kind: "unknown"; readonly failure: ConnectError };

/** JetStream's codes (nats-server `errors.json`), as far as their meaning is used. */
const apiCodes = {
  accountResourcesExceeded: 10002,
  /** Also while a cluster is being started. */
  noSuitablePeers: 10005,
  clusterNotAvailable: 10008,
  clusterNotLeader: 10009,
  insufficientResources: 10023,
  memoryResourcesExceeded: 10028,
  storageResourcesExceeded: 10047,
  messageExceedsMaximum: 10054,
  /** Also for a moment: while a server that could not write is being restarted. */
  jetStreamNotEnabled: 10076,
  /** The store has refused the message: for one of several reasons, which only its text tells apart. */
  storeFailed: 10077,
  batchIncomplete: 10176,
  tooManyBatches: 10210,
} as const;

const fullCodes: ReadonlySet<number> = new Set([
  apiCodes.accountResourcesExceeded,
  apiCodes.insufficientResources,
  apiCodes.storageResourcesExceeded,
]);

const retryCodes: ReadonlySet<number> = new Set([
  apiCodes.noSuitablePeers,
  apiCodes.clusterNotAvailable,
  apiCodes.clusterNotLeader,
  apiCodes.jetStreamNotEnabled,
  apiCodes.batchIncomplete,
  apiCodes.tooManyBatches,
]);

/** JetStream's refusal of a write, or the error of its API. */
export interface Refusal {
  /** JetStream's own code. */
  readonly errCode: number;
  readonly reason: string;
}

/** Whether a refusal may be of a subject that is taken: who asked looks. */
export function mayBeTaken(refusal: Refusal): boolean {
  return refusal.errCode === apiCodes.storeFailed || isOvertaken(refusal);
}

/** Whether a write that expected a record to be as it was read has come too late. */
export function isOvertaken({ errCode }: Refusal): boolean {
  return (
    errCode === JetStreamApiCodes.StreamWrongLastSequence ||
    errCode === JetStreamApiCodes.StreamWrongLastSequenceUnknown
  );
}

/** Whether the broker has answered that it does not have what it was asked for, or will never do it. */
export function isGone(error: unknown): boolean {
  return error instanceof JetStreamApiError && judge(error).kind === "permanent";
}

/** Whether the account may not store in memory, or no more. */
export function isMemoryFull(error: unknown): boolean {
  return error instanceof JetStreamApiError && error.code === apiCodes.memoryResourcesExceeded;
}

/** Whether the broker has too many batches under way, or has dropped a message of one without saying why. */
export function isIncomplete({ errCode }: Refusal): boolean {
  return errCode === apiCodes.batchIncomplete || errCode === apiCodes.tooManyBatches;
}

/** Whether there is no consumer of the name that was asked for. */
export function isUnknownConsumer(error: unknown): boolean {
  return error instanceof JetStreamApiError && error.code === JetStreamApiCodes.ConsumerNotFound;
}

/** Judges what a call to the broker has thrown: the one place that knows. */
export function judge(error: unknown): Fault {
  if (error instanceof ConnectError) {
    const isNetwork = toErrorFacts(error).errCode === errorTable.NetworkError.errCode;
    return { kind: isNetwork ? "retry" : "permanent", failure: error };
  }
  if (error instanceof JetStreamApiError) {
    return judgeRefusal({ errCode: error.code, reason: error.message }, error);
  }
  if (error instanceof ClosedConnectionError || error instanceof DrainingConnectionError) {
    return { kind: "permanent", failure: failure("ServerStoppingError", "the server is stopping", error) };
  }
  // The client library looks before it sends: what is larger than max_payload never gets out.
  if (error instanceof InvalidArgumentError && error.message.includes("max_payload")) return tooLarge(error);
  if (error instanceof PermissionViolationError) return refused(error.message, error);
  if (error instanceof RequestError && error.cause instanceof PermissionViolationError) return judge(error.cause);
  if (isAway(error)) {
    return { kind: "retry", failure: failure("NetworkError", "the broker did not answer in time", error) };
  }
  return { kind: "unknown", failure: failure("ServerInternalError", "internal error", error) };
}

/** The error for the caller of what a call to the broker has thrown. */
export function toFailure(error: unknown): ConnectError {
  return judge(error).failure;
}

/** The error for the caller whose write was refused though its subject is free. */
export function toRefusal(refusal: Refusal): ConnectError {
  return judgeRefusal(refusal).failure;
}

function judgeRefusal({ errCode, reason }: Refusal, cause?: unknown): Fault {
  if (retryCodes.has(errCode)) {
    return { kind: "retry", failure: failure("NetworkError", `the broker cannot do it now: ${reason}`, cause) };
  }
  if (errCode === apiCodes.messageExceedsMaximum) return tooLarge(cause);
  if (errCode === apiCodes.storeFailed && reason.includes("per subject")) {
    // Taken by what a replica that lags behind does not show yet, or free again by now.
    return { kind: "retry", failure: failure("NetworkError", "another write of it is under way", cause) };
  }
  const isFull = errCode === apiCodes.storeFailed && /maximum (bytes|messages) exceeded|resource|space/.test(reason);
  if (isFull || fullCodes.has(errCode)) {
    return { kind: "permanent", failure: failure("StoreFullError", `the broker's store is full: ${reason}`, cause) };
  }
  return refused(reason, cause);
}

function isAway(error: unknown): boolean {
  return (
    error instanceof TimeoutError ||
    error instanceof NoRespondersError ||
    error instanceof RequestError ||
    error instanceof ConnectionError ||
    // What the client library makes of "no responders" to JetStream's API; it does not export the class.
    (error instanceof Error && error.name === "JetStreamNotEnabled")
  );
}

function refused(reason: string, cause: unknown): Fault {
  return { kind: "permanent", failure: failure("BrokerRefusedError", `the broker refuses it: ${reason}`, cause) };
}

function tooLarge(cause: unknown): Fault {
  const errDlt = "data is too large: with what is stored beside it, it is more than the broker takes (max_payload)";
  return { kind: "permanent", failure: failure("ArgsError", errDlt, cause, { field: "data" }) };
}
