import { randomUUID } from "node:crypto";
import { createContextKey, type HandlerContext } from "@connectrpc/connect";
import { failure } from "../errors.ts";
import type { CallLog } from "../observe/call-log.ts";
import { operationIdHeader, operationIdKey } from "../observe/operation-id.ts";
import { BindError, toFailure } from "./bind.ts";

/** Runs when a call's headers are there, before its body is read. Throws to refuse the call. */
export type Gate = (context: HandlerContext) => Promise<void>;

/** Whether the request's host cannot be one. */
export const badHostKey = createContextKey(false, { description: "whether the request's host cannot be one" });

/** The longest operation id, in characters. */
const maxOperationIdLength = 256;

/**
 * Creates the gate of every RPC: the operation id, then the caller. A gRPC or Connect call without an operation id
 * gets one; over REST the header is required, as OpenIM has it.
 */
export function createGate(authenticate: Gate, callLog: Pick<CallLog, "refuse">): Gate {
  const pass: Gate = async (context) => {
    const given = context.requestHeader.get(operationIdHeader) ?? "";
    // Also one that is refused for having none can then be found in the log.
    const operationId = given.slice(0, maxOperationIdLength) || randomUUID();
    context.values.set(operationIdKey, operationId);
    context.responseHeader.set(operationIdHeader, operationId);
    if (context.values.get(badHostKey)) throw new BindError("Host must be a host and, if any, a port", 400);
    if (given === "" && context.protocolName === "rest") throw failure("ArgsError", "header must have operationID");
    if (given.length > maxOperationIdLength) {
      throw failure("ArgsError", `operationID must be at most ${maxOperationIdLength} characters`);
    }
    await authenticate(context);
  };
  return async (context) => {
    try {
      await pass(context);
    } catch (error) {
      const { service, method, values } = context;
      // The interceptors, which log calls, do not see one that is refused here.
      callLog.refuse({ rpc: `${service.typeName}/${method.name}`, values }, toFailure(error));
      throw error;
    }
  };
}
