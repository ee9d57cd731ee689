import { randomInt } from "node:crypto";
import { cp, mkdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { pino } from "pino";
import { varzSubject } from "../../broker/subjects.ts";
import { findNatsServer } from "../../embedded/find.ts";
import { type BrokerProcess, spawnBroker } from "../../embedded/process.ts";
import type { Disk } from "../disk/disk.ts";
import { type Link, openLink } from "./link.ts";

/** A nats-server of ours, which may be down. */
export interface Broker {
  readonly name: string;
  /** What it calls itself to the others. */
  readonly serverName: string;
  readonly port: number;
  /** Asks it to end, and resolves when it has. */
  end(): Promise<void>;
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

/** The way of two nodes of a cluster to each other, by their names. */
export interface Route {
  readonly between: readonly string[];
  readonly link: Link;
}

/** One nats-server that syncs each write, or three that replicate to each other. */
export interface Brokers {
  readonly nodes: readonly Broker[];
  /** The ways of the nodes to each other, if they lead over links. */
  readonly routes: readonly Route[];
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

/** Nobody listens there: nodes that tell each other where they are do not find ways around links. */
const nowhere = "127.0.0.1:1";

/** Options of {@link startBrokers}. */
export interface BrokersOptions {
  /** Whether the nodes of a cluster reach each other over links only. Default false. */
  readonly links?: boolean;
  /** That of the only broker. Default: it writes into the directory. */
  readonly disk?: Disk | undefined;
  /** The file that gets what they log, anew. Default: none. */
  readonly logFile?: string | undefined;
}

/** Starts them in a directory. */
export async function startBrokers(
  count: 1 | 3,
  dir: string,
  { links = false, disk, logFile }: BrokersOptions = {},
): Promise<Brokers> {
  const log =
    logFile === undefined
      ? pino({ level: "silent" })
      : pino({ level: "debug" }, pino.destination({ dest: logFile, append: false }));
  const { path } = await findNatsServer({ log });
  // In a row, and below the range of outgoing connections: one of those could be given the port while a node restarts.
  const base = randomInt(10_240, 32_000);
  const routePort = (node: number) => base + count + node;
  const nameOf = (node: number) => (count === 1 ? "the broker" : `node ${node}`);
  /** Each node dials the next, and is dialled by the one before it: a route for each two of three. */
  const nextTo = (node: number) => (node + 1) % count;
  const numbers = Array.from({ length: count }, (_, node) => node);
  const routes = await Promise.all(
    (links && count > 1 ? numbers : []).map(async (node) => ({
      between: [nameOf(node), nameOf(nextTo(node))],
      link: await openLink(routePort(nextTo(node))),
    })),
  );

  const create = async (node: number): Promise<Broker> => {
    const own = join(dir, `broker-${node}`);
    const data = disk?.dir ?? own;
    const store = join(data, "store");
    for (const each of [own, store]) await mkdir(each, { recursive: true });
    const configPath = join(own, "nats-server.conf");
    const serverName = `node-${node}`;
    const cluster = {
      name: "verify",
      listen: `127.0.0.1:${routePort(node)}`,
      routes: [`nats://127.0.0.1:${routes[node]?.link.port ?? routePort(nextTo(node))}`],
      ...(links && { advertise: nowhere }),
      // Clients would go around what disturbs them.
      no_advertise: true,
    };
    const config = {
      server_name: serverName,
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
      name: nameOf(node),
      serverName,
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

  const nodes = await Promise.all(numbers.map(create));
  const stop = async () => {
    await Promise.all(nodes.map((node) => node.end()));
    await Promise.all(routes.map(({ link }) => link.close()));
  };
  try {
    await Promise.all(nodes.map((node) => node.start()));
  } catch (error) {
    await stop();
    throw error;
  }
  return { nodes, routes, stop };
}
