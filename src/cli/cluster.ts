import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { Command } from "commander";

/** `cluster`: three nats-servers on this machine, to try out what a cluster does. */
export function clusterCommand(): Command {
  return new Command("cluster")
    .description("run a cluster of three nats-servers on this machine, to try it out, until Ctrl-C")
    .option("--dir <dir>", "where they keep what is stored (default: a new directory, which goes with them)")
    .action(async ({ dir }: { dir?: string }) => {
      // Loaded here: the other commands do without.
      const { startBrokers } = await import("../verify/own/brokers.ts");
      const signals = ["SIGINT", "SIGTERM"] as const;
      const stopping = Promise.race(signals.map((name) => new Promise((end) => process.once(name, end))));
      const own = dir === undefined ? await mkdtemp(join(tmpdir(), "mustreach-cluster-")) : resolve(dir);
      try {
        const brokers = await startBrokers(3, own);
        const urls = brokers.nodes.map(({ port }) => `nats://127.0.0.1:${port}`);
        process.stdout.write(`MUSTREACH_NATS_URL=${urls.join(",")} MUSTREACH_REPLICAS=3\n`);
        await stopping;
        await brokers.stop();
      } finally {
        if (dir === undefined) await rm(own, { recursive: true, force: true });
      }
      process.exit();
    });
}
