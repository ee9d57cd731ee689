import { spawn } from "node:child_process";
import { extname } from "node:path";
import { createInterface } from "node:readline";
import { finished } from "node:stream/promises";
import { fileURLToPath } from "node:url";
import type { Logger } from "pino";
import { forwardLine } from "../observe/log.ts";
import type { PrimaryCalls, WorkerCalls } from "./calls.ts";
import { createLink, type Link } from "./link.ts";

/** A process that serves. */
export interface WorkerProcess extends Link<WorkerCalls> {
  readonly pid: number;
  /** How it ended: `exit code 1`, `signal SIGKILL`. Never rejects. */
  readonly exited: Promise<string>;
  /** Ends it, whatever it does. */
  kill(): void;
  /** Lets one that has drained end. */
  release(): void;
}

export interface SpawnOptions {
  /** Which one it is, in its lines of the log. */
  readonly worker: number;
  /** The descriptor of the port. */
  readonly portFd: number;
  /** What it can ask of us. */
  readonly calls: PrimaryCalls;
  readonly log: Logger;
}

/** The descriptor that a worker has the port by. */
export const workerPortFd = 5;

/**
 * Becomes the worker, after it has left a watchdog behind: that one waits on a pipe whose other end only the primary
 * holds. A line on it means that the worker has ended. Its end means that the primary has, however it did: a worker sees
 * that itself, but not one whose event loop is stuck, and it would keep the port.
 */
const script = `
( read -r line <&4 && exit
  kill -KILL $$
) >/dev/null 2>&1 3<&- 5<&- &
exec 4<&-
exec "$0" "$@"`;

const program = fileURLToPath(new URL(`./worker${extname(import.meta.filename)}`, import.meta.url));

/** Starts the process of a worker. Its log goes to ours. */
export function spawnWorker({ worker, portFd, calls, log }: SpawnOptions): WorkerProcess {
  const child = spawn("/bin/sh", ["-c", script, process.execPath, ...memoryLimits(), program, String(worker)], {
    env: environment(),
    // Keeps bytes as such.
    serialization: "advanced",
    stdio: ["ignore", "ignore", "pipe", "ipc", "pipe", portFd],
  });
  const watchdog = child.stdio[4];
  const { pid = 0, stderr } = child;
  if (stderr === null || watchdog === null || watchdog === undefined || !("write" in watchdog)) {
    throw new Error("the pipes that were asked for are not there");
  }
  // The watchdog may be gone first, when someone has killed the whole process group.
  watchdog.on("error", () => {});
  createInterface({ input: stderr }).on("line", (line) => {
    if (line.startsWith("{")) forwardLine(log, line);
    // Node's own last words.
    else if (line !== "") log.error({ worker }, line);
  });
  // By then its last lines have been read. Not "close", which does not come when we were the first to disconnect.
  const hasSaidAll = finished(stderr).catch(() => {});
  const exited = new Promise<string>((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("exit", (code, signal) => {
      watchdog.end("ended\n");
      void hasSaidAll.then(() => resolve(signal === null ? `exit code ${code}` : `signal ${signal}`));
    });
  });
  return {
    pid,
    exited,
    ...createLink<PrimaryCalls, WorkerCalls>(child, calls),
    kill: () => void child.kill("SIGKILL"),
    release: () => {
      if (child.connected) child.disconnect();
    },
  };
}

/** Our settings, with the secrets among them, come over the channel. */
function environment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("MUSTREACH_")));
}

/** Node's own options for memory, when we were started with any. Others are inherited by NODE_OPTIONS. */
function memoryLimits(): string[] {
  return process.execArgv.filter((argument) => argument.startsWith("--max-"));
}
