import { rename, writeFile } from "node:fs/promises";
import { extname } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

/** The clock of an instance and its workers. */
export interface Clock {
  /** What its Node is started with. */
  readonly nodeOptions: readonly string[];
  /** Sets it wrong by so many milliseconds, forwards or backwards; 0 sets it right. */
  shift(ms: number): Promise<void>;
}

const preload = fileURLToPath(new URL(`./shifted-clock${extname(import.meta.filename)}`, import.meta.url));

/** A clock that is right; `path` is where it is said how wrong it is. */
export function createClock(path: string): Clock {
  const url = pathToFileURL(preload);
  url.searchParams.set("file", path);
  return {
    nodeOptions: ["--import", url.href],
    async shift(ms) {
      await writeFile(`${path}.new`, String(ms));
      await rename(`${path}.new`, path);
    },
  };
}
