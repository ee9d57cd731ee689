import { type DestinationStream, type Logger, pino } from "pino";
import { createLogDestination } from "./log-destination.ts";

/** How many lines each log could not write. */
const droppedBy = new WeakMap<object, () => number>();

/**
 * Creates the process's log: a JSON object a line, on standard error, so that standard output is a command's own.
 * Tokens and secrets are not logged; those paths are removed if one ever is. A line that cannot be written is dropped:
 * see {@link droppedLines}.
 */
export function createLog(level: string, destination?: DestinationStream): Logger {
  const onRecovery = (dropped: number) => log.warn({ dropped }, "the log could not be written: lines are missing");
  const standardError = destination === undefined ? createLogDestination({ onRecovery }) : undefined;
  const log = pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: ["token", "secret", "*.token", "*.secret", "headers.authorization"], remove: true },
    },
    destination ?? standardError,
  );
  if (standardError !== undefined) droppedBy.set(log, standardError.dropped);
  return log;
}

/** How many lines a log could not write since the start. */
export function droppedLines(log: Logger): number {
  return droppedBy.get(log)?.() ?? 0;
}

/** Resolves when the log has written what it can, after 1 s at most. */
export function flushLog(log: Logger): Promise<void> {
  return new Promise((resolve) => log.flush(() => resolve()));
}
