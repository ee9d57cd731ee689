import { randomInt, randomUUID } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect, type NatsConnection } from "@nats-io/transport-node";
import { pino } from "pino";
import { findNatsServer } from "../../src/embedded/find.ts";
import { spawnBroker } from "../../src/embedded/process.ts";

/** Options of {@link startExternalBroker}. */
export interface ExternalBrokerOptions {
  /** When writes are synced: `always`, or every so often, as `2m`. Default: `always`. */
  readonly syncInterval?: string;
  /** Where its data is. Default: in its directory. */
  readonly storeDir?: string;
  /** Whether clients may ask for the broker's configuration. Default: true. */
  readonly varz?: boolean;
  /** The password of the user `anyone`. Default: none is asked for. */
  readonly password?: string;
  /** Where it listens. Default: a free port. */
  readonly port?: number;
  /** Whether the account may store in memory. Default: true. */
  readonly memory?: boolean;
  /** Whether it tells of itself over HTTP: see {@link ExternalBroker.subscriptions}. Default: false. */
  readonly monitored?: boolean;
  /** Limits of the account in JetStream. Default: none. */
  readonly limits?: Readonly<Record<string, number>>;
  /** What users besides `anyone` may, by their names, which are their passwords too. Default: there are none. */
  readonly permissions?: Readonly<Record<string, object>>;
}

/** A nats-server as an operator would run it: no service's child, no credentials, JetStream on the default account. */
export interface ExternalBroker {
  readonly url: string;
  readonly port: number;
  /** The process id, another after a {@link resume}. */
  readonly pid: number;
  /** Where its data is. */
  readonly storeDir: string;
  /** How many subscriptions its clients and itself have, of a broker that is `monitored`. */
  subscriptions(): Promise<number>;
  /** Opens a connection, which is closed with the broker. */
  connect(): Promise<NatsConnection>;
  /** Kills the broker; {@link resume} starts it again on its address and data. */
  pause(): Promise<void>;
  /** With another password, if given. */
  resume(password?: string): Promise<void>;
  /** Ends the broker and removes its data. */
  remove(): Promise<void>;
}

const varz = "$SYS.REQ.SERVER.PING.VARZ";

/** Starts a nats-server in a new temporary directory. */
export async function startExternalBroker(options: ExternalBrokerOptions = {}): Promise<ExternalBroker> {
  const log = pino({ level: "silent" });
  const binary = await findNatsServer({ log });
  const dir = await mkdtemp(join(tmpdir(), "mustreach-broker-"));
  const storeDir = options.storeDir ?? join(dir, "store");
  const configPath = join(dir, "nats-server.conf");
  const connections: NatsConnection[] = [];
  let { password } = options;

  const name = randomUUID();
  const config = (port: number) => ({
    host: "127.0.0.1",
    port,
    ...(options.monitored === true && { http: `127.0.0.1:${port + 1}` }),
    server_name: name,
    jetstream: {
      store_dir: storeDir,
      sync_interval: options.syncInterval ?? "always",
      max_file_store: Number.MAX_SAFE_INTEGER,
    },
    ...(password === undefined ? { no_auth_user: "anyone" } : {}),
    system_account: "SYS",
    accounts: {
      PLAIN: { users: [{ user: "plain", password: "plain" }] },
      SYS:
        options.varz === false
          ? {}
          : { exports: [{ service: varz, response_type: "stream", accounts: ["MUSTREACH"] }] },
      MUSTREACH: {
        jetstream: options.limits ?? (options.memory === false ? { max_mem: 0, max_file: 1_073_741_824 } : "enabled"),
        users: [
          { user: "anyone", password: password ?? "anyone" },
          ...Object.entries(options.permissions ?? {}).map(([user, permissions]) => ({
            user,
            password: user,
            permissions,
          })),
        ],
        imports: options.varz === false ? [] : [{ service: { account: "SYS", subject: varz } }],
      },
    },
  });

  const credentials = () => (password === undefined ? {} : { user: "anyone", pass: password });

  const launch = async (port: number) => {
    await writeFile(configPath, JSON.stringify(config(port)));
    const broker = spawnBroker(binary.path, configPath, log);
    let ended: string | undefined;
    void broker.exited.then((how) => {
      ended = how;
    });
    for (;;) {
      try {
        const options = { servers: `127.0.0.1:${port}`, reconnect: false, timeout: 2_000, ...credentials() };
        const connection = await connect(options);
        const isOurs = connection.info?.server_name === name;
        await connection.close();
        // Else another test's was there before.
        if (isOurs) return broker;
        throw new Error(`port ${port} is taken`);
      } catch {
        if (ended !== undefined) throw new Error(`the broker ended (${ended}): ${broker.lastLines().join("\n")}`);
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    }
  };

  // Below the range of outgoing connections: one of those could be given the broker's port while it restarts.
  const anyPort = () => randomInt(10_240, 32_768);
  let port = options.port ?? anyPort();
  let broker = await launch(port).catch((error: Error) => {
    if (options.port !== undefined || !error.message.includes("address already in use")) throw error;
    port = anyPort();
    return launch(port);
  });
  return {
    url: `nats://127.0.0.1:${port}`,
    port,
    get pid() {
      return broker.pid;
    },
    storeDir,
    async subscriptions() {
      const response = await fetch(`http://127.0.0.1:${port + 1}/subsz`);
      const { num_subscriptions: count } = (await response.json()) as { num_subscriptions: number };
      return count;
    },
    async connect() {
      const connection = await connect({ servers: `127.0.0.1:${port}`, ...credentials() });
      connections.push(connection);
      return connection;
    },
    async pause() {
      process.kill(broker.pid, "SIGKILL");
      await broker.exited;
    },
    async resume(changed) {
      password = changed ?? password;
      broker = await launch(port);
    },
    async remove() {
      await Promise.all(connections.map((connection) => connection.close()));
      await broker.stop();
      await rm(dir, { recursive: true, force: true });
    },
  };
}
