import { execFile, spawn } from "node:child_process";
import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import type { BaseLogger } from "pino";

/** A nats-server process of ours. */
export interface BrokerProcess {
  readonly pid: number;
  /** How the log calls it. */
  readonly name: string;
  /** Whether it has not ended, as far as the system has told us. */
  isRunning(): boolean;
  /** Resolves with the address that it accepts connections on, `127.0.0.1:43211`, when it says so. May never. */
  readonly ready: Promise<string>;
  /** How it ended: `exit code 1`, `signal SIGKILL`. Never rejects. */
  readonly exited: Promise<string>;
  /** The last lines that it logged, errors only if there were any. For the message when it did not start. */
  lastLines(): string[];
  /** Asks it to end, insists after 4 s, and waits until it has. */
  stop(): Promise<void>;
}

/** How long a broker may take to end by itself, in milliseconds. */
const stopTimeoutMs = 4_000;

/** How long a broker that can no longer write may go on, for those who read, in milliseconds. */
const readOnlyMs = 5_000;

/**
 * Becomes the broker, after it has left a watchdog behind: that one waits on a pipe whose other end only our process
 * holds. A line on it means that the broker has ended. Its end means that we have, however we did, and then the
 * broker must not stay behind. `$$` is the process id of the broker in both.
 */
const script = `
( read -r line <&3 && exit
  kill -TERM $$
  for i in 1 2 3 4; do sleep 1; kill -0 $$ || exit; done
  kill -KILL $$
) >/dev/null 2>&1 &
exec 3<&-
exec "$0" "$@"`;

/** What the broker gets of our environment: our settings, with the secrets among them, are none of its business. */
const environment = ["PATH", "HOME", "TMPDIR", "TZ", "GOMAXPROCS", "GOMEMLIMIT", "GOGC"];

/** Starts `nats-server -c configPath`. Its log goes to ours, with its name and process id as the field `broker`. */
export function spawnBroker(binary: string, configPath: string, log: BaseLogger): BrokerProcess {
  const child = spawn("/bin/sh", ["-c", script, binary, "-c", configPath], {
    // A session of its own: the terminal's Ctrl-C must reach us alone, because we drain before the broker may end.
    detached: true,
    env: Object.fromEntries(environment.flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : []))),
    stdio: ["ignore", "pipe", "pipe", "pipe"],
  });
  const [, stdout, stderr, watchdog] = child.stdio;
  const { pid = 0 } = child;
  if (stdout === null || stderr === null || watchdog === null || watchdog === undefined || !("write" in watchdog)) {
    throw new Error("the pipes that were asked for are not there");
  }
  // The watchdog may be gone first, when someone has killed the whole process group.
  watchdog.on("error", () => {});

  const name = brokerName(pid);
  const tail: LogLine[] = [];
  const ready = Promise.withResolvers<string>();
  let address = "";
  let readOnly: NodeJS.Timeout | undefined;
  for (const stream of [stdout, stderr]) {
    createInterface({ input: stream }).on("line", (text) => {
      const line = parseLogLine(text);
      tail.push(line);
      if (tail.length > 50) tail.shift();
      // Nobody else can write to these pipes, whoever answers at that address by then.
      address ||= /^Listening for client connections on (\S+)$/.exec(line.message)?.[1] ?? "";
      if (line.message === "Server is ready" && address !== "") ready.resolve(address);
      log[line.level]({ broker: name }, line.message);
      // A stream with one failed write, as by a full disk, refuses all others until the broker starts again (2.15.2).
      if (/critical write error|will be DISABLED/i.test(line.message)) readOnly ??= setTimeout(stop, readOnlyMs);
    });
  }

  const exited = new Promise<string>((resolve) => {
    child.once("error", (error) => resolve(error.message));
    // "close" and not "exit": by then its last lines have been read.
    child.once("close", (code, signal) => resolve(signal === null ? `exit code ${code}` : `signal ${signal}`));
    child.once("exit", () => {
      clearTimeout(readOnly);
      watchdog.end("ended\n");
    });
  });

  async function stop(): Promise<void> {
    child.kill("SIGTERM");
    const insist = setTimeout(() => child.kill("SIGKILL"), stopTimeoutMs);
    await exited;
    clearTimeout(insist);
  }

  return {
    pid,
    name,
    isRunning: () => child.exitCode === null && child.signalCode === null,
    ready: ready.promise,
    exited,
    lastLines: () => {
      const errors = tail.filter(({ level }) => level === "error");
      return (errors.length > 0 ? errors : tail).slice(-8).map(({ message }) => message);
    },
    stop,
  };
}

/**
 * Ends a broker that an earlier, killed service has left running on this configuration, before it ends by itself.
 * A process id in `pidPath` that by now belongs to another program is left alone.
 */
export async function stopLeftoverBroker(pidPath: string, configPath: string, log: BaseLogger): Promise<void> {
  const pid = Number(await readFile(pidPath, "utf8").catch(() => ""));
  if (!Number.isInteger(pid) || pid <= 1) return;
  const deadline = performance.now() + stopTimeoutMs;
  for (let signal: "SIGTERM" | "SIGKILL" | 0 = "SIGTERM"; await isBroker(pid, configPath); ) {
    if (signal === "SIGTERM")
      log.warn({ broker: brokerName(pid) }, "ending the broker of an earlier service on this data");
    try {
      process.kill(pid, signal);
    } catch (error) {
      if (!(Error.isError(error) && "code" in error && error.code === "ESRCH")) throw error;
    }
    await delay(20);
    signal = performance.now() > deadline ? "SIGKILL" : 0;
  }
}

/** Whether a process runs with our configuration file as an argument. A zombie does not: its arguments are gone. */
async function isBroker(pid: number, configPath: string): Promise<boolean> {
  if (process.platform === "linux") {
    const commandLine = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
    return commandLine.split("\0").includes(configPath);
  }
  // ps fails when there is no such process.
  const command = await promisify(execFile)("ps", ["-o", "command=", "-p", String(pid)]).catch(() => ({ stdout: "" }));
  return command.stdout.includes(configPath);
}

function brokerName(pid: number): string {
  return `nats-server[${pid}]`;
}

interface LogLine {
  readonly level: "trace" | "debug" | "warn" | "error";
  readonly message: string;
}

const levels: Readonly<Record<string, LogLine["level"]>> = {
  TRC: "trace",
  DBG: "debug",
  // What is news to the operator of a broker (banner, settings, each step of a start) is detail to ours.
  INF: "debug",
  WRN: "warn",
  ERR: "error",
  FTL: "error",
};

/** Reads `[4711] 2026/01/31 12:00:00.000000 [INF] Server is ready`; what has no level is a complaint from before. */
export function parseLogLine(text: string): LogLine {
  const [, label, message] = /^\[\d+\] (?:\S+ \S+ )?\[([A-Z]{3})\] (.*)$/.exec(text) ?? [];
  if (label === undefined || message === undefined) return { level: "error", message: text };
  return { level: levels[label] ?? "error", message };
}
