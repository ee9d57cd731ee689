import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { createTokenMinter } from "../../src/auth/mint-token.ts";
import { adminPlatform } from "../../src/auth/platform.ts";
import { type TestSettings, testSecret, testSettings } from "./server.ts";

/** A service in a process of its own that may not have started yet. */
export interface StartingService extends Omit<ServiceProcess, "url"> {
  /** Where it answers, once it does. Rejects when it has ended before. */
  readonly url: Promise<string>;
}

/** A service in a process of its own, as an operator runs it. */
export interface ServiceProcess {
  readonly url: string;
  readonly pid: number;
  readonly dataDir: string;
  /** The process id of its broker, as the log tells it; undefined with an external one. */
  readonly brokerPid: number | undefined;
  /** Log lines so far, parsed. */
  readonly log: readonly Record<string, unknown>[];
  adminToken(): Promise<string>;
  userToken(userId: string): Promise<string>;
  /** What the process holds after a garbage collection, in bytes. */
  heapBytes(): Promise<number>;
  holdings(): Promise<Holdings>;
  /** Ends the process and resolves to how it ended: its exit code or the signal. */
  kill(signal: NodeJS.Signals): Promise<number | NodeJS.Signals>;
  /** Ends the process and its broker, if they run, and removes the data. */
  remove(): Promise<void>;
}

const root = fileURLToPath(new URL("../..", import.meta.url));

/** What a process holds: bytes after a garbage collection, and how many it has of what keeps it alive, timers too. */
export interface Holdings {
  readonly bytes: number;
  readonly resources: Readonly<Record<string, number>>;
}

/** Runs before the service in its process: answers each message with its {@link Holdings}. */
const meter = `data:text/javascript,${encodeURIComponent(`
  process.on("message", async () => {
    for (let i = 0; i < 3; i++) { globalThis.gc(); await new Promise((resolve) => setImmediate(resolve)); }
    const { heapUsed, external } = process.memoryUsage();
    const resources = {};
    for (const name of process.getActiveResourcesInfo()) resources[name] = (resources[name] ?? 0) + 1;
    process.send({ bytes: heapUsed + external, resources });
  });
  process.channel.unref();
`)}`;

/**
 * Starts `src/main.ts` with the Node of the tests on a free port, and resolves when it has logged `listening`. With the
 * `dataDir` of an earlier one it goes on with that one's data.
 */
export async function startProcess(settings: TestSettings = {}, dataDir?: string): Promise<ServiceProcess> {
  const service = await spawnService(settings, dataDir);
  const url = await service.url;
  return { ...service, url, brokerPid: service.brokerPid };
}

/** Starts `src/main.ts` as {@link startProcess}, and resolves at once. */
export async function spawnService(settings: TestSettings = {}, dataDir?: string): Promise<StartingService> {
  const dir = dataDir ?? (await mkdtemp(join(tmpdir(), "mustreach-process-")));
  const child = spawn(process.execPath, ["--expose-gc", "--import", meter, "src/main.ts"], {
    cwd: root,
    env: {
      ...inheritedEnv(),
      ...toEnv({ DATA_DIR: dir, ...testSettings, ...settings }),
    },
    stdio: ["ignore", "ignore", "pipe", "ipc"],
  });
  const log: Record<string, unknown>[] = [];
  const url = whenListening(child, log);
  // Who is interested in it waits for it.
  url.catch(() => {});
  const { pid } = child;
  if (pid === undefined) throw new Error("the service has no process id");
  const mint = createTokenMinter({ secret: testSecret, ttlMs: 3_600_000 });
  const token = async (userId: string, platformId: number) => (await mint({ userId, platformId })).token;

  const kill = async (signal: NodeJS.Signals) => {
    const exited = whenExited(child);
    child.kill(signal);
    return exited;
  };
  const holdings = async () => {
    const answer = once(child, "message");
    child.send("measure");
    const [held] = await answer;
    return held as Holdings;
  };
  return {
    url,
    pid,
    dataDir: dir,
    get brokerPid() {
      return findBrokerPid(log);
    },
    log,
    adminToken: () => token("imAdmin", adminPlatform),
    userToken: (userId) => token(userId, 5),
    holdings,
    heapBytes: async () => (await holdings()).bytes,
    kill,
    async remove() {
      await kill("SIGKILL");
      const broker = findBrokerPid(log);
      if (broker !== undefined) await whenGone(broker);
      await rm(dir, { recursive: true, force: true });
    },
  };
}

async function whenListening(child: ChildProcess, log: Record<string, unknown>[]): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const lines: string[] = [];
  if (child.stderr === null) throw new Error("the log cannot be read");
  createInterface({ input: child.stderr }).on("line", (line) => {
    lines.push(line);
    const parsed = parseLine(line);
    if (parsed === undefined) return;
    log.push(parsed);
    if (parsed.msg === "listening") resolve(String(parsed.url));
  });
  void whenExited(child).then((how) => reject(new Error(`the service ended (${how}):\n${lines.join("\n")}`)));
  return promise;
}

function parseLine(line: string): Record<string, unknown> | undefined {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

async function whenExited(child: ChildProcess): Promise<number | NodeJS.Signals> {
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  return child.signalCode ?? child.exitCode ?? 0;
}

function findBrokerPid(log: readonly Record<string, unknown>[]): number | undefined {
  const name = log.findLast(({ broker }) => String(broker).startsWith("nats-server["))?.broker;
  return name === undefined ? undefined : Number(/\d+/.exec(String(name))?.[0]);
}

/** Resolves when a process that is not our child has ended. */
export async function whenGone(pid: number): Promise<void> {
  for (;;) {
    try {
      process.kill(pid, 0);
      // An orphan that nobody reaps is a zombie for ever.
      if (/^State:\s+Z/m.test(await readFile(`/proc/${pid}/status`, "utf8").catch(() => ""))) return;
    } catch {
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** The environment of the tests, without settings of a service. */
function inheritedEnv(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("MUSTREACH_")));
}

function toEnv(settings: TestSettings): Record<string, string> {
  return Object.fromEntries(Object.entries(settings).map(([name, value]) => [`MUSTREACH_${name}`, value]));
}
