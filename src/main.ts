import { closeSync, openSync } from "node:fs";
import { isatty } from "node:tty";
import type { Logger } from "pino";
import { type Config, ConfigError, type Environment, loadConfig, serviceLinksOf } from "./config.ts";
import { createLog, flushLog } from "./observe/log.ts";
import { type Server, startServer } from "./server.ts";
import { connectServiceManager, type Soundness } from "./service-manager.ts";
import { tryIt } from "./try-it.ts";
import { boundYoungGeneration } from "./young-generation.ts";

/**
 * Runs the service until SIGINT or SIGTERM, or the end of its terminal; SIGHUP makes it {@link reload}, and SIGUSR2
 * replace its workers. Standard output is for people (how to try it), standard error for the log. systemd is told how it
 * is, where it asks for that. As a program it exits with 0 after a stop, 1 when it could not start, 2 for a bad setting.
 */
export async function runService(env: Environment): Promise<void> {
  const config = loadConfig(env);
  const log = createLog(config.logLevel);
  boundYoungGeneration();
  const variables = serviceLinksOf(env);
  if (variables.length > 0) log.info({ variables }, "variables of Kubernetes services are not settings: ignored");
  // Where it can be written to no longer is no reason to end: the service is not there to print.
  for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {});
  let stop = (): void => process.exit(130);
  let hangUp = (): void => {};
  let renew = (): void => {};
  const hasTerminal = isatty(0);
  const manager = connectServiceManager(env, log);
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => stop());
  process.on("SIGHUP", () => (hasTerminal && isTerminalGone() ? stop() : hangUp()));
  process.on("SIGUSR2", () => renew());
  try {
    // Until it has started there is nothing to answer for: the broker ends with this process.
    const server = await startServer(config, log);
    const stopping = new Promise<void>((resolve) => {
      stop = resolve;
    });
    hangUp = async () => {
      manager.reloading();
      await reload(env, config, server, log);
      manager.ready(`answers at ${server.url}`);
    };
    renew = () => void renewWorkers(server, log);
    manager.ready(`answers at ${server.url}`);
    manager.watch(() => look(server, config));
    process.stdout.write(await tryIt({ server, config, isTerminal: process.stdout.isTTY }));
    try {
      await Promise.race([stopping, server.failed]);
    } finally {
      log.info("stopping");
      manager.close();
      manager.stopping();
      await server.stop();
      log.info("stopped");
    }
  } finally {
    await flushLog(log);
  }
}

/**
 * Whether a restart would help: it mends all that keeps a service from being ready with its own broker, and nothing
 * that is wrong with another's.
 */
async function look(server: Server, { natsUrl }: Config): Promise<Soundness> {
  const { ready, problems } = await server.readiness();
  return { isSound: ready || natsUrl !== undefined, status: ready ? "ready" : `not ready: ${problems.join("; ")}` };
}

/** What a reload puts in force. */
const reloaded: readonly (keyof Config)[] = ["logLevel", "tokenSecret", "tokenSecretPrevious"];

/**
 * Reads the settings again: those in files may have changed. The log level, the token secrets and the keys of the
 * identity provider are renewed; of the others, the log names those that wait for a restart. With a bad setting
 * everything stays as it is.
 */
async function reload(env: Environment, config: Config, server: Server, log: Logger): Promise<void> {
  try {
    const next = loadConfig(env);
    await server.reload(next);
    const names = Object.keys(next) as (keyof Config)[];
    const waiting = names.filter((name) => !reloaded.includes(name) && !isSame(next[name], config[name]));
    log.warn({ logLevel: next.logLevel, needRestart: waiting.length > 0 ? waiting : undefined }, "reloaded");
  } catch (err) {
    log.error({ err }, "cannot reload: all settings stay as they are");
  }
}

/** Replaces the workers one after the other, so that no caller is refused meanwhile. */
async function renewWorkers(server: Server, log: Logger): Promise<void> {
  try {
    await server.renewWorkers();
    log.info("the workers are new");
  } catch (err) {
    log.error({ err }, "cannot replace a worker: the old ones go on");
  }
}

function isSame(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** Whether the terminal that the service was started from was closed: then nobody is there to stop it. */
function isTerminalGone(): boolean {
  try {
    closeSync(openSync("/dev/tty", "r"));
    return false;
  } catch {
    return true;
  }
}

if (import.meta.main) {
  runService(process.env).then(
    () => process.exit(0),
    (error: unknown) => {
      process.stderr.write(`${error instanceof Error ? error.message : "Mustreach cannot start."}\n`);
      process.exit(error instanceof ConfigError ? 2 : 1);
    },
  );
}
