import { availableParallelism } from "node:os";
import { type Config, ConfigError } from "../config.ts";

/** Memory for waiting pushes that one worker needs, in bytes: the largest push must have room. */
const minPushBytes = 8_388_608;

/**
 * How many workers there are: as set, or as many as help on this machine; 1 is no process besides the one.
 *
 * @throws {ConfigError} when they cannot divide MUSTREACH_MAX_WAITING_PUSH_BYTES, or the system knows no such processes.
 */
export function workerCount(
  { workers, maxWaitingPushBytes }: Pick<Config, "workers" | "maxWaitingPushBytes">,
  { cores = availableParallelism(), platform = process.platform } = {},
): number {
  const most = platform === "win32" ? 1 : Math.floor(maxWaitingPushBytes / minPushBytes);
  if (workers === "auto") return Math.min(workersFor(cores), most);
  if (workers <= most) return workers;
  throw new ConfigError(
    platform === "win32"
      ? "MUSTREACH_WORKERS: on Windows there is one process: 1 or auto."
      : `MUSTREACH_WORKERS is ${workers}, but MUSTREACH_MAX_WAITING_PUSH_BYTES is enough for ${most}: each worker needs ${minPushBytes}.`,
  );
}

/**
 * How many help on a number of cores: the broker and the jobs need as much again as the doors, and more workers than
 * cores only divide what is written together into smaller groups (docs/decisions/workers-on-one-socket.md).
 */
function workersFor(cores: number): number {
  return Math.max(1, Math.floor(cores / 2));
}
