import { Code, type ConnectError, type ContextValues, createContextKey } from "@connectrpc/connect";
import type { Logger } from "pino";
import { errorTable, toErrorFacts, toWireError } from "../errors.ts";
import { traceIdOf, traceparentKey } from "../tracing/traceparent.ts";
import { type AccessLog, type AnsweredCall, type AnsweredCalls, createAnsweredCalls } from "./answered-calls.ts";
import type { Metrics } from "./metrics.ts";
import { operationIdKey } from "./operation-id.ts";
import { certificateKey, peerKey } from "./peer.ts";
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

/**
 * Measures every call, and logs it once, with its operation id, its peer and its outcome: each that failed, each stream
 * that was opened, and of those that were answered or refused as many as the {@link AccessLog} says.
 */
export interface CallLog {
  /** Sees a call that reaches its method. */
  begin(call: ObservedCall): OpenCall;
  /**
   * Logs and counts a call that ended with an error before it reached its method; does nothing for one that has begun,
   * or was refused already. Returns what goes on the wire.
   */
  refuse(call: ObservedCall, thrown: unknown): ConnectError;
}

/** A {@link CallLog} that can end. */
export interface ClosableCallLog extends CallLog {
  /** Writes the sums of calls that are not due yet. */
  close(): void;
}

const seenKey = createContextKey(false, { description: "whether the call log has seen the call" });

/** Whether a call is logged and counted, or will be when it ends. */
export function isSeen(values: ContextValues): boolean {
  return values.get(seenKey);
}

/** Codes of a call that its caller has ended. */
const endedByCaller: ReadonlySet<Code> = new Set([Code.Canceled, Code.Aborted, Code.DeadlineExceeded]);

export function createCallLog(
  log: Logger,
  metrics: Pick<Metrics, "call">,
  accessLog: AccessLog = "sampled",
): ClosableCallLog {
  // What is in a line of a call is fixed, so there is nothing to look for and remove, which costs as much as the line.
  const plain = log.child({}, { redact: [], level: "info" });
  const info = (line: object, msg: string) => {
    // The level may have changed since.
    if (log.isLevelEnabled("info")) plain.info(line, msg);
  };
  const answered = createAnsweredCalls(info, accessLog);

  const sinks: Sinks = { log, metrics, answered, info };
  const begin = (call: ObservedCall): ObservedOpenCall => new ObservedOpenCall(sinks, call);

  return {
    begin,
    close: answered.close,
    refuse: (call, thrown) => (isSeen(call.values) ? toWireError(thrown) : begin(call).fail(thrown)),
  };
}

/** Where what happens to calls is told. */
interface Sinks {
  readonly log: Logger;
  readonly metrics: Pick<Metrics, "call">;
  readonly answered: AnsweredCalls;
  /** Writes a line of which nothing is to be removed. */
  readonly info: (line: object, msg: string) => void;
}

/** How many names of a caller's certificate are logged. */
const maxLoggedNames = 4;

/** A class, as there is one for each receiver too. */
class ObservedOpenCall implements OpenCall, AnsweredCall {
  readonly rpc: string;
  readonly #sinks: Sinks;
  readonly #values: ContextValues;
  readonly #startedMs = performance.now();
  #isStream = false;

  constructor(sinks: Sinks, { rpc, values }: ObservedCall) {
    values.set(seenKey, true);
    this.#sinks = sinks;
    this.rpc = rpc;
    this.#values = values;
  }

  open(): void {
    this.#isStream = true;
    this.#sinks.info(this.toLine(), "stream opened");
  }

  fail(thrown: unknown): ConnectError {
    const { log, metrics, answered, info } = this.#sinks;
    const error = toWireError(thrown);
    // That is how a receiver ends: a stream for events has no other end of its caller's.
    if (this.#isStream && error.code === Code.Canceled) {
      this.succeed();
      return error;
    }
    const facts = toErrorFacts(error);
    const ms = elapsed(this.#startedMs);
    metrics.call(this.rpc, facts.errCode, ms / 1_000);
    if (isFault(error, facts.errCode)) {
      log.error({ ...this.toLine(ms), ...facts, err: error.cause ?? thrown }, "call failed");
    } else if (this.#isStream) {
      info({ ...this.toLine(ms), ...facts }, "call refused");
    } else {
      answered.add(this, ms, facts);
    }
    return error;
  }

  succeed(): void {
    const { info, metrics, answered } = this.#sinks;
    const ms = elapsed(this.#startedMs);
    metrics.call(this.rpc, 0, ms / 1_000);
    if (this.#isStream) info(this.toLine(ms), "call answered");
    else answered.add(this, ms);
  }

  toLine(ms?: number): object {
    const values = this.#values;
    return {
      operationID: values.get(operationIdKey),
      trace_id: traceIdOf(values.get(traceparentKey)),
      peer: values.get(peerKey),
      certificate: values.get(certificateKey)?.names.slice(0, maxLoggedNames),
      unknownFields: toLogged(values.get(unknownFieldsKey)),
      rpc: this.rpc,
      ...(ms !== undefined && { ms }),
    };
  }
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
