import { Code, type ConnectError, type ContextValues, createContextKey } from "@connectrpc/connect";
import type { Logger } from "pino";
import { errorTable, toErrorFacts, toWireError } from "../errors.ts";
import type { Metrics } from "./metrics.ts";
import { operationIdKey } from "./operation-id.ts";
import { peerKey } from "./peer.ts";
import { unknownFieldsKey } from "./unknown-fields.ts";

/** A call, by the context values that all of its stations share. */
interface ObservedCall {
  /** Its method, such as `mustreach.msg.v1.MsgService/GetConversations`. */
  readonly rpc: string;
  readonly values: ContextValues;
}

/** A call in its method, of which one end is told. */
export interface OpenCall {
  /** Tells that a stream has begun. */
  open(): void;
  succeed(): void;
  /**
   * Lets nothing but errors made for the caller out: anything else becomes ServerInternalError, with the original in
   * the log only.
   */
  fail(thrown: unknown): ConnectError;
}

/** Logs and measures every call, once, with its operation id, its peer and its outcome. */
export interface CallLog {
  /** Sees a call that reaches its method. */
  begin(call: ObservedCall): OpenCall;
  /**
   * Logs and counts a call that ended with an error before it reached its method; does nothing for one that has begun,
   * or was refused already. Returns what goes on the wire.
   */
  refuse(call: ObservedCall, thrown: unknown): ConnectError;
}

const seenKey = createContextKey(false, { description: "whether the call log has seen the call" });

/** Whether a call is logged and counted, or will be when it ends. */
export function isSeen(values: ContextValues): boolean {
  return values.get(seenKey);
}

/** Codes of a call that its caller has ended. */
const endedByCaller: ReadonlySet<Code> = new Set([Code.Canceled, Code.Aborted, Code.DeadlineExceeded]);

export function createCallLog(log: Logger, metrics: Pick<Metrics, "call">): CallLog {
  const begin = ({ rpc, values }: ObservedCall): OpenCall => {
    values.set(seenKey, true);
    const startedMs = performance.now();
    const call = {
      operationID: values.get(operationIdKey),
      peer: values.get(peerKey),
      unknownFields: toLogged(values.get(unknownFieldsKey)),
      rpc,
    };
    return {
      open: () => log.info(call, "stream opened"),
      fail(thrown: unknown): ConnectError {
        const error = toWireError(thrown);
        const { errCode, errMsg, errDlt } = toErrorFacts(error);
        const line = { ...call, ms: elapsed(startedMs), errCode, errMsg, errDlt };
        metrics.call(rpc, errCode, line.ms / 1_000);
        if (isFault(error, errCode)) log.error({ ...line, err: error.cause ?? thrown }, "call failed");
        else log.info(line, "call refused");
        return error;
      },
      succeed(): void {
        const line = { ...call, ms: elapsed(startedMs) };
        metrics.call(rpc, 0, line.ms / 1_000);
        log.info(line, "call answered");
      },
    };
  };

  return {
    begin,
    refuse: (call, thrown) => (isSeen(call.values) ? toWireError(thrown) : begin(call).fail(thrown)),
  };
}

/** Whether an error is ours, or of what we stand on, rather than the caller's, who has been told what is wrong. */
function isFault(error: ConnectError, errCode: number): boolean {
  if (errCode === errorTable.ServerInternalError.errCode) return true;
  return errCode >= errorTable.NetworkError.errCode && error.cause !== undefined && !endedByCaller.has(error.code);
}

/** What is not there leaves no trace in a line. */
function toLogged(names: readonly string[]): readonly string[] | undefined {
  return names.length === 0 ? undefined : names;
}

function elapsed(startedMs: number): number {
  return Math.round((performance.now() - startedMs) * 100) / 100;
}
