import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { jetstreamManager } from "@nats-io/jetstream";
import { connect, nkeyAuthenticator, nkeys } from "@nats-io/transport-node";
import { pino } from "pino";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { ConfigError } from "../../src/config.ts";
import { findNatsServer } from "../../src/embedded/find.ts";
import { parseLogLine } from "../../src/embedded/process.ts";
import { EmbeddedBrokerError } from "../../src/embedded/start.ts";
import { startBroker, useBroker } from "../helpers/broker.ts";

const log = pino({ level: "silent" });

describe("a running broker", () => {
  const broker = useBroker({ maxPayloadBytes: 2_000_000 });

  test("syncs every write and limits neither consumers nor streams, as VARZ tells its own account", async () => {
    const connection = await broker.connect();
    const { data } = (await connection.request("$SYS.REQ.SERVER.PING.VARZ")).json<{ data: unknown }>();
    expect(data).toMatchObject({
      host: "127.0.0.1",
      max_payload: 2_000_000,
      http_port: 0,
      jetstream: { config: { sync_always: true }, limits: { default_max_consumers: -1 } },
    });
  });

  test("reserves more for streams than the disk has", async () => {
    const manager = await jetstreamManager(await broker.connect());
    for (const name of ["A", "B", "C"]) {
      await manager.streams.add({ name, subjects: [name], max_bytes: 2 ** 50 });
    }
    await manager.streams.add({ name: "UNLIMITED", subjects: ["unlimited"] });
    expect((await manager.getAccountInfo()).streams).toBe(4);
  });

  test("lets nobody in without its key, which is in no file, and others cannot read those that there are", async () => {
    const authenticator = nkeyAuthenticator(nkeys.createUser().getSeed());
    for (const stranger of [{}, { user: "mustreach", pass: "" }, { authenticator }]) {
      const connection = connect({ servers: broker.url, reconnect: false, ...stranger });
      await expect(connection).rejects.toThrow(/authorization/i);
    }
    const config = join(broker.dir, "nats", "nats-server.conf");
    expect(await readFile(config, "utf8")).not.toMatch(/password|"S[A-Z2-7]{57}"/);
    const modeOf = async (path: string) => (await stat(path)).mode & 0o777;
    expect(await modeOf(config)).toBe(0o600);
    expect(await modeOf(join(broker.dir, "mustreach.lock"))).toBe(0o600);
    expect(await modeOf(broker.dir)).toBe(0o700);
  });

  test("gets nothing of our settings and secrets in its environment", async () => {
    vi.stubEnv("MUSTREACH_TOKEN_SECRET", "hunter2");
    onTestFinished(() => void vi.unstubAllEnvs());
    const { path, version } = await findNatsServer({ log });
    const dir = await temporaryDir();
    const script = join(dir, "nats-server");
    await writeFile(script, `#!/bin/sh\nenv >'${dir}/env'\nexec ${path} "$@"\n`, { mode: 0o755 });
    await (await startBroker({ dataDir: dir, binary: { path: script, version } })).stop();
    const environment = await readFile(join(dir, "env"), "utf8");
    expect(environment).toContain("PATH=");
    expect(environment).not.toMatch(/MUSTREACH|hunter2/);
  });

  test("is out of reach of the terminal's Ctrl-C, which goes to our process group", () => {
    const group = (pid: number) => execFileSync("ps", ["-o", "pgid=", "-p", String(pid)], { encoding: "utf8" }).trim();
    expect(group(broker.pid())).not.toBe(group(process.pid));
  });
});

test("a broker that is killed comes back with its data, and a connection finds it", async () => {
  const restarted = Promise.withResolvers<void>();
  const broker = await startBroker({ onRestart: restarted.resolve });
  onTestFinished(() => broker.remove());
  const manager = await jetstreamManager(await broker.connect());
  await manager.streams.add({ name: "KEPT", subjects: ["kept"] });
  await manager.jetstream().publish("kept", "before");
  const statuses = (await broker.connect()).status();
  const pid = broker.pid();

  process.kill(pid, "SIGKILL");
  await restarted.promise;

  expect(broker.pid()).not.toBe(pid);
  for await (const { type } of statuses) if (type === "reconnect") break;
  const { state } = await (await jetstreamManager(await broker.connect())).streams.info("KEPT");
  expect(state.messages).toBe(1);
});

