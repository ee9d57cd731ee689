import { randomInt } from "node:crypto";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { jetstreamManager } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";
import { pino } from "pino";
import { findNatsServer } from "../../src/embedded/find.ts";
import { type BrokerProcess, spawnBroker } from "../../src/embedded/process.ts";

/** Three nats-servers that replicate to each other. */
export interface Cluster {
  /** The address of each node. */
  readonly urls: readonly [string, string, string];
  /** The node that leads a stream. */
  leaderOf(stream: string): Promise<number>;
  /** Kills a node; it does not come back. */
  kill(node: number): Promise<void>;
  /** Ends all nodes and removes their data. */
  remove(): Promise<void>;
}

const varz = "$SYS.REQ.SERVER.PING.VARZ";

/** Starts a cluster in a new temporary directory, and resolves when it takes a stream of three replicas. */
export async function startCluster(): Promise<Cluster> {
  const log = pino({ level: "silent" });
  const binary = await findNatsServer({ log });
  const dir = await mkdtemp(join(tmpdir(), "mustreach-cluster-"));
  // Six ports in a row, below the range of outgoing connections.
  const base = randomInt(10_240, 32_000);
  const routes = [0, 1, 2].map((node) => `nats://127.0.0.1:${base + 3 + node}`);

  const startNode = async (node: number): Promise<BrokerProcess> => {
    const own = join(dir, String(node));
    await mkdir(own, { recursive: true });
    const config = {
      server_name: `node-${node}`,
      host: "127.0.0.1",
      port: base + node,
      cluster: { name: "test", listen: `127.0.0.1:${base + 3 + node}`, routes },
      jetstream: { store_dir: own, max_file_store: Number.MAX_SAFE_INTEGER },
      no_auth_user: "anyone",
      system_account: "SYS",
      accounts: {
        SYS: { exports: [{ service: varz, response_type: "stream", accounts: ["MUSTREACH"] }] },
        MUSTREACH: {
          jetstream: "enabled",
          users: [{ user: "anyone", password: "anyone" }],
          imports: [{ service: { account: "SYS", subject: varz } }],
        },
      },
    };
    const configPath = join(own, "nats-server.conf");
    await writeFile(configPath, JSON.stringify(config));
    return spawnBroker(binary.path, configPath, log);
  };

  const nodes = await Promise.all([0, 1, 2].map(startNode));
  for (const node of [0, 1, 2]) await whenLed(base + node, nodes[node]);
  return {
    urls: [`nats://127.0.0.1:${base}`, `nats://127.0.0.1:${base + 1}`, `nats://127.0.0.1:${base + 2}`],
    async leaderOf(stream) {
      const nc = await connect({ servers: nodes.map((_, node) => `127.0.0.1:${base + node}`) });
      try {
        const { cluster } = await (await jetstreamManager(nc)).streams.info(stream);
        return Number(cluster?.leader?.replace("node-", ""));
      } finally {
        await nc.close();
      }
    },
    async kill(node) {
      const killed = nodes[node];
      if (killed === undefined) throw new Error("there is no such node");
      process.kill(killed.pid, "SIGKILL");
      await killed.exited;
    },
    async remove() {
      await Promise.all(nodes.map((node) => node.stop()));
      await rm(dir, { recursive: true, force: true });
    },
  };
}

/** Resolves when a node answers for JetStream, and can have a stream on all three. */
async function whenLed(port: number, node: BrokerProcess | undefined): Promise<void> {
  let ended: string | undefined;
  void node?.exited.then((how) => {
    ended = how;
  });
  for (;;) {
    if (ended !== undefined) throw new Error(`a node ended (${ended}): ${node?.lastLines().join("\n")}`);
    try {
      const nc = await connect({ servers: `127.0.0.1:${port}`, reconnect: false, timeout: 2_000 });
      try {
        const { streams } = await jetstreamManager(nc, { timeout: 500 });
        // It has a leader, to which a node that has just come may still be unknown.
        await streams.add({ name: "READY", subjects: ["ready"], num_replicas: 3 });
        await streams.delete("READY");
        return;
      } finally {
        await nc.close();
      }
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}
