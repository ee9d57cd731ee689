import { createHash } from "node:crypto";
import { globSync } from "node:fs";
import { cp, mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { cache, root } from "../foreign/toolchain.ts";

const kept = join(cache, "clients");
/** How long a build that nobody runs is kept, in milliseconds. */
const keptMs = 7 * 86_400_000;

/** What a build is made of beside its tools: a change of any of it is another build. */
const sources = (name: string) => ["proto/**/*.proto", `clients/${name}/**/*.*`, "test/foreign/toolchain.ts"];

/**
 * Builds a client in a folder that has nothing but `proto/` and the client's own sources, unless the same was built
 * before. Resolves to the command that runs it, and its folder.
 *
 * @param versions those of its tools.
 * @param build builds in a folder, and resolves to the command.
 */
export async function buildOnce(
  name: string,
  versions: string,
  build: (dir: string) => Promise<readonly string[]>,
): Promise<{ command: readonly string[]; dir: string }> {
  const dir = join(kept, `${name}-${await hashOf(sources(name), versions)}`);
  const file = join(dir, "command.json");
  const built = await readFile(file, "utf8").catch(() => undefined);
  if (built !== undefined) {
    await utimes(dir, new Date(), new Date());
    return { command: JSON.parse(built), dir };
  }
  await removeOld(name);
  // In a folder of its own until it is whole, since another run may build the same.
  const draft = `${dir}.${process.pid}`;
  await rm(draft, { recursive: true, force: true });
  await mkdir(draft, { recursive: true });
  try {
    await cp(join(root, "proto"), join(draft, "proto"), { recursive: true });
    await cp(join(root, "clients", name), draft, { recursive: true });
    const command = (await build(draft)).map((word) => word.replaceAll(draft, dir));
    await writeFile(join(draft, "command.json"), JSON.stringify(command));
    await rename(draft, dir).catch((error) => {
      if (error.code !== "ENOTEMPTY") throw error;
    });
    return { command, dir };
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
}

async function hashOf(patterns: readonly string[], versions: string): Promise<string> {
  const hash = createHash("sha256").update(versions);
  for (const file of globSync(patterns, { cwd: root }).sort()) {
    if ((await stat(join(root, file))).isFile()) hash.update(file).update(await readFile(join(root, file)));
  }
  return hash.digest("hex").slice(0, 12);
}

async function removeOld(name: string): Promise<void> {
  for (const entry of await readdir(kept).catch(() => [])) {
    if (!entry.startsWith(`${name}-`)) continue;
    const { mtimeMs } = await stat(join(kept, entry));
    if (Date.now() - mtimeMs > keptMs) await rm(join(kept, entry), { recursive: true, force: true });
  }
}
