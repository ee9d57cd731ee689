import type { Logger } from "pino";
import { createQuota } from "./admission/quota.ts";
import { createGuessLimit } from "./auth/get-admin-token.ts";
import type { TokenMinter } from "./auth/mint-token.ts";
import { loadTokenSecrets } from "./auth/secret.ts";
import { type Clock, systemClock } from "./clock.ts";
import type { Config } from "./config.ts";
import { startAdmin } from "./doors/admin.ts";
import { findNatsServer } from "./embedded/find.ts";
import { type EmbeddedBroker, startEmbeddedBroker } from "./embedded/start.ts";
import { openFoundation } from "./foundation.ts";
import type { ListenerAddress } from "./http/listener.ts";
import { startJobs } from "./jobs.ts";
import { maxOverheadBytes } from "./limits.ts";
import type { Readiness } from "./observe/health.ts";
import { createAdmission } from "./receiving/admission.ts";
import { createServing } from "./serving.ts";
import { openTlsFiles, type TlsFiles } from "./tls/files.ts";
import { workerCount } from "./workers/count.ts";
import { createPrimary } from "./workers/primary.ts";

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
  /** Whether it can keep its promise now, as `/readyz` of the operator's port tells. */
  readiness(): Promise<Readiness>;
  /** Rejects when it cannot serve any more. */
  readonly failed: Promise<never>;
  /**
   * Puts the token secrets of the settings, or of the data directory, in force, and fetches the keys of the identity
   * provider again at their next use; and looks at the files of certificates. Nothing else changes; sessions stay.
   */
  reload(config: Pick<Config, "tokenSecret" | "tokenSecretPrevious" | "dataDir" | "logLevel">): Promise<void>;
  /**
   * Replaces each worker by a new process, one after the other, without a pause. Nothing where there is one process.
   *
   * @throws when a new one does not start: the old ones go on.
   */
  renewWorkers(): Promise<void>;
  /** Ends sessions with a `reconnect`, answers what is under way, stores cursors, and stops the embedded broker. */
  stop(): Promise<void>;
}

/**
 * Builds an instance from its settings and starts it: broker, streams, jobs, operator's port, port, in this order.
 * Stopping goes the other way round, but for the operator's port: to the end it says that the service is stopping.
 *
 * @param clock of this process; workers have the machine's.
 * @throws when the broker cannot be started or reached, is unfit, or the port is taken; what was started is stopped.
 */
export async function startServer(config: Config, log: Logger, clock: Clock = systemClock): Promise<Server> {
  /** What to undo, the last first. */
  const started: (() => Promise<void> | void)[] = [];
  const stopping = new AbortController();
  const stop = async () => {
    stopping.abort();
    for (let undo = started.pop(); undo !== undefined; undo = started.pop()) {
      await Promise.resolve(undo()).catch((err: unknown) => log.error({ err }, "a part did not stop cleanly"));
    }
  };

  try {
    const secrets = await loadTokenSecrets(config);
    const embedded = config.natsUrl === undefined ? await startBroker(config, log) : undefined;
    if (embedded !== undefined) started.push(embedded.stop);
    const foundation = await openFoundation({ config, log, embedded, clock });
    started.push(foundation.close);
    const hopeless = Promise.withResolvers<never>();
    hopeless.promise.catch(() => {}); // Whoever waits for it hears of it.
    const tls = await openTls(config, log);
    if (tls !== undefined) started.push(tls.close);
    const certificates = tls?.current;
    const workers = workerCount(config);
    const serving =
      workers === 1
        ? createServing({
            foundation,
            secrets,
            certificates: tls?.current(),
            at: config,
            ...createLimits(config),
            processes: 1,
            stopping: stopping.signal,
          })
        : createPrimary({
            ...{ foundation, secrets, certificates, embedded, workers },
            stopping: stopping.signal,
            onHopeless: hopeless.reject,
          });
    tls?.onChange((next) => void serving.renewTls(next));
    if (tls !== undefined) {
      foundation.metrics.watch("mustreach_tls_certificate_expires", expiresHelp, () => tls.expiresAtMs() / 1_000);
    }
    const { health, metrics, mint } = serving;
    const replaced = () => serving.replaced();
    foundation.metrics.count("mustreach_workers_replaced_total", replacedHelp, replaced);
    const jobs = await startJobs(foundation);
    started.push(jobs.stop);
    const { adminHost: host, adminPort } = config;
    let address: ListenerAddress | undefined;
    const apiAddress = () => address;
    const admin =
      adminPort === undefined
        ? undefined
        : await startAdmin({ host, port: adminPort, health, metrics, apiAddress, log });
    if (admin !== undefined) started.unshift(admin.stop);
    address = await serving.listen();
    const { url, port } = address;
    started.push(() => serving.drain(lingerMs));
    const adminUrl = admin?.url;
    const { version, durability } = foundation.store.audit();
    log.info({ url, adminUrl, broker: version, durability, workers }, "listening");
    return {
      ...{ url, port, adminUrl, mint, stop },
      brokerPid: () => embedded?.pid(),
      readiness: health.readiness,
      failed: hopeless.promise,
      async reload(next) {
        await serving.reload(await loadTokenSecrets(next), next.logLevel);
        await tls?.reload();
      },
      renewWorkers: serving.renew,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** How long a stop leaves connections open for requests that are on their way, in milliseconds. */
const lingerMs = 500;

const expiresHelp = "When the certificate of the port ends, in seconds since the Unix epoch.";
const replacedHelp = "Workers that were replaced, by `outcome` of the old one.";

/** The certificates of the port; undefined where it speaks no TLS. */
async function openTls(config: Config, log: Logger): Promise<TlsFiles | undefined> {
  const { tlsCertFile: cert, tlsKeyFile: key, tlsClientCaFile: clientCa, tlsClientCrlFile: clientCrl } = config;
  if (cert === undefined || key === undefined) return undefined;
  return openTlsFiles({ paths: { cert, key, clientCa, clientCrl }, log });
}

/** Counts for the one process that there is. */
function createLimits(config: Config) {
  return { admission: createAdmission(config), guesses: createGuessLimit(), quota: createQuota(config) };
}

async function startBroker(config: Config, log: Logger): Promise<EmbeddedBroker> {
  const binary = await findNatsServer({ configured: config.natsServer, log });
  const maxPayloadBytes = Math.max(1_048_576, config.maxDataBytes + maxOverheadBytes);
  return startEmbeddedBroker({ binary, dataDir: config.dataDir, maxPayloadBytes, log });
}
