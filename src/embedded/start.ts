import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { BaseLogger } from "pino";
import { isAtLeast } from "../broker/audit.ts";
import { type BrokerPlace, createClientKey, type Dial, dialTo, nowhere } from "../broker/dial.ts";
import { varzSubject } from "../broker/subjects.ts";
import { openDataDir } from "../data-dir.ts";
import type { NatsServer } from "./inspect.ts";
import { type HeldLock, takeLock } from "./lock.ts";
import { type BrokerProcess, spawnBroker, stopLeftoverBroker } from "./process.ts";

export interface EmbeddedBrokerOptions {
  /** The nats-server to run, as `findNatsServer` answers it. */
  readonly binary: NatsServer;
  /**
   * The service's data directory, created when missing. The broker's files are in `nats/` below it, and
   * `mustreach.lock` keeps a second service out.
   */
  readonly dataDir: string;
  /** The largest message that the broker accepts, in bytes, headers included. */
  readonly maxPayloadBytes: number;
  /**
   * When writes are synced to disk: `always` before each is acknowledged, or every so often, as `2m`.
   * Default: `always`.
   */
  readonly syncInterval?: string;
  readonly log: BaseLogger;
  /** Called when a broker that died has been restarted and answers again. */
  readonly onRestart?: () => void;
}

/** A nats-server that this process runs and keeps running. */
export interface EmbeddedBroker {
  /** Where the broker listens; another address after each restart. */
  readonly url: string;
  /** Where it is now, and the key made for this run of it: a secret of this service's processes. */
  place(): BrokerPlace;
  /** Calls `listener` whenever {@link place} changes. */
  onMove(listener: () => void): void;
  /**
   * Connects, and reconnects, to nothing but this broker: to the address that our own child has reported, and only
   * while it runs. Whoever takes a port that the broker has had gets no connection.
   */
  readonly dial: Dial;
  /** The process id of the broker, of the last one while it is being restarted. */
  pid(): number;
  /** Ends the broker within 4 s and gives the data directory back. */
  stop(): Promise<void>;
}

/** The embedded broker cannot be started. The message says why, in the broker's own words where it had any. */
export class EmbeddedBrokerError extends Error {
  override name = "EmbeddedBrokerError";
}

/** The wait before a broker that died is started again, in milliseconds: doubled from the first to the last. */
const restartDelayMs = { first: 100, last: 5_000 };

/** A broker that ran this long, in milliseconds, dies for the first time again. */
const steadyMs = 10_000;

/**
 * Starts a nats-server with JetStream on a free port of the loopback interface, and answers when it says that it is
 * ready. A broker that dies is restarted on the same data until {@link EmbeddedBroker.stop}. It ends with this process,
 * even when that is killed.
 *
 * @throws {EmbeddedBrokerError} when it does not start, and when another service runs on the same data directory.
 * @throws {ConfigError} when the data directory is open to other users of the machine.
 */
export async function startEmbeddedBroker(options: EmbeddedBrokerOptions): Promise<EmbeddedBroker> {
  const dataDir = await openDataDir(options.dataDir);
  const lock = takeLock(join(dataDir, "mustreach.lock"));
  if (typeof lock === "string") {
    throw new EmbeddedBrokerError(`the data directory ${dataDir} is in use by another Mustreach service (${lock})`);
  }
  try {
    return await startLocked(options, join(dataDir, "nats"), lock);
  } catch (error) {
    lock.release();
    throw error;
  }
}

