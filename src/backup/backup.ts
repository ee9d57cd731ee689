import { createHash } from "node:crypto";
import { mkdir, open, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Broker } from "../broker/connect.ts";
import { snapshotStream } from "../broker/snapshots/snapshot.ts";
import { listStreams } from "../broker/snapshots/streams.ts";
import { version } from "../version.ts";
import { BackupError, type Manifest, writeManifest } from "./manifest.ts";
import { inCopyOrder } from "./order.ts";

/** Tells how far it is, in a line. */
export type Tell = (line: string) => void;

interface BackupOptions {
  readonly dir: string;
  /** Whether a directory in which something is may be emptied first. */
  readonly force: boolean;
  readonly tell: Tell;
}

/**
 * Copies everything that Mustreach keeps in a broker into a directory, for its owner only. The service may run meanwhile.
 *
 * @throws {BackupError} for a directory in which something is, unless forced, and a broker without our streams. What
 * fails halfway leaves a directory without a manifest, which is no backup.
 */
export async function backUp(broker: Broker, { dir, force, tell }: BackupOptions): Promise<Manifest["streams"]> {
  const names = inCopyOrder(await listStreams(broker));
  if (names.length === 0) throw new BackupError("there is nothing to back up: the broker has no stream of Mustreach");
  await makeDir(dir, force);
  const createdAt = new Date().toISOString();
  const streams: Manifest["streams"] = [];
  for (const [index, name] of names.entries()) {
    const copied = await copy(broker, name, dir);
    streams.push(copied);
    tell(`${index + 1}/${names.length} ${name}: ${copied.state.messages} messages, ${copied.bytes} bytes`);
  }
  await writeManifest(dir, { version, broker: broker.nc.info?.version ?? "unknown", createdAt, streams });
  return streams;
}

async function makeDir(dir: string, force: boolean): Promise<void> {
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const entries = await readdir(dir);
  if (entries.length === 0) return;
  if (!force) throw new BackupError(`${dir} is not empty: give another directory, or --force to replace what is in it`);
  const foreign = entries.find((entry) => !/^(\w+\.snapshot|manifest\.json(\.draft)?)$/.test(entry));
  if (foreign !== undefined)
    throw new BackupError(`${dir} has a file that is of no backup, ${foreign}: give another directory`);
  // The manifest first: without it the others are none.
  for (const entry of entries.toSorted()) if (entry.startsWith("manifest")) await rm(join(dir, entry));
  for (const entry of entries) await rm(join(dir, entry), { force: true });
}

async function copy(broker: Broker, name: string, dir: string): Promise<Manifest["streams"][number]> {
  const fileName = `${name}.snapshot`;
  const hash = createHash("sha256");
  let bytes = 0;
  const file = await open(join(dir, fileName), "wx", 0o600);
  try {
    const copied = await snapshotStream(broker, name, async (part) => {
      hash.update(part);
      bytes += part.length;
      await file.write(part);
    });
    await file.sync();
    return { ...copied, file: fileName, bytes, sha256: hash.digest("hex") };
  } finally {
    await file.close();
  }
}