test("a stop gives the directory back, and the next start has the data", async () => {
  const first = await startBroker({ syncInterval: "2m" });
  const manager = await jetstreamManager(await first.connect());
  await manager.streams.add({ name: "KEPT", subjects: ["kept"] });
  await first.stop();
  await first.stop();
  expect(isAlive(first.pid())).toBe(false);

  const second = await startBroker({ dataDir: first.dir });
  onTestFinished(() => second.remove());
  await expect(
    connect({ servers: second.url, authenticator: nkeyAuthenticator(first.place().seed), reconnect: false }),
  ).rejects.toThrow(/authorization/i);
  const names = await (await jetstreamManager(await second.connect())).streams.names().next();
  expect(names).toEqual(["KEPT"]);
  expect(await readdir(first.dir)).toEqual(["mustreach.lock", "mustreach.lock.pid", "nats"]);
});

test("the directory may have any name", async () => {
  const dir = join(await temporaryDir(), ` a "b" $c 'd' #{e}\\n é日本`);
  const broker = await startBroker({ dataDir: dir });
  await broker.stop();
  expect(await readdir(join(dir, "nats", "store"))).toEqual(["jetstream"]);
});

test("a stop right after a death leaves nothing behind", async () => {
  const broker = await startBroker();
  const killed = broker.pid();
  process.kill(killed, "SIGKILL");
  await until(() => !isAlive(killed));
  await broker.remove();
  expect(isAlive(broker.pid())).toBe(false);
});

describe("one data directory", () => {
  test("is refused to a second service, which is told the process id of the first", async () => {
    const service = await startService();
    const refused = startBroker({ dataDir: service.dir });
    await expect(refused).rejects.toThrow(EmbeddedBrokerError);
    await expect(refused).rejects.toThrow(`in use by another Mustreach service (pid ${service.process.pid})`);
  });

  test("goes to one of several services that start at once", async () => {
    const dir = await temporaryDir();
    const started = await Promise.allSettled([1, 2, 3].map(() => startBroker({ dataDir: dir })));
    const brokers = started.filter((one) => one.status === "fulfilled").map((one) => one.value);
    for (const broker of brokers) await broker.stop();
    expect(brokers).toHaveLength(1);
  });

  test("is free at once when its service is killed, and the broker of that one ends", async () => {
    const service = await startService();
    service.process.kill("SIGKILL");
    await once(service.process, "exit");
    const broker = await startBroker({ dataDir: service.dir });
    onTestFinished(() => broker.stop());
    expect(isAlive(service.brokerPid)).toBe(false);
  });

  test("needs no next start to be rid of the broker of a killed service", async () => {
    const service = await startService();
    service.process.kill("SIGKILL");
    await until(() => !isAlive(service.brokerPid));
  });

  test("is freed of a broker that was left running on it", async () => {
    const { dir, leftover } = await leaveBroker();
    const broker = await startBroker({ dataDir: dir });
    onTestFinished(() => broker.stop());
    expect(isAlive(leftover)).toBe(false);
    expect(isAlive(broker.pid())).toBe(true);
  });

  test("does not make a victim of a program that got the process id of a former broker", async () => {
    const dir = await temporaryDir();
    const bystander = spawn("sleep", ["60"]);
    onTestFinished(() => void bystander.kill("SIGKILL"));
    await mkdir(join(dir, "nats"), { mode: 0o700 });
    await writeFile(join(dir, "nats", "nats-server.pid"), String(bystander.pid));
    const broker = await startBroker({ dataDir: dir });
    await broker.stop();
    expect(bystander.exitCode ?? bystander.signalCode).toBeNull();
  });
});

test("a broker that does not start says why, and the directory is free again", async () => {
  const dir = await temporaryDir();
  await mkdir(join(dir, "nats"), { mode: 0o700 });
  await writeFile(join(dir, "nats", "store"), "in the way");
  const refused = startBroker({ dataDir: dir });
  await expect(refused).rejects.toThrow(EmbeddedBrokerError);
  await expect(refused).rejects.toThrow(/did not start \(exit code 1\): .*storage directory/);

  await rm(join(dir, "nats", "store"));
  await (await startBroker({ dataDir: dir })).stop();
});

test("a binary that is no nats-server is an error, not a wait", async () => {
  const binary = { path: "/bin/false", version: "2.15.2" };
  const dir = await temporaryDir();
  await expect(startBroker({ dataDir: dir, binary })).rejects.toThrow("did not start (exit code 1): it said nothing");
});