async function startLocked(options: EmbeddedBrokerOptions, dir: string, lock: HeldLock): Promise<EmbeddedBroker> {
  const { binary, log } = options;
  const configPath = join(dir, "nats-server.conf");
  const pidPath = join(dir, "nats-server.pid");
  const stopping = new AbortController();

  await mkdir(dir, { recursive: true, mode: 0o700 });
  await stopLeftoverBroker(pidPath, configPath, log);

  let key = createClientKey();
  /** Where the last child listened that was ready. */
  let address = nowhere;
  const moveListeners = new Set<() => void>();
  const moved = () => {
    for (const listener of moveListeners) listener();
  };
  let broker = await launch();
  let startedAt = performance.now();
  const ended = await whenReady();
  if (ended !== undefined) {
    const said = broker.lastLines().join("\n") || "it said nothing";
    throw new EmbeddedBrokerError(`the embedded broker did not start (${ended}): ${said}`);
  }
  log.info({ broker: broker.name, version: binary.version, address }, "the embedded broker is ready");
  const kept = keepRunning();

  /** Writes the configuration and starts the broker on it. */
  async function launch(): Promise<BrokerProcess> {
    await writeConfig();
    const launched = spawnBroker(binary.path, configPath, log);
    // Not by the broker's own pid_file: with a full disk it would not start, and what is stored could not be read.
    await writeFile(pidPath, String(launched.pid), { mode: 0o600 }).catch((err: unknown) =>
      log.warn({ err }, "cannot note the process id of the embedded broker"),
    );
    return launched;
  }

  async function writeConfig(): Promise<void> {
    const config = {
      server_name: "mustreach",
      host: "127.0.0.1",
      // A free one, of the system's choice: the broker is asked for it when it listens.
      port: -1,
      max_payload: options.maxPayloadBytes,
      jetstream: {
        store_dir: join(dir, "store"),
        sync_interval: options.syncInterval ?? "always",
        // Its default, three quarters of the free disk, would be refused to streams whose limits add up to more.
        // Each stream has a limit of its own.
        max_file_store: Number.MAX_SAFE_INTEGER,
        // 2.15 allows 1,000 per stream unless told otherwise; earlier versions know neither limit nor setting.
        ...(isAtLeast(binary.version, "2.15.0") && { limits: { default_max_consumers: -1 } }),
      },
      // The system account lets ours read VARZ: how the service learns `sync_interval` from any broker.
      system_account: "SYS",
      accounts: {
        SYS: { exports: [{ service: varzSubject, response_type: "stream", accounts: ["MUSTREACH"] }] },
        MUSTREACH: {
          jetstream: "enabled",
          users: [{ nkey: key.publicKey }],
          imports: [{ service: { account: "SYS", subject: varzSubject } }],
        },
      },
    };
    await writeFile(configPath, JSON.stringify(config, null, 2), { mode: 0o600 });
  }

  /** Resolves with undefined when the broker accepts connections, or with how it ended before that. */
  async function whenReady(): Promise<string | undefined> {
    const since = performance.now();
    const telling = setInterval(() => {
      const waitedS = Math.round((performance.now() - since) / 1_000);
      log.info({ waitedS }, "the embedded broker is still reading its store");
    }, 10_000);
    const ended = await Promise.race([
      broker.exited,
      broker.ready.then((reported) => {
        address = reported;
      }),
    ]);
    clearInterval(telling);
    return ended ?? undefined;
  }

  async function keepRunning(): Promise<void> {
    for (let restartMs = restartDelayMs.first; ; ) {
      const ended = await broker.exited;
      moved();
      if (stopping.signal.aborted) return;
      if (performance.now() - startedAt > steadyMs) restartMs = restartDelayMs.first;
      log.error({ broker: broker.name, restartMs }, `the embedded broker ended unexpectedly (${ended}): restarting it`);
      await delay(restartMs, undefined, { signal: stopping.signal }).catch(() => {});
      if (stopping.signal.aborted) return;
      restartMs = Math.min(restartMs * 2, restartDelayMs.last);
      address = nowhere;
      key = createClientKey();
      broker = await launch();
      startedAt = performance.now();
      if ((await whenReady()) === undefined && !stopping.signal.aborted) {
        log.info({ broker: broker.name, address }, "the embedded broker is ready again");
        moved();
        options.onRestart?.();
      }
    }
  }

  const place = (): BrokerPlace => ({ address: broker.isRunning() ? address : nowhere, seed: key.seed });

  return {
    get url() {
      return `nats://${address}`;
    },
    place,
    onMove: (listener) => void moveListeners.add(listener),
    dial: dialTo(place),
    pid: () => broker.pid,
    stop: async () => {
      stopping.abort();
      await broker.stop();
      await kept;
      lock.release();
    },
  };
}
