import { access, readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";
import type { Fault } from "../deployment.ts";

/** An installation of the service. */
export interface Installation {
  readonly version: string;
  /** What Node is started with. */
  readonly program: string;
}

/** What can be of one installation and of another. */
export interface Replaceable {
  end(signal: "SIGTERM"): Promise<void>;
  /** What it is started with from the next start on. */
  use(program: string): void;
  start(): Promise<void>;
}

/** Where a checkout has it, an installed package, and a directory that a package is installed in. */
const places = [
  ["package.json", "src/main.ts"],
  ["package.json", "dist/main.js"],
  ["node_modules/mustreach/package.json", "node_modules/mustreach/dist/main.js"],
] as const;

const manifest = z.object({ name: z.literal("mustreach"), version: z.string() });

/**
 * Finds the installation of the service in a directory.
 *
 * @throws when there is none.
 */
export async function findInstallation(dir: string): Promise<Installation> {
  for (const [about, main] of places) {
    const program = resolve(dir, main);
    const text = await readFile(join(dir, about), "utf8").catch(() => "{}");
    const { data } = manifest.safeParse(JSON.parse(text));
    if (data === undefined) continue;
    const isThere = await access(program).then(
      () => true,
      () => false,
    );
    if (isThere) return { version: data.version, program };
  }
  throw new Error(`there is no mustreach in ${dir}: neither a checkout nor an installed package`);
}

/**
 * Replaces all instances by those of the next installation, one after the other, and each further time by those of the one
 * after: an upgrade and a way back, with two.
 *
 * @param maxMixedMs the longest pause between two instances: both versions serve meanwhile.
 */
export function versionFault(
  instances: readonly Replaceable[],
  installations: readonly Installation[],
  maxMixedMs = 4_000,
): Fault {
  let turn = 0;
  return {
    name: "all instances get another version, one after the other",
    hits: ["instances"],
    async happen(random) {
      turn++;
      const next = installations[turn % installations.length];
      if (next === undefined) return;
      for (const instance of instances) {
        await instance.end("SIGTERM");
        instance.use(next.program);
        await instance.start();
        await delay(random.between(0, maxMixedMs));
      }
    },
  };
}
