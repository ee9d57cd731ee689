import { mkdir, realpath, stat } from "node:fs/promises";
import { join } from "node:path";
import { ConfigError } from "./config.ts";

/** What others must not reach, below the data directory and with it, if it is there. */
const privateParts = ["", "token-secret", "mustreach.lock", "nats", "nats/nats-server.conf"];

/**
 * Makes the data directory, for its owner only, when it is missing.
 *
 * @returns its path without symbolic links.
 * @throws {ConfigError} when the directory, or a file in it, is open to others. It names each with its mode, and the
 * command that mends it: whoever could read or replace one may have done so, so that is the operator's to decide.
 */
export async function openDataDir(dataDir: string): Promise<string> {
  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  const dir = await realpath(dataDir);
  const open: { path: string; mode: string; mend: string }[] = [];
  for (const part of privateParts) {
    const path = join(dir, part);
    const found = await stat(path).catch((error: unknown) => {
      if (!(Error.isError(error) && "code" in error && error.code === "ENOENT")) throw error;
    });
    // Windows has no such modes.
    if (found === undefined || process.platform === "win32" || (found.mode & 0o077) === 0) continue;
    const mode = (found.mode & 0o7777).toString(8).padStart(4, "0");
    open.push({ path, mode, mend: `chmod ${found.isDirectory() ? "700" : "600"} '${path.replaceAll("'", "'\\''")}'` });
  }
  if (open.length > 0) {
    const named = open.map(({ path, mode }) => `${path} (mode ${mode})`).join(" and ");
    throw new ConfigError(
      `Other users of this machine can reach ${named}. Run: ${open.map(({ mend }) => mend).join("; ")}. Or set MUSTREACH_DATA_DIR to a directory that is not there yet.`,
    );
  }
  return dir;
}
