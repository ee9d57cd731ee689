import { type DestinationStream, type Logger, pino } from "pino";
import { createLogDestination } from "./log-destination.ts";

/** How many lines each log could not write. */
const droppedBy = new WeakMap<object, () => number>();

/** Where each log writes to. */
const destinations = new WeakMap<object, DestinationStream>();

/**
 * Creates the process's log: a JSON object a line, on standard error, so that standard output is a command's own.
 * Tokens and secrets are not logged; those paths are removed if one ever is. A line that cannot be written is dropped:
 * see {@link droppedLines}.
 *
 * @param bindings what each line has. Default: nothing.
 */
export function createLog(level: string, destination?: DestinationStream, bindings: object | null = null): Logger {
  const onRecovery = (dropped: number) => log.warn({ dropped }, "the log could not be written: lines are missing");
  const standardError = destination === undefined ? createLogDestination({ onRecovery }) : undefined;
  const stream: DestinationStream = standardError ?? destination ?? process.stderr;
  const log = pino(
    {
      level,
      base: bindings,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: ["token", "secret", "*.token", "*.secret", "headers.authorization"], remove: true },
    },
    stream,
  );
  destinations.set(log, stream);
  if (standardError !== undefined) droppedBy.set(log, standardError.dropped);
  return log;
}

/** How many lines a log could not write since the start. */
export function droppedLines(log: Logger): number {
  return droppedBy.get(log)?.() ?? 0;
}

/** Writes a line of another process's log as it is. */
export function forwardLine(log: Logger, line: string): void {
  destinations.get(log)?.write(`${line}\n`);
}

/** Resolves when the log has written what it can, after 1 s at most. */
export function flushLog(log: Logger): Promise<void> {
  return new Promise((resolve) => log.flush(() => resolve()));
}
