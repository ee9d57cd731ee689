import { randomInt } from "node:crypto";
import { cp, mkdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { pino } from "pino";
import { varzSubject } from "../../broker/subjects.ts";
import { findNatsServer } from "../../embedded/find.ts";
import { type BrokerProcess, spawnBroker } from "../../embedded/process.ts";
import type { Disk } from "../disk/disk.ts";

/** A nats-server of ours, which may be down. */
export interface Broker {
  readonly name: string;
  readonly port: number;
  /** Ends it as a crash does. */
  kill(): Promise<void>;
  /** Starts it on its address and data, and resolves when it takes connections. */
  start(): Promise<void>;
  /** Stops all that it does, and ends nothing: as a machine that swaps, or is moved. */
  freeze(): void;
  thaw(): void;
  /**
   * Puts a copy of its store, made at this moment, in the place of the store: as a power cut that loses what was written
   * since, and not yet acknowledged. It is down then.
   */
  crashToCopy(): Promise<void>;
}

/** One nats-server that syncs each write, or three that replicate to each other. */
export interface Brokers {
  readonly nodes: readonly Broker[];
  stop(): Promise<void>;
}

/** How long a broker may take to come up, in milliseconds. */
const startTimeoutMs = 30_000;

const account = {
  jetstream: "enabled",
  users: [{ user: "verify", password: "verify" }],
  imports: [{ service: { account: "SYS", subject: varzSubject } }],
};
const system = {
  exports: [{ service: varzSubject, response_type: "stream", accounts: ["MUSTREACH"] }],
};

/** Starts them in a directory, one on a disk of its own if there is one. */
export async function startBrokers(count: 1 | 3, dir: string, disk?: Disk): Promise<Brokers> {
  const log = pino({ level: "silent" });
  const { path } = await findNatsServer({ log });
  // In a row, and below the range of outgoing connections: one of those could be given the port while a node restarts.
  const base = randomInt(10_240, 32_000);
  const routePort = (node: number) => base + count + node;
  const routes = Array.from({ length: count }, (_, node) => `nats://127.0.0.1:${routePort(node)}`);

  const create = async (node: number): Promise<Broker & { end(): Promise<void> }> => {
    const own = join(dir, `broker-${node}`);
    const data = disk?.dir ?? own;
    const store = join(data, "store");
    for (const each of [own, store]) await mkdir(each, { recursive: true });
    const configPath = join(own, "nats-server.conf");
    const cluster = {
      name: "verify",
      listen: `127.0.0.1:${routePort(node)}`,
      routes: routes.filter((_, other) => other !== node),
      // Clients would go around what disturbs them.
      no_advertise: true,
    };
    const config = {
      server_name: `node-${node}`,
      host: "127.0.0.1",
      port: base + node,
      ...(count === 1 ? {} : { cluster }),
      jetstream: {
        store_dir: store,
        max_file_store: Number.MAX_SAFE_INTEGER,
        ...(count === 1 ? { sync_interval: "always" } : {}),
      },
      no_auth_user: "verify",
      system_account: "SYS",
      accounts: { SYS: system, MUSTREACH: account },
    };
    await writeFile(configPath, JSON.stringify(config));
    let broker: BrokerProcess | undefined;
    const signal = (name: NodeJS.Signals) => {
      if (broker?.isRunning()) process.kill(broker.pid, name);
    };
    const kill = async () => {
      signal("SIGKILL");
      await broker?.exited;
    };
    return {
      name: count === 1 ? "the broker" : `node ${node}`,
      port: base + node,
      kill,
      async start() {
        const started = spawnBroker(path, configPath, log);
        broker = started;
        const late = delay(startTimeoutMs, undefined, { ref: false }).then(() => "no answer");
        const how = await Promise.race([started.ready.then(() => undefined), started.exited, late]);
        if (how !== undefined) throw new Error(`a broker did not start (${how}): ${started.lastLines().join("\n")}`);
      },
      freeze: () => signal("SIGSTOP"),
      thaw: () => signal("SIGCONT"),
      async crashToCopy() {
        const copy = join(data, "copy");
        signal("SIGSTOP");
        await cp(store, copy, { recursive: true });
        await kill();
        await rm(store, { recursive: true });
        await rename(copy, store);
        await disk?.sync();
      },
      async end() {
        signal("SIGCONT");
        await broker?.stop();
      },
    };
  };

  const nodes = await Promise.all(Array.from({ length: count }, (_, node) => create(node)));
  const stop = async () => {
    await Promise.all(nodes.map((node) => node.end()));
  };
  try {
    await Promise.all(nodes.map((node) => node.start()));
  } catch (error) {
    await stop();
    throw error;
  }
  return { nodes, stop };
}
