import { randomUUID } from "node:crypto";
import type { HandlerContext } from "@connectrpc/connect";
import type { BaseLogger } from "pino";
import { failure, toErrorFacts } from "../errors.ts";
import { operationIdHeader, operationIdKey } from "../observe/operation-id.ts";
import { peerKey } from "../observe/peer.ts";

/** Runs when a call's headers are there, before its body is read. Throws to refuse the call. */
export type Gate = (context: HandlerContext) => Promise<void>;

/** The longest operation id, in characters. */
const maxOperationIdLength = 256;

/**
 * Creates the gate of every RPC: the operation id, then the caller. A gRPC or Connect call without an operation id
 * gets one; over REST the header is required, as OpenIM has it.
 */
export function createGate(authenticate: Gate, log: BaseLogger): Gate {
  const pass: Gate = async (context) => {
    const given = context.requestHeader.get(operationIdHeader) ?? "";
    // Also one that is refused for having none can then be found in the log.
    const operationId = given.slice(0, maxOperationIdLength) || randomUUID();
    context.values.set(operationIdKey, operationId);
    context.responseHeader.set(operationIdHeader, operationId);
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
      // The interceptors, which log calls, do not see one that is refused here.
      const operationID = context.values.get(operationIdKey);
      const rpc = `${context.service.typeName}/${context.method.name}`;
      const peer = context.values.get(peerKey);
      log.info({ operationID, peer, rpc, ...toErrorFacts(error) }, "call refused");
      throw error;
    }
  };
}
