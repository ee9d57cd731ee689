import { openSync } from "node:fs";
import type { Logger } from "pino";
import { createLog } from "./log.ts";
import { createLogDestination } from "./log-destination.ts";

/** Writes what was done with an admin's rights. */
export type AuditLog = (line: object) => void;

/**
 * Opens the audit log: among the lines of the log, whatever its level, or in a file of its own, which is made for its
 * owner only and appended to. Each line has `audit: true`.
 *
 * @param setting MUSTREACH_AUDIT.
 * @returns undefined when it is off.
 * @throws an error that names the setting when the file cannot be opened.
 */
export function openAuditLog(setting: string, log: Logger): AuditLog | undefined {
  if (setting === "off") return undefined;
  const to = setting === "on" ? log.child({}, { level: "info" }) : createLog("info", openFile(setting));
  return (line) => to.info({ audit: true, ...line }, "audit");
}

function openFile(path: string) {
  try {
    return createLogDestination({ fd: openSync(path, "a", 0o600) });
  } catch (cause) {
    throw new Error(`MUSTREACH_AUDIT: ${path} cannot be written (${cause instanceof Error ? cause.message : cause})`, {
      cause,
    });
  }
}
