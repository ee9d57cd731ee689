import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { readFile } from "node:fs/promises";
import { extname } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { Instance } from "../deployment.ts";
import { type Link, openLink } from "./link.ts";

/** An instance of the service in a process of its own, which may be down. Callers and devices reach it over a link. */
export interface OwnInstance extends Instance {
  /** The way of callers and devices to it. */
  readonly link: Link;
  /** What it is started with from the next start on. */
  use(program: string): void;
  /** Starts it, and resolves when it listens. */
  start(): Promise<void>;
  /** Ends it as a crash does, or asks it to end; resolves when it has. */
  end(signal: "SIGKILL" | "SIGTERM"): Promise<void>;
  freeze(): void;
  thaw(): void;
  /** Kills one of its workers, if it has any. */
  killWorker(): Promise<void>;
  /** Stops one of its workers, and ends nothing; resolves with what lets it go on. */
  freezeWorker(): Promise<() => void>;
  /** When it ended by itself, or did not when it was asked to. */
  ownFaults(): readonly string[];
  /** Ends it for good. */
  remove(): Promise<void>;
}

/** What runs this: beside this file in the sources, and in what is built of them. */
export const ownProgram = fileURLToPath(new URL(`../../main${extname(import.meta.filename)}`, import.meta.url));

/** A start is tried again for this long, in milliseconds: the broker may be away at the moment. */
const maxStartMs = 60_000;

/** How long it may take until it listens, and until it has ended when it was asked to, in milliseconds. */
const startTimeoutMs = 30_000;
const endTimeoutMs = 30_000;

/** The last lines of its log, for the message when it does not start. */
const maxLastWords = 30;

/** Options of {@link createInstance}. */
export interface InstanceOptions {
  readonly name: string;
  /** Without their prefix. Of our environment it gets no others. */
  readonly settings: Readonly<Record<string, string>>;
  /** What its Node is started with. */
  readonly nodeOptions: readonly string[];
  /** The file that gets its log, anew. Default: none. */
  readonly logFile?: string | undefined;
}

/** Creates an instance that is down. */
export async function createInstance(options: InstanceOptions): Promise<OwnInstance> {
  const { name, settings, nodeOptions, logFile } = options;
  const link = await openLink(0);
  const log = logFile === undefined ? undefined : createWriteStream(logFile);
  const ownFaults: string[] = [];
  const lastWords: string[] = [];
  let child: ChildProcess | undefined;
  let isUp = false;
  let isExpected = true;
  let program = ownProgram;

  const isRunning = () => child !== undefined && child.exitCode === null && child.signalCode === null;

  const tryStart = async (): Promise<boolean> => {
    const others = Object.entries(process.env).filter(([variable]) => !variable.startsWith("MUSTREACH_"));
    const own = Object.entries(settings).map(([setting, value]) => [`MUSTREACH_${setting}`, value]);
    const started = spawn(process.execPath, [...nodeOptions, program], {
      env: Object.fromEntries([...others, ...own]),
      stdio: ["ignore", "ignore", "pipe"],
    });
    child = started;
    const listening = Promise.withResolvers<number>();
    createInterface({ input: started.stderr }).on("line", (line) => {
      log?.write(`${line}\n`);
      lastWords.push(line);
      if (lastWords.length > maxLastWords) lastWords.shift();
      const { msg, url } = parseLine(line);
      if (msg === "listening") listening.resolve(Number(new URL(String(url)).port));
    });
    started.once("exit", (code, signal) => {
      if (isUp && !isExpected) ownFaults.push(`${name} ended by itself: ${signal ?? `exit code ${code}`}`);
      isUp = false;
      listening.resolve(0);
    });
    isExpected = true;
    const port = await Promise.race([listening.promise, delay(startTimeoutMs, 0, { ref: false })]);
    if (port === 0) {
      started.kill("SIGKILL");
      return false;
    }
    link.aim(port);
    isUp = true;
    isExpected = false;
    return true;
  };

  const end: OwnInstance["end"] = async (signal) => {
    isExpected = true;
    isUp = false;
    if (child === undefined || !isRunning()) return;
    const exited = once(child, "exit");
    child.kill(signal);
    const insist = setTimeout(() => {
      ownFaults.push(`${name} had not ended ${endTimeoutMs / 1_000} s after it was asked to`);
      child?.kill("SIGKILL");
    }, endTimeoutMs);
    await exited;
    clearTimeout(insist);
  };

  return {
    name,
    url: `http://127.0.0.1:${link.port}`,
    isUp: () => isUp,
    link,
    use(other) {
      program = other;
    },
    async start() {
      for (const until = performance.now() + maxStartMs; performance.now() < until; await delay(500)) {
        if (await tryStart()) return;
      }
      throw new Error(`${name} did not start: ${lastWords.join("\n")}`);
    },
    end,
    freeze: () => void child?.kill("SIGSTOP"),
    thaw: () => void child?.kill("SIGCONT"),
    async killWorker() {
      const [worker] = await childrenOf(child?.pid);
      signal(worker, "SIGKILL");
    },
    async freezeWorker() {
      const [worker] = await childrenOf(child?.pid);
      signal(worker, "SIGSTOP");
      return () => signal(worker, "SIGCONT");
    },
    ownFaults: () => ownFaults,
    async remove() {
      child?.kill("SIGCONT");
      await end("SIGKILL");
      log?.end();
      await link.close();
    },
  };
}

function parseLine(line: string): Record<string, unknown> {
  try {
    return JSON.parse(line);
  } catch {
    return {};
  }
}

/** Signals a process that may have ended. */
function signal(pid: number | undefined, name: NodeJS.Signals): void {
  try {
    if (pid !== undefined) process.kill(pid, name);
  } catch (error) {
    if (!(Error.isError(error) && "code" in error && error.code === "ESRCH")) throw error;
  }
}

/** The processes that a process has started, as the system lists them. */
async function childrenOf(pid: number | undefined): Promise<number[]> {
  const list = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8").catch(() => "");
  return list.split(" ").filter(Boolean).map(Number);
}
