import { type ChildProcess, type StdioOptions, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import type { NatsConnection } from "@nats-io/transport-node";
import { startExternalBroker } from "../test/helpers/external-broker.ts";

/** The secret of the services' tokens, which the generator signs with. */
export const tokenSecret = "the-secret-of-the-bench-of-32-bytes";

/** A service as an operator runs it, with a broker of its own beside it. */
export interface Service {
  readonly pid: number;
  readonly brokerPid: number;
  /** `127.0.0.1:43211` */
  readonly address: string;
  /** Opens a connection to the service's broker. */
  connect(): Promise<NatsConnection>;
  /** What the service holds in memory after a garbage collection, in bytes: its heap. Only with `isMetered`. */
  collect(): Promise<number>;
  stop(): Promise<void>;
}

/** Options of a service. */
export interface ServiceOptions {
  /** Settings without their prefix. Default: as a user has them. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Whether {@link Service.collect} is wanted. */
  readonly isMetered?: boolean;
}

/** A server that is a floor or a peer. */
export interface Server {
  readonly pid: number;
  readonly address: string;
  readonly child: ChildProcess;
  collect(): Promise<number>;
  stop(): Promise<void>;
}

/** Starts what is measured, each in a process of its own; all are stopped with the bench. */
export interface Launcher {
  service(options?: ServiceOptions): Promise<Service>;
  /** A floor of `bench/floors`, by its name. */
  floor(name: string, ...args: string[]): Promise<Server>;
  /** A program that prints its port. */
  program(path: string, ...args: string[]): Promise<Server>;
  /** A program that is told its port, and answers there. */
  programAt(port: number, path: string, ...args: string[]): Promise<Server>;
  stopAll(): Promise<void>;
}

/** Options of {@link createLauncher}. */
export interface LauncherOptions {
  /** The checkout whose `src/main.ts` is measured. */
  readonly checkout: string;
  /** Where CPU profiles of services are written; undefined: none are made. */
  readonly profiles: string | undefined;
}

/** How long a process may take to start or to stop, in milliseconds. */
const patienceMs = 20_000;

/** Answers each message with what is in use after a garbage collection. */
const meter = `data:text/javascript,${encodeURIComponent(`
  process.on("message", async () => {
    for (let i = 0; i < 5; i++) { globalThis.gc(); await new Promise((resolve) => setTimeout(resolve, 20)); }
    const { heapUsed, external } = process.memoryUsage();
    process.send(heapUsed + external);
  });
  process.once("disconnect", () => process.exit());
  process.channel.unref();
`)}`;
const metered = ["--expose-gc", "--import", meter];

/** Creates the launcher of a run. */
export function createLauncher({ checkout, profiles }: LauncherOptions): Launcher {
  const running = new Set<() => Promise<void>>();
  const keep = (stop: () => Promise<void>) => {
    const once = async () => {
      if (running.delete(once)) await stop();
    };
    running.add(once);
    return once;
  };

  const listen = async (command: string, args: readonly string[]): Promise<Server> => {
    const stdio: StdioOptions = ["pipe", "pipe", "inherit", "ipc"];
    const child = spawn(command, args, { stdio });
    if (child.stdout === null || child.pid === undefined) throw new Error(`${command} did not start`);
    const lines = createInterface({ input: child.stdout });
    const [line] = await Promise.race([once(lines, "line"), whenEnded(child, command)]);
    const { port } = JSON.parse(line);
    const stop = keep(() => end(child, "SIGKILL"));
    return { pid: child.pid, address: `127.0.0.1:${port}`, child, collect: () => collect(child), stop };
  };

  return {
    async service({ settings = {}, isMetered = false } = {}) {
      const broker = await startExternalBroker();
      const stopBroker = keep(() => broker.remove());
      const dir = mkdtempSync(join(tmpdir(), "mustreach-bench-"));
      const logPath = join(dir, "log");
      const log = openSync(logPath, "a");
      const profiling = profiles === undefined ? [] : ["--cpu-prof", "--cpu-prof-dir", profiles];
      const child = spawn(process.execPath, [...(isMetered ? metered : []), ...profiling, "src/main.ts"], {
        cwd: checkout,
        env: {
          ...process.env,
          ...toEnv({ NATS_URL: broker.url, TOKEN_SECRET: tokenSecret, DATA_DIR: join(dir, "data") }),
          ...toEnv({ PORT: "0", ADMIN_PORT: "off", ...settings }),
        },
        // A file: reading a pipe would be work for this process.
        stdio: ["ignore", "ignore", log, "ipc"],
      });
      closeSync(log);
      const { pid } = child;
      if (pid === undefined) throw new Error("the service did not start");
      const stopService = keep(async () => {
        await end(child, "SIGTERM");
        rmSync(dir, { recursive: true, force: true });
      });
      const address = await Promise.race([whenListening(logPath), whenEnded(child, "the service")]);
      return {
        pid,
        brokerPid: broker.pid,
        address,
        connect: () => broker.connect(),
        collect: () => collect(child),
        async stop() {
          await stopService();
          await stopBroker();
        },
      };
    },
    floor: (name, ...args) =>
      listen(process.execPath, [...metered, join(import.meta.dirname, "floors", `${name}.ts`), ...args]),
    program: (path, ...args) => listen(path, args),
    async programAt(port, path, ...args) {
      const child = spawn(path, args, { stdio: "ignore" });
      const stop = keep(() => end(child, "SIGKILL"));
      await Promise.race([whenAnswering(port), whenEnded(child, path)]);
      return { pid: child.pid ?? 0, address: `127.0.0.1:${port}`, child, collect: () => collect(child), stop };
    },
    async stopAll() {
      for (const stop of [...running].reverse()) await stop();
    },
  };
}

function toEnv(settings: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(settings).map(([name, value]) => [`MUSTREACH_${name}`, value]));
}

async function whenListening(logPath: string): Promise<string> {
  for (;;) {
    const line = readFileSync(logPath, "utf8")
      .split("\n")
      .find((line) => line.includes('"msg":"listening"'));
    if (line !== undefined) return new URL(JSON.parse(line).url).host;
    await delay(20);
  }
}

async function whenAnswering(port: number): Promise<void> {
  for (;;) {
    const socket = connect({ port, host: "127.0.0.1" });
    const isOpen = await once(socket, "connect").then(
      () => true,
      () => false,
    );
    socket.destroy();
    if (isOpen) return;
    await delay(20);
  }
}

async function whenEnded(child: ChildProcess, name: string): Promise<never> {
  const [code, signal] = await once(child, "exit");
  throw new Error(`${name} ended (${signal ?? code})`);
}

async function collect(child: ChildProcess): Promise<number> {
  const answer = once(child, "message");
  child.send("collect");
  const [bytes] = await answer;
  return Number(bytes);
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, "exit");
  child.kill(signal);
  const insist = setTimeout(() => child.kill("SIGKILL"), patienceMs);
  await exited;
  clearTimeout(insist);
}