describe("whoever takes the broker's port", () => {
  test("before it starts gets nothing: there is no port to take", async () => {
    const { path, version } = await findNatsServer({ log });
    const dir = await temporaryDir();
    // A slow start, for someone who can see which port it will be.
    const script = join(dir, "nats-server");
    await writeFile(script, `#!/bin/sh\nsleep 1\nexec ${path} "$@"\n`, { mode: 0o755 });
    const starting = startBroker({ dataDir: dir, binary: { path: script, version } });
    const config = join(dir, "nats", "nats-server.conf");
    await until(async () => (await readFile(config, "utf8").catch(() => "")).endsWith("}"));
    const { port } = JSON.parse(await readFile(config, "utf8"));
    const impostor = startImpostor(port > 0 ? port : 4222);
    const broker = await starting;
    onTestFinished(() => broker.remove());
    expect(port).toBe(-1);
    expect(impostor.got()).not.toContain("connected");
  });

  test("while it is restarted gets nothing, and the connection finds the restarted one elsewhere", async () => {
    const broker = await startBroker();
    onTestFinished(() => broker.remove());
    const connection = await broker.connect();
    const received: string[] = [];
    connection.subscribe("news", { callback: (_, message) => void received.push(message.string()) });
    await connection.flush();
    const port = Number(new URL(broker.url).port);
    const impostor = startImpostor(port);

    process.kill(broker.pid(), "SIGKILL");
    await until(() => impostor.got().includes("listening"));
    connection.publish("news", "secret");
    await until(() => {
      connection.publish("news", "again");
      return received.includes("again");
    });

    expect(Number(new URL(broker.url).port)).not.toBe(port);
    expect(impostor.got()).toEqual(["listening"]);
  });

  test("and only cuts the connection gets nothing either: the broker is asked for again", async () => {
    const broker = await startBroker();
    onTestFinished(() => broker.remove());
    const connection = await broker.connect();
    const statuses = connection.status();
    await connection.reconnect();
    for await (const { type } of statuses) if (type === "reconnect") break;
    await connection.flush();
    expect(connection.getServer()).toBe(new URL(broker.url).host);
  });
});

test.each([
  ["the data directory", "", 0o755],
  ["the data directory, open to its group", "", 0o2770],
  ["the token secret", "token-secret", 0o644],
  ["the lock", "mustreach.lock", 0o644],
  ["the broker's directory", "nats", 0o711],
  ["the broker's configuration", "nats/nats-server.conf", 0o640],
])("%s with a wrong mode is refused by name", async (_, part, mode) => {
  const dir = await temporaryDir();
  const path = join(dir, part);
  await mkdir(join(dir, "nats"), { mode: 0o700 });
  for (const file of ["token-secret", "mustreach.lock", "nats/nats-server.conf"]) {
    await writeFile(join(dir, file), "", { mode: 0o600 });
  }
  await chmod(path, mode);

  const error = await startBroker({ dataDir: dir }).catch((thrown: unknown) => thrown);

  expect(error).toBeInstanceOf(ConfigError);
  const { message } = error as ConfigError;
  expect(message).toContain(
    `Other users of this machine can reach ${path} (mode ${mode.toString(8).padStart(4, "0")})`,
  );
  const [, command = ""] = /Run: (.*)\. Or set/.exec(message) ?? [];
  execFileSync("/bin/sh", ["-c", command]);
  await (await startBroker({ dataDir: dir })).stop();
});

test.concurrent("a broker that does not react is killed", async () => {
  const broker = await startBroker();
  process.kill(broker.pid(), "SIGSTOP");
  await broker.remove();
  expect(isAlive(broker.pid())).toBe(false);
});

test.concurrent("a broker that could not write is restarted, and then writes", async ({ onTestFinished }) => {
  const { path, version } = await findNatsServer({ log });
  const dir = await mkdtemp(join(tmpdir(), "mustreach-"));
  // A limit on the size of a file (in blocks of 512 bytes) stands for a full disk.
  const script = join(dir, "nats-server");
  await writeFile(script, `#!/bin/sh\n[ -e ${dir}/full ] && ulimit -f 8192\nexec ${path} "$@"\n`, { mode: 0o755 });
  await writeFile(join(dir, "full"), "");
  const restarted = Promise.withResolvers<void>();
  const broker = await startBroker({ dataDir: dir, binary: { path: script, version }, onRestart: restarted.resolve });
  onTestFinished(() => broker.remove());
  const manager = await jetstreamManager(await broker.connect());
  await manager.streams.add({ name: "FULL", subjects: ["full"] });
  let stored = 0;
  const send = async () => {
    const client = (await jetstreamManager(await broker.connect())).jetstream();
    await client.publish("full", new Uint8Array(1_000_000), { timeout: 500 });
    stored++;
  };
  await expect(async () => {
    while (stored < 10) await send();
  }).rejects.toThrow();

  await rm(join(dir, "full"));
  await restarted.promise;

  await send();
  const { state } = await (await jetstreamManager(await broker.connect())).streams.info("FULL");
  expect(state.messages).toBe(stored);
});

