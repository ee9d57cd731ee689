/** Which of the calls that have ended have a line: some and the sum of the others, each, or of those without an error none. */
export type AccessLog = "sampled" | "all" | "off";

/** A call that was answered, well or with a refusal. */
export interface AnsweredCall {
  readonly rpc: string;
  /** Its line, when it is to have one. */
  toLine(ms: number): object;
}

/** Why a call was refused. */
export interface Refusal {
  readonly errCode: number;
  readonly errMsg: string;
  readonly errDlt: string;
}

/** The lines of answered calls. */
export interface AnsweredCalls {
  /** A call took `ms` milliseconds, and was refused or not. */
  add(call: AnsweredCall, ms: number, refusal?: Refusal): void;
  /** Writes the sums that are open. */
  close(): void;
}

/** Calls of each method, and of each of its errors, that have a line of their own in an interval. */
export const wholeLines = 10;

/** How often the others are summed, in milliseconds. */
export const sumEveryMs = 1_000;

interface Sum {
  calls: number;
  /** Without a line of their own. */
  others: number;
  maxMs: number;
  /** What its line has. */
  readonly of: object;
  readonly msg: string;
}

/** The sums of a method, by the code of the error; 0 of those without one. */
type Sums = Map<number, Sum>;

/**
 * Creates the log of answered calls. At a full rate a line for each call costs more than the call: so of each method the
 * first ten of a second have one, and those after them one together; and so have those that end with the same error.
 */
export function createAnsweredCalls(info: (line: object, msg: string) => void, mode: AccessLog): AnsweredCalls {
  let sums = new Map<string, Sums>();
  let timer: NodeJS.Timeout | undefined;

  const close = () => {
    clearTimeout(timer);
    timer = undefined;
    const ended = sums;
    sums = new Map();
    for (const ofMethod of ended.values()) {
      for (const { others, maxMs, of, msg } of ofMethod.values()) {
        if (others > 0) info({ ...of, calls: others, maxMs }, msg);
      }
    }
  };

  const sumOf = (rpc: string, refusal: Refusal | undefined): Sum => {
    let ofMethod = sums.get(rpc);
    if (ofMethod === undefined) {
      ofMethod = new Map();
      sums.set(rpc, ofMethod);
      timer ??= setTimeout(close, sumEveryMs).unref();
    }
    const errCode = refusal?.errCode ?? 0;
    let sum = ofMethod.get(errCode);
    if (sum === undefined) {
      const of = refusal === undefined ? { rpc } : { rpc, errCode, errMsg: refusal.errMsg };
      sum = { calls: 0, others: 0, maxMs: 0, of, msg: `more calls ${refusal === undefined ? "answered" : "refused"}` };
      ofMethod.set(errCode, sum);
    }
    return sum;
  };

  const write = (call: AnsweredCall, ms: number, refusal: Refusal | undefined) => {
    if (refusal === undefined) return info(call.toLine(ms), "call answered");
    info({ ...call.toLine(ms), ...refusal }, "call refused");
  };

  return {
    add(call, ms, refusal) {
      if (mode === "all") return write(call, ms, refusal);
      if (mode === "off" && refusal === undefined) return;
      const sum = sumOf(call.rpc, refusal);
      if (++sum.calls <= wholeLines) return write(call, ms, refusal);
      sum.others++;
      sum.maxMs = Math.max(sum.maxMs, ms);
    },
    close,
  };
}
