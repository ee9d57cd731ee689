/** Which of the calls that were answered without an error have a line: some and the sum of the others, each, or none. */
export type AccessLog = "sampled" | "all" | "off";

/** A call that was answered. */
export interface AnsweredCall {
  readonly rpc: string;
  /** Its line, when it is to have one. */
  toLine(ms: number): object;
}

/** The lines of answered calls. */
export interface AnsweredCalls {
  /** A call took `ms` milliseconds. */
  add(call: AnsweredCall, ms: number): void;
  /** Writes the sums that are open. */
  close(): void;
}

/** Calls of each method that have a line of their own in an interval. */
export const wholeLines = 10;

/** How often the others are summed, in milliseconds. */
export const sumEveryMs = 1_000;

interface Sum {
  calls: number;
  /** Without a line of their own. */
  others: number;
  maxMs: number;
}

/**
 * Creates the log of answered calls. At a full rate a line for each call costs more than the call: so of each method the
 * first ten of a second have one, and those after them one together.
 */
export function createAnsweredCalls(info: (line: object, msg: string) => void, mode: AccessLog): AnsweredCalls {
  let sums = new Map<string, Sum>();
  let timer: NodeJS.Timeout | undefined;

  const close = () => {
    clearTimeout(timer);
    timer = undefined;
    const ended = sums;
    sums = new Map();
    for (const [rpc, { others, maxMs }] of ended) {
      if (others > 0) info({ rpc, calls: others, maxMs }, "more calls answered");
    }
  };

  return {
    add(call, ms) {
      if (mode === "off") return;
      if (mode === "all") return info(call.toLine(ms), "call answered");
      const { rpc } = call;
      let sum = sums.get(rpc);
      if (sum === undefined) {
        sum = { calls: 0, others: 0, maxMs: 0 };
        sums.set(rpc, sum);
        timer ??= setTimeout(close, sumEveryMs).unref();
      }
      if (++sum.calls <= wholeLines) return info(call.toLine(ms), "call answered");
      sum.others++;
      sum.maxMs = Math.max(sum.maxMs, ms);
    },
    close,
  };
}
