import { randomBytes, randomInt } from "node:crypto";
import { mkdir, realpath, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { connect } from "@nats-io/transport-node";
import type { BaseLogger } from "pino";
import { type BrokerProcess, spawnBroker, stopLeftoverBroker } from "./broker-process.ts";
import { type HeldLock, takeLock } from "./data-lock.ts";
import { isAtLeast, type NatsServer } from "./server-inspect.ts";
import { varzSubject } from "./subjects.ts";

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
  /** Address and credentials: new ones for each call of {@link startEmbeddedBroker}, kept when the broker restarts. */
  readonly url: string;
  readonly user: string;
  readonly pass: string;
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
 * Starts a nats-server with JetStream on the loopback interface, and answers when it accepts connections. A broker
 * that dies is restarted on the same address and data until {@link EmbeddedBroker.stop}. It ends with this process,
 * even when that is killed.
 *
 * @throws {EmbeddedBrokerError} when it does not start, and when another service runs on the same data directory.
 */
export async function startEmbeddedBroker(options: EmbeddedBrokerOptions): Promise<EmbeddedBroker> {
  await mkdir(options.dataDir, { recursive: true });
  const dataDir = await realpath(options.dataDir);
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
  const user = "mustreach";
  const pass = randomBytes(24).toString("base64url");
  const stopping = new AbortController();

  await mkdir(dir, { recursive: true, mode: 0o700 });
  await stopLeftoverBroker(pidPath, configPath, log);

  let { broker, port } = await launchOnFreePort();
  let startedAt = performance.now();
  log.info({ broker: broker.name, version: binary.version, port }, "the embedded broker is ready");
  const kept = keepRunning();

  async function launchOnFreePort(): Promise<{ broker: BrokerProcess; port: number }> {
    for (let tries = 1; ; tries++) {
      // Below the range from which systems take the ports of outgoing connections: a client that reconnects while the
      // broker is down could otherwise be given the broker's own port, and even connect to itself.
      const port = randomInt(10_240, 32_768);
      await writeFile(configPath, JSON.stringify(brokerConfig(port), null, 2), { mode: 0o600 });
      const broker = spawnBroker(binary.path, configPath, log);
      const ended = await whenReady(broker, port);
      if (ended === undefined) return { broker, port };
      const lines = broker.lastLines().join("\n");
      if (tries === 20 || !lines.includes("address already in use")) {
        throw new EmbeddedBrokerError(`the embedded broker did not start (${ended}): ${lines || "it said nothing"}`);
      }
    }
  }

  function brokerConfig(port: number) {
    return {
      server_name: "mustreach",
      host: "127.0.0.1",
      port,
      max_payload: options.maxPayloadBytes,
      pid_file: pidPath,
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
          users: [{ user, password: pass }],
          imports: [{ service: { account: "SYS", subject: varzSubject } }],
        },
      },
    };
  }

  /** Resolves with undefined when the broker serves a client, or with how it ended before that. */
  async function whenReady(broker: BrokerProcess, port: number): Promise<string | undefined> {
    const waiting = new AbortController();
    try {
      return await Promise.race([broker.exited, whenAnswering(port, waiting.signal)]);
    } finally {
      waiting.abort();
    }
  }

  async function whenAnswering(port: number, signal: AbortSignal): Promise<undefined> {
    const servers = `127.0.0.1:${port}`;
    const since = performance.now();
    for (let toldS = 0; !signal.aborted; ) {
      try {
        const connection = await connect({ servers, user, pass, reconnect: false, timeout: 2_000 });
        return await connection.close().then(() => undefined);
      } catch {
        const waitedS = Math.floor((performance.now() - since) / 10_000) * 10;
        if (waitedS > toldS) log.info({ waitedS }, "the embedded broker is still reading its store");
        toldS = waitedS;
        await delay(10);
      }
    }
  }

  async function keepRunning(): Promise<void> {
    for (let restartMs = restartDelayMs.first; ; ) {
      const ended = await broker.exited;
      if (stopping.signal.aborted) return;
      if (performance.now() - startedAt > steadyMs) restartMs = restartDelayMs.first;
      log.error({ broker: broker.name, restartMs }, `the embedded broker ended unexpectedly (${ended}): restarting it`);
      await delay(restartMs, undefined, { signal: stopping.signal }).catch(() => {});
      if (stopping.signal.aborted) return;
      restartMs = Math.min(restartMs * 2, restartDelayMs.last);
      broker = spawnBroker(binary.path, configPath, log);
      startedAt = performance.now();
      if ((await whenReady(broker, port)) === undefined && !stopping.signal.aborted) {
        log.info({ broker: broker.name }, "the embedded broker is ready again");
        options.onRestart?.();
      }
    }
  }

  return {
    url: `nats://127.0.0.1:${port}`,
    user,
    pass,
    pid: () => broker.pid,
    stop: async () => {
      stopping.abort();
      await broker.stop();
      await kept;
      lock.release();
    },
  };
}