test("log lines keep their level, and the broker's news are our detail", () => {
  expect(parseLogLine("[4711] 2026/01/31 12:00:00.000000 [INF] Server is ready")).toEqual({
    level: "debug",
    message: "Server is ready",
  });
  expect(parseLogLine("[4711] [WRN] Slow consumer").level).toBe("warn");
  expect(parseLogLine("[4711] [ERR] JetStream [x] failed")).toEqual({
    level: "error",
    message: "JetStream [x] failed",
  });
  expect(parseLogLine("panic: runtime error")).toEqual({ level: "error", message: "panic: runtime error" });
});

test("the broker's warnings reach our log with its name", async () => {
  const lines: { level: number; broker?: string; msg: string }[] = [];
  const broker = await startBroker({
    log: pino({ level: "debug" }, { write: (line) => void lines.push(JSON.parse(line)) }),
  });
  onTestFinished(() => broker.remove());
  await connect({ servers: broker.url, user: "nobody", pass: "x", reconnect: false }).catch(() => {});
  await until(() => lines.some(({ msg }) => msg.includes("authentication error")));
  expect(lines.find(({ msg }) => msg.includes("authentication error"))).toMatchObject({
    level: 50,
    broker: `nats-server[${broker.pid()}]`,
  });
});

interface Service {
  readonly process: ChildProcess;
  readonly dir: string;
  readonly brokerPid: number;
}

/** A process of its own that runs an embedded broker. */
async function startService(): Promise<Service> {
  const dir = await temporaryDir();
  const source = `
    import { startEmbeddedBroker } from ${JSON.stringify(new URL("../../src/embedded/start.ts", import.meta.url).href)};
    const log = { info() {}, warn() {}, error() {}, debug() {}, trace() {} };
    const [binary, dataDir] = JSON.parse(process.argv[1]);
    const broker = await startEmbeddedBroker({ binary, dataDir, maxPayloadBytes: 1_000_000, log });
    console.log(broker.pid());`;
  const child = spawn(
    process.execPath,
    ["--input-type=module", "-e", source, JSON.stringify([await findNatsServer({ log }), dir])],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  onTestFinished(() => void child.kill("SIGKILL"));
  const [line] = await once(createInterface({ input: child.stdout }), "line");
  return { process: child, dir, brokerPid: Number(line) };
}

/** Starts a program that wants the broker's port and says what it got there. */
function startImpostor(port: number): { got(): unknown[] } {
  const script = join(import.meta.dirname, "..", "helpers", "impostor.mjs");
  const child = spawn(process.execPath, [script, String(port)], { stdio: ["ignore", "pipe", "inherit"] });
  onTestFinished(() => void child.kill("SIGKILL"));
  const got: unknown[] = [];
  createInterface({ input: child.stdout }).on("line", (line) => got.push(JSON.parse(line)));
  return { got: () => got };
}

/** A broker that nobody looks after, on the configuration of a service that has ended. */
async function leaveBroker(): Promise<{ dir: string; leftover: number }> {
  const dir = await temporaryDir();
  await (await startBroker({ dataDir: dir })).stop();
  const { path } = await findNatsServer({ log });
  const child = spawn(path, ["-c", join(dir, "nats", "nats-server.conf")], { stdio: ["ignore", "ignore", "pipe"] });
  onTestFinished(() => void child.kill("SIGKILL"));
  const lines = createInterface({ input: child.stderr });
  for await (const line of lines) if (line.includes("Server is ready")) break;
  if (child.pid === undefined) throw new Error("not started");
  // As its service would have.
  await writeFile(join(dir, "nats", "nats-server.pid"), String(child.pid));
  return { dir, leftover: child.pid };
}

async function temporaryDir(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), "mustreach-"));
  onTestFinished(() => rm(dir, { recursive: true, force: true, maxRetries: 20 }));
  return dir;
}

/** Whether a process runs. One that has ended and that its parent has not asked about yet (state Z) does not. */
function isAlive(pid: number): boolean {
  const { stdout } = spawnSync("ps", ["-o", "stat=", "-p", String(pid)], { encoding: "utf8" });
  return stdout.trim() !== "" && !stdout.startsWith("Z");
}

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await delay(10);
}
