import { execFile } from "node:child_process";
import { access, constants } from "node:fs/promises";
import { delimiter, resolve } from "node:path";
import { promisify } from "node:util";
import { isAtLeast, natsServerFloor } from "../broker/audit.ts";

/** The nats-server that is installed where none is found, and that the project is tested with. */
export const natsServerPinned = "2.15.2";

/** A nats-server binary that is new enough. */
export interface NatsServer {
  readonly path: string;
  /** Without a leading `v`. */
  readonly version: string;
}

/** The binary at a path, or what is wrong with it. */
export async function inspectNatsServer(path: string): Promise<NatsServer | string> {
  try {
    await access(path, constants.X_OK);
  } catch {
    return "there is no such program";
  }
  let output: string;
  try {
    output = (await promisify(execFile)(path, ["--version"], { timeout: 10_000 })).stdout;
  } catch (error) {
    return `cannot be run (${error instanceof Error ? error.message.split("\n")[0] : error})`;
  }
  const version = parseVersion(output);
  if (version === undefined) return "does not say its version";
  if (!isAtLeast(version, natsServerFloor)) return `is version ${version}, ${natsServerFloor} or later is needed`;
  return { path, version };
}

/** The first program of a name on PATH. */
export async function findOnPath(name: string, env: NodeJS.ProcessEnv): Promise<string | undefined> {
  for (const dir of (env.PATH ?? "").split(delimiter)) {
    const path = resolve(dir, name);
    const runs = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (dir !== "" && runs) return path;
  }
  return undefined;
}

/** The version in a text such as `nats-server: v2.15.2` or `2.14.0-RC.1`. */
export function parseVersion(text: string): string | undefined {
  return /\d+\.\d+\.\d+(?:-[0-9A-Za-z.]+)?/.exec(text)?.[0];
}
