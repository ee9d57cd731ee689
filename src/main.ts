import { ConfigError, loadConfig, serviceLinksOf } from "./config.ts";
import { createLog, flushLog } from "./observe/log.ts";
import { startServer } from "./server.ts";
import { tryIt } from "./try-it.ts";

/**
 * Runs the service until it is told to stop. Standard output is for people (how to try it), standard error for the
 * log. As a program it exits with 0 after a stop, 1 when it could not start, 2 for a bad setting.
 */
export async function runService(env: NodeJS.ProcessEnv): Promise<void> {
  const config = loadConfig(env);
  const log = createLog(config.logLevel);
  const variables = serviceLinksOf(env);
  if (variables.length > 0) log.info({ variables }, "variables of Kubernetes services are not settings: ignored");
  // Where it can be written to no longer is no reason to end: the service is not there to print.
  for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {});
  let stop = (): void => process.exit(130);
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => stop());
  try {
    // Until it has started there is nothing to answer for: the broker ends with this process.
    const server = await startServer(config, log);
    const stopping = new Promise<void>((resolve) => {
      stop = resolve;
    });
    process.stdout.write(await tryIt(server, config.adminUserIds));
    await stopping;
    log.info("stopping");
    await server.stop();
    log.info("stopped");
  } finally {
    await flushLog(log);
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
