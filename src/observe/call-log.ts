import type { Interceptor, StreamResponse, UnaryResponse } from "@connectrpc/connect";
import type { Logger } from "pino";
import { errorTable, toErrorFacts, toWireError } from "../errors.ts";
import type { Metrics } from "./metrics.ts";
import { operationIdKey } from "./operation-id.ts";
import { peerKey } from "./peer.ts";
import { unknownFieldsKey } from "./unknown-fields.ts";

/**
 * Creates the interceptor that logs and measures every call with its operation id and outcome, and lets nothing but errors made for
 * the caller out: anything else becomes ServerInternalError, with the original in the log only.
 */
export function createCallLog(log: Logger, metrics: Pick<Metrics, "call">): Interceptor {
  return (next) => async (request) => {
    const startedMs = performance.now();
    const call = {
      operationID: request.contextValues.get(operationIdKey),
      peer: request.contextValues.get(peerKey),
      unknownFields: toLogged(request.contextValues.get(unknownFieldsKey)),
      rpc: `${request.service.typeName}/${request.method.name}`,
    };
    const fail = (thrown: unknown) => {
      const error = toWireError(thrown);
      const { errCode, errMsg, errDlt } = toErrorFacts(error);
      const line = { ...call, ms: elapsed(startedMs), errCode, errMsg, errDlt };
      metrics.call(call.rpc, errCode, line.ms / 1_000);
      if (errCode === errorTable.ServerInternalError.errCode || error.cause !== undefined) {
        log.error({ ...line, err: error.cause ?? thrown }, "call failed");
      } else {
        log.info(line, "call refused");
      }
      return error;
    };
    const succeed = () => {
      const line = { ...call, ms: elapsed(startedMs) };
      metrics.call(call.rpc, 0, line.ms / 1_000);
      log.info(line, "call answered");
    };

    let response: UnaryResponse | StreamResponse;
    try {
      response = await next(request);
    } catch (error) {
      throw fail(error);
    }
    if (!response.stream) {
      succeed();
      return response;
    }
    log.info(call, "stream opened");
    return { ...response, message: observe(response.message, succeed, fail) };
  };
}

async function* observe<T>(messages: AsyncIterable<T>, succeed: () => void, fail: (error: unknown) => Error) {
  try {
    yield* messages;
    succeed();
  } catch (error) {
    throw fail(error);
  }
}

/** What is not there leaves no trace in a line. */
function toLogged(names: readonly string[]): readonly string[] | undefined {
  return names.length === 0 ? undefined : names;
}

function elapsed(startedMs: number): number {
  return Math.round((performance.now() - startedMs) * 100) / 100;
}
