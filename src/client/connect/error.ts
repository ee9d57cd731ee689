import { ConnectError } from "@connectrpc/connect";
import { ErrorInfoSchema, RetryInfoSchema } from "../../gen/google/rpc/error_details_pb.ts";
import { factsOfCode, MustreachClientError } from "../wire/error.ts";

/**
 * Reads the OpenIM facts of what a call of Connect threw from its google.rpc.ErrorInfo detail. Without one it comes from
 * a proxy or from the wire, and the Connect code decides.
 */
export function fromConnectError(thrown: unknown): MustreachClientError {
  if (thrown instanceof MustreachClientError) return thrown;
  const error = ConnectError.from(thrown);
  const metadata = error.findDetails(ErrorInfoSchema)[0]?.metadata;
  const errCode = Number(metadata?.errCode);
  if (metadata !== undefined && Number.isInteger(errCode)) {
    const { errMsg = "", errDlt = "" } = metadata;
    return new MustreachClientError({ errCode, errMsg, errDlt }, { cause: error, ...toRetry(error) });
  }
  // fetch reports a failed connection as a TypeError, which Connect keeps as the cause; an error that the service
  // sent has no cause.
  const facts = factsOfCode(error.code, error.cause !== undefined);
  return new MustreachClientError({ ...facts, errDlt: error.rawMessage }, { cause: error });
}

function toRetry(error: ConnectError): { readonly retryAfterMs?: number } {
  const delay = error.findDetails(RetryInfoSchema)[0]?.retryDelay;
  return delay === undefined
    ? {}
    : { retryAfterMs: Number(delay.seconds) * 1_000 + Math.ceil(delay.nanos / 1_000_000) };
}
