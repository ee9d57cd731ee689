import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";

/** Where a program is; undefined when it is not on PATH. */
export function findProgram(name: string): string | undefined {
  const dirs = [...(process.env.PATH ?? "").split(delimiter), "/usr/sbin", "/usr/local/sbin"];
  return dirs
    .map((dir) => join(dir, name))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

/** Whether a program is there; where it is not, the output of the tests says that what needs it is skipped. */
export function hasProgram(name: string, from: string): boolean {
  if (findProgram(name) !== undefined) return true;
  process.stderr.write(`skipped: ${name} is not on PATH (${from})\n`);
  return false;
}
