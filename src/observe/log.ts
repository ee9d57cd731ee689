import { type DestinationStream, type Logger, pino } from "pino";

/**
 * Creates the process's log: a JSON object a line, on standard error, so that standard output is a command's own.
 * Tokens and secrets are not logged; those paths are removed if one ever is.
 */
export function createLog(
  level: string,
  destination: DestinationStream = pino.destination({ fd: 2, sync: false }),
): Logger {
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: ["token", "secret", "*.token", "*.secret", "headers.authorization"], remove: true },
    },
    destination,
  );
}
