import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdir } from "node:fs/promises";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Order, Report } from "./command.ts";

/** A disk for the store of a broker, which can do badly. */
export interface Disk {
  /** Where it is mounted. */
  readonly dir: string;
  /** Lets files grow by so many bytes together, and refuses then; undefined for as much as they like. */
  limit(bytes?: number): Promise<void>;
  /** Makes each sync take from `min` to `max` milliseconds: 0 and 0 for none. */
  slow(times: { readonly min: number; readonly max: number; readonly seed: number }): Promise<void>;
  /** Makes all that is on it safe. */
  sync(): Promise<void>;
  /** Does nothing for so long, in milliseconds, and resolves after it. */
  hang(ms: number): Promise<void>;
  /** Forgets what was not synced, or a part of that; to be called when nobody uses it. Resolves with how many writes. */
  cut(seed: number): Promise<number>;
  /** Unmounts it. Its files are the caller's to remove. */
  remove(): Promise<void>;
}

/** Beside this file in the sources, and in what is built of them. */
const program = fileURLToPath(new URL(`./main${extname(import.meta.filename)}`, import.meta.url));

/** A command may take this long, in milliseconds, and a hang is one. */
const commandTimeoutMs = 30_000;

/**
 * Mounts a disk in a directory.
 *
 * @throws {Error} that says why not: without Linux, `/dev/fuse` and the right to mount there is none.
 */
export async function mountDisk(parent: string): Promise<Disk> {
  if (process.platform !== "linux") throw new Error("a disk of our own needs Linux");
  const [dir, files] = [join(parent, "disk"), join(parent, "disk-files")];
  for (const each of [dir, files]) await mkdir(each, { recursive: true });
  const child = fork(program, [dir, files], { execArgv: [], stdio: ["ignore", "ignore", "inherit", "ipc"] });
  const exited = once(child, "exit");
  const waiting = new Map<number, PromiseWithResolvers<number>>();
  const fail = (error: Error) => {
    for (const { reject } of waiting.values()) reject(error);
    waiting.clear();
  };
  child.on("message", (report: Report) => {
    const command = waiting.get(report.id);
    waiting.delete(report.id);
    if ("error" in report) command?.reject(new Error(report.error));
    else command?.resolve(report.value);
  });
  child.once("exit", () => fail(new Error("the disk has ended by itself")));
  child.once("error", fail);

  let lastId = 0;
  const tell = async (order: Order): Promise<number> => {
    const command = Promise.withResolvers<number>();
    const id = ++lastId;
    waiting.set(id, command);
    child.send({ ...order, id });
    const late = setTimeout(() => command.reject(new Error(`the disk did not ${order.do} in time`)), commandTimeoutMs);
    return command.promise.finally(() => clearTimeout(late));
  };
  const remove = async () => {
    if (child.connected) child.disconnect();
    await exited;
  };

  try {
    await tell({ do: "mount" });
  } catch (error) {
    await remove();
    throw error;
  }
  return {
    dir,
    async limit(bytes) {
      await tell({ do: "limit", ...(bytes === undefined ? {} : { bytes }) });
    },
    async slow(times) {
      await tell({ do: "slow", ...times });
    },
    async sync() {
      await tell({ do: "sync" });
    },
    async hang(ms) {
      await tell({ do: "hang", ms });
    },
    cut: (seed) => tell({ do: "cut", seed }),
    remove,
  };
}
