import { createReadStream } from "node:fs";
import { join } from "node:path";
import type { Broker } from "../broker/connect.ts";
import { restoreStream } from "../broker/snapshots/restore.ts";
import { isConsumed, listStreams, removeStream } from "../broker/snapshots/streams.ts";
import type { Tell } from "./backup.ts";
import { BackupError, readManifest, requireWhole } from "./manifest.ts";
import { isKnown } from "./order.ts";

interface RestoreOptions {
  readonly dir: string;
  /** Whether what the broker has of Mustreach may be removed first. */
  readonly force: boolean;
  /** Copies of each stream; those of the streams of the backup may be more than this broker has servers. */
  readonly replicas: number;
  readonly tell: Tell;
}

/** What a restored stream is sent in, in bytes: any broker takes messages of that size. */
const partBytes = 65_536;

/**
 * Makes the streams of a backup in a broker, with their sequences and times. What was not in the backup is gone: the
 * next start of the service begins an epoch there, by which devices that are further are told of a gap.
 *
 * @throws {BackupError} for a backup that is not whole, while instances run, and, unless forced, where the broker has
 * streams of Mustreach. Nothing is removed before all of it was looked at.
 */
export async function restore(broker: Broker, { dir, force, replicas, tell }: RestoreOptions): Promise<number> {
  const manifest = await readManifest(dir);
  await requireWhole(dir, manifest);
  const existing = (await listStreams(broker)).filter(isKnown);
  for (const name of existing) {
    // Under them, sequences would go back without a new epoch.
    if (await isConsumed(broker, name))
      throw new BackupError("the service runs on this broker: stop all instances first");
  }
  if (existing.length > 0 && !force) {
    throw new BackupError(
      `the broker has ${existing.join(", ")} already: give --force to replace them with the backup, and lose what is in them`,
    );
  }
  for (const name of existing) await removeStream(broker, name);
  const { streams } = manifest;
  for (const [index, { file, config, ...copy }] of streams.entries()) {
    const parts = createReadStream(join(dir, file), { highWaterMark: partBytes });
    await restoreStream(broker, { ...copy, config: { ...config, num_replicas: replicas } }, parts);
    tell(`${index + 1}/${streams.length} ${config.name}: ${copy.state.messages} messages`);
  }
  return streams.length;
}
