import type { ConnectError } from "@connectrpc/connect";
import { type ErrorName, failure } from "./errors.ts";

/** Waits are told in steps, in milliseconds: those whose waits are alike are told the same. */
const stepMs = 10;

/** How many are kept of one reason, each of another wait: those of up to 12.5 s. */
const maxKept = 1_250;

/**
 * Creates the error of one reason, by the wait that it asks for, in milliseconds. One that many callers get at a moment is
 * made once, and frozen: to make an error costs as much as all else of a refusal.
 */
export function createRefusals(name: ErrorName, errDlt: string): (retryAfterMs: number) => ConnectError {
  const kept: ConnectError[] = [];
  return (retryAfterMs) => {
    const step = Math.ceil(retryAfterMs / stepMs);
    const refusal = kept[step] ?? Object.freeze(failure(name, errDlt, undefined, { retryAfterMs: step * stepMs }));
    if (step <= maxKept) kept[step] = refusal;
    return refusal;
  };
}
