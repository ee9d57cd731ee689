import { Command } from "commander";
import { loadConfig } from "../config.ts";
import { print } from "./print.ts";

interface BackupFlags {
  readonly force?: boolean;
}

const tell = (line: string) => void process.stderr.write(`${line}\n`);

/** `backup`: copies what the broker keeps into a directory. */
export function backupCommand(): Command {
  return new Command("backup")
    .description(
      "copy everything that is stored into a directory, while the service runs on MUSTREACH_NATS_URL, or is stopped with an embedded broker",
    )
    .argument("<dir>", "where to; it must be empty")
    .option("--force", "replace the backup that is there")
    .action(async (dir: string, { force = false }: BackupFlags) => {
      const { config, log, useBroker } = await open();
      const { backUp } = await import("../backup/backup.ts");
      const streams = await useBroker(config, log, (broker) => backUp(broker, { dir, force, tell }));
      const sum = (of: (stream: (typeof streams)[number]) => number) => streams.reduce((all, one) => all + of(one), 0);
      print({
        streams: streams.length,
        messages: sum(({ state }) => state.messages),
        bytes: sum(({ bytes }) => bytes),
      });
    });
}

/** `restore`: makes the streams of a backup. */
export function restoreCommand(): Command {
  return new Command("restore")
    .description("put a backup back into an empty broker, while no instance of the service runs")
    .argument("<dir>", "the backup")
    .option("--force", "remove what is stored there first")
    .action(async (dir: string, { force = false }: BackupFlags) => {
      const { config, log, useBroker } = await open();
      const { restore } = await import("../backup/restore.ts");
      const { replicas } = config;
      const streams = await useBroker(config, log, (broker) => restore(broker, { dir, force, replicas, tell }));
      print({ streams });
    });
}

/** Loaded here: the other commands do without. */
async function open() {
  const { useBroker } = await import("../backup/open-broker.ts");
  const { createLog } = await import("../observe/log.ts");
  return { config: loadConfig(process.env), log: createLog("error"), useBroker };
}
