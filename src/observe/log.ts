import { resolve } from "node:path";
import { type DestinationStream, type Logger, pino } from "pino";
import { createLogDestination } from "./log-destination.ts";

/** How many lines each log could not write. */
const droppedBy = new WeakMap<object, () => number>();

/** Where each log writes to. */
const destinations = new WeakMap<object, DestinationStream>();

/**
 * Creates the process's log: a JSON object a line, on standard error, so that standard output is a command's own.
 * Tokens and secrets are not logged; those paths are removed if one ever is. Neither are stacks. A line that cannot be
 * written is dropped: see {@link droppedLines}.
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
      serializers: { err: toLoggedError },
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

/** How many causes of causes are logged, and how many of the errors that one stands for. */
const maxCauses = 4;
const maxErrors = 4;

/** The longest text of an error that is logged, in UTF-16 code units: some repeat what they could not read. */
const maxErrorText = 1_000;

/** Where we are installed. */
const home = resolve(import.meta.dirname, "../..");

/**
 * What of an error is logged: its type, what it says, where in our code it was made, its numbers and texts (such as
 * `code`), and its causes. No stack, and nothing that is made of more: a client library's error may have what it was
 * asked, and the error of an answer has its details, with a description of their types.
 */
function toLoggedError(thrown: unknown, depth = 0): unknown {
  if (!Error.isError(thrown)) return toErrorText(String(thrown));
  const plain = Object.entries(thrown).flatMap(([key, value]) => {
    if (typeof value === "number") return [[key, value]];
    // Connect's is the message, without the code.
    return typeof value === "string" && key !== "rawMessage" ? [[key, toErrorText(value)]] : [];
  });
  const { cause, message, stack } = thrown;
  const of = (inner: unknown) => (depth < maxCauses ? toLoggedError(inner, depth + 1) : undefined);
  const errors = thrown instanceof AggregateError ? thrown.errors.slice(0, maxErrors) : [];
  return {
    ...Object.fromEntries(plain),
    type: thrown.constructor.name,
    message: toErrorText(message),
    at: placeIn(stack),
    ...(cause !== undefined && { cause: of(cause) }),
    ...(errors.length > 0 && { errors: errors.map(of) }),
  };
}

/** The first place of a stack that is in our code; undefined when there is none. */
function placeIn(stack = ""): string | undefined {
  const frames = stack.split("\n").filter((line) => line.startsWith("    at ") && !line.includes("node_modules"));
  const frame = frames.find((line) => line.includes(home));
  return frame?.slice(frame.indexOf(home) + home.length + 1).replace(/\)$/, "");
}

function toErrorText(text: string): string {
  return text.length <= maxErrorText ? text : `${text.slice(0, maxErrorText)}…`;
}
