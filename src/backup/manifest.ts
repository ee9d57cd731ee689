import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { open, readFile, rename } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { streamCopy } from "../broker/snapshots/snapshot.ts";

/** The form of a backup that is written; others are not read. */
const format = 1;

const manifestFile = "manifest.json";

const manifest = z.object({
  format: z.literal(format),
  /** The version of Mustreach, of the broker, and when it was begun. */
  version: z.string(),
  broker: z.string(),
  createdAt: z.string(),
  /** In the order in which they were copied. */
  streams: z.array(
    z.object({
      ...streamCopy.shape,
      // It is joined to the directory.
      file: z.string().regex(/^\w+\.snapshot$/),
      bytes: z.number(),
      sha256: z.string(),
    }),
  ),
});

/** What a backup is: its last file, without which it is none. */
export type Manifest = z.infer<typeof manifest>;

/** A backup that cannot be used. */
export class BackupError extends Error {
  override name = "BackupError";
}

/** Ends a backup: it is one when this resolves, and none before. */
export async function writeManifest(dir: string, contents: Omit<Manifest, "format">): Promise<void> {
  const draft = join(dir, `${manifestFile}.draft`);
  const file = await open(draft, "w", 0o600);
  try {
    await file.writeFile(`${JSON.stringify({ format, ...contents }, undefined, 2)}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(draft, join(dir, manifestFile));
  const entries = await open(dir, "r");
  await entries.sync().finally(() => entries.close());
}

/**
 * Reads what a backup holds.
 *
 * @throws {BackupError} for a directory that holds none, or one of another form.
 */
export async function readManifest(dir: string): Promise<Manifest> {
  const text = await readFile(join(dir, manifestFile), "utf8").catch((cause: unknown) => {
    throw new BackupError(`${dir} holds no whole backup: it has no readable ${manifestFile}`, { cause });
  });
  try {
    return manifest.parse(JSON.parse(text));
  } catch (cause) {
    throw new BackupError(`${join(dir, manifestFile)} is not of a backup that this version reads`, { cause });
  }
}

/**
 * Compares the files of a backup with their checksums.
 *
 * @throws {BackupError} for the first that is not as it was written.
 */
export async function requireWhole(dir: string, { streams }: Manifest): Promise<void> {
  for (const { file, bytes, sha256 } of streams) {
    const hash = createHash("sha256");
    let size = 0;
    try {
      for await (const part of createReadStream(join(dir, file))) {
        hash.update(part);
        size += part.length;
      }
    } catch (cause) {
      throw new BackupError(`${join(dir, file)} cannot be read`, { cause });
    }
    if (size === bytes && hash.digest("hex") === sha256) continue;
    throw new BackupError(`${join(dir, file)} is not as it was written: its checksum differs`);
  }
}
