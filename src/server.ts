import type { Logger } from "pino";
import type { TokenMinter } from "./auth/mint-token.ts";
import { loadTokenSecret } from "./auth/secret.ts";
import type { Config } from "./config.ts";
import { startAdmin } from "./doors/admin.ts";
import { findNatsServer } from "./embedded/find.ts";
import { type EmbeddedBroker, startEmbeddedBroker } from "./embedded/start.ts";
import { openFoundation } from "./foundation.ts";
import { startJobs } from "./jobs.ts";
import { maxOverheadBytes } from "./limits.ts";
import { createServing } from "./serving.ts";

/** A running instance of Mustreach. */
export interface Server {
  /** Where it answers, such as `http://127.0.0.1:10002`. */
  readonly url: string;
  readonly port: number;
  /** Where the operator's port answers, such as `http://127.0.0.1:10003`; undefined when it is off. */
  readonly adminUrl: string | undefined;
  /** Mints tokens with the instance's secret. */
  readonly mint: TokenMinter;
  /** The process id of the embedded broker; undefined with an external one. */
  brokerPid(): number | undefined;
  /**
   * Puts the token secret of the settings, or of the data directory, in force, and fetches the keys of the identity
   * provider again at their next use. Nothing else changes; sessions stay.
   */
  reload(config: Pick<Config, "tokenSecret" | "dataDir">): Promise<void>;
  /** Ends sessions with a `reconnect`, answers what is under way, stores cursors, and stops the embedded broker. */
  stop(): Promise<void>;
}

/**
 * Builds an instance from its settings and starts it: broker, streams, jobs, operator's port, port, in this order.
 * Stopping goes the other way round.
 *
 * @throws when the broker cannot be started or reached, is unfit, or the port is taken; what was started is stopped.
 */
export async function startServer(config: Config, log: Logger): Promise<Server> {
  /** What to undo, in the order in which it was done. */
  const started: (() => Promise<void> | void)[] = [];
  const stop = async () => {
    for (let undo = started.pop(); undo !== undefined; undo = started.pop()) {
      await Promise.resolve(undo()).catch((err: unknown) => log.error({ err }, "a part did not stop cleanly"));
    }
  };

  try {
    const secret = await loadTokenSecret(config);
    const embedded = config.natsUrl === undefined ? await startBroker(config, log) : undefined;
    if (embedded !== undefined) started.push(embedded.stop);
    const foundation = await openFoundation({ config, log, embedded });
    started.push(foundation.close);
    const { health, mint, listen, drain, renewSecret } = createServing(foundation, secret);
    const jobs = await startJobs(foundation);
    started.push(jobs.stop);
    const { adminHost: host, adminPort } = config;
    const { metrics, store } = foundation;
    const admin =
      adminPort === undefined ? undefined : await startAdmin({ host, port: adminPort, health, metrics, log });
    if (admin !== undefined) started.push(admin.stop);
    const { url, port } = await listen();
    started.push(drain);
    const adminUrl = admin?.url;
    const { version, durability } = store.audit();
    log.info({ url, adminUrl, broker: version, durability }, "listening");
    const reload: Server["reload"] = async (next) => renewSecret(await loadTokenSecret(next));
    return { url, port, adminUrl, mint, brokerPid: () => embedded?.pid(), reload, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function startBroker(config: Config, log: Logger): Promise<EmbeddedBroker> {
  const binary = await findNatsServer({ configured: config.natsServer, log });
  const maxPayloadBytes = Math.max(1_048_576, config.maxDataBytes + maxOverheadBytes);
  return startEmbeddedBroker({ binary, dataDir: config.dataDir, maxPayloadBytes, log });
}
