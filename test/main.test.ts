import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, open, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { createTokenMinter } from "../src/auth/mint-token.ts";
import { type ServiceProcess, startProcess, whenGone } from "./helpers/process.ts";

const root = resolve(import.meta.dirname, "..");
// Each test starts a process, with a broker of its own.
vi.setConfig({ testTimeout: 120_000 });
const often = { interval: 50 };
const secrets = ["the-first-secret-has-32-bytes-too", "the-second-secret-has-32-bytes-too"] as const;

async function useDir(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), "mustreach-main-"));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

/** The environment of a service on free ports, with its data in a directory. */
function environment(dir: string): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(([name]) => !name.startsWith("MUSTREACH_"));
  const settings = { MUSTREACH_PORT: "0", MUSTREACH_ADMIN_PORT: "0", MUSTREACH_DATA_DIR: join(dir, "data") };
  return { ...Object.fromEntries(own), ...settings };
}

/** Runs a service whose log level and token secret are in files. */
async function useService(settings: Record<string, string> = {}) {
  const dir = await useDir();
  const [levelFile, secretFile] = [join(dir, "level"), join(dir, "secret")];
  await writeFile(secretFile, `${secrets[0]}\n`);
  const files = { TOKEN_SECRET: "", TOKEN_SECRET_FILE: secretFile, LOG_LEVEL_FILE: levelFile };
  // The tests wait for the line `listening`, which is at info.
  await writeFile(levelFile, "info\n");
  const service = await startProcess({ ...files, ...settings });
  onTestFinished(() => service.remove());
  return { service, levelFile, secretFile };
}

/** The errCode of a call with a user's token by a secret. */
async function callWith(service: ServiceProcess, secret: string, operationID = "1"): Promise<number> {
  const { token } = await createTokenMinter({ secret, ttlMs: 60_000 })({ userId: "alice", platformId: 5 });
  const headers = { operationID, token };
  const response = await fetch(`${service.url}/group/get_joined_group_list`, {
    method: "POST",
    headers,
    body: '{"fromUserID":"alice"}',
  });
  return Number(JSON.parse(await response.text()).errCode);
}

const lines = ({ log }: ServiceProcess, msg: string) => log.filter((line) => line.msg === msg);

test("SIGHUP puts the token secret and the log level of their files in force, and the service goes on", async () => {
  const { service, levelFile, secretFile } = await useService();
  expect(await callWith(service, secrets[0])).toBe(0);
  expect(await callWith(service, secrets[1])).toBe(1505);

  await writeFile(secretFile, `${secrets[1]}\n`);
  await writeFile(levelFile, "debug\n");
  process.kill(service.pid, "SIGHUP");
  await vi.waitFor(() => expect(lines(service, "reloaded")).toMatchObject([{ logLevel: "debug" }]), often);
  expect(await callWith(service, secrets[0])).toBe(1505);
  expect(await callWith(service, secrets[1])).toBe(0);

  await writeFile(levelFile, "warn");
  process.kill(service.pid, "SIGHUP");
  await vi.waitFor(() => expect(lines(service, "reloaded")).toHaveLength(2), often);
  expect(await callWith(service, secrets[1], "unlogged")).toBe(0);
  await writeFile(levelFile, "info");
  process.kill(service.pid, "SIGHUP");
  await vi.waitFor(() => expect(lines(service, "reloaded")).toHaveLength(3), often);
  expect(await callWith(service, secrets[1], "logged")).toBe(0);
  const logged = () => service.log.map(({ operationID }) => operationID);
  await vi.waitFor(() => expect(logged()).toContain("logged"), often);
  expect(logged()).not.toContain("unlogged");
  expect(await service.kill("SIGTERM")).toBe(0);
});

test.each(["1", "2"])("the token secret is changed without one refused token, with WORKERS=%s", async (WORKERS) => {
  const previousFile = join(await useDir(), "previous");
  await writeFile(previousFile, secrets[1]);
  const { service, secretFile } = await useService({ WORKERS, TOKEN_SECRET_PREVIOUS_FILE: previousFile });
  const codes: number[] = [];
  let isOver = false;
  // Callers with tokens by either of them, all the while.
  const calling = secrets.map(async (secret) => {
    while (!isOver) codes.push(await callWith(service, secret));
  });
  await vi.waitFor(() => expect(codes.length).toBeGreaterThan(20), often);
  await writeFile(secretFile, secrets[1]);
  await writeFile(previousFile, secrets[0]);
  process.kill(service.pid, "SIGHUP");
  await vi.waitFor(() => expect(lines(service, "reloaded")).toHaveLength(1), often);
  const before = codes.length;
  await vi.waitFor(() => expect(codes.length).toBeGreaterThan(before + 20), often);
  isOver = true;
  await Promise.all(calling);
  expect(codes.filter((code) => code !== 0)).toEqual([]);

  await writeFile(previousFile, secrets[1]);
  process.kill(service.pid, "SIGHUP");
  await vi.waitFor(() => expect(lines(service, "reloaded")).toHaveLength(2), often);
  expect(await callWith(service, secrets[0])).toBe(1505);
  expect(await callWith(service, secrets[1])).toBe(0);
});

test("SIGHUP with a bad setting changes nothing, and says so", async () => {
  const { service, levelFile, secretFile } = await useService();
  await writeFile(secretFile, `${secrets[1]}\n`);
  await writeFile(levelFile, "loud\n");
  process.kill(service.pid, "SIGHUP");
  await vi.waitFor(() => expect(lines(service, "cannot reload: all settings stay as they are")).toHaveLength(1), often);
  expect(await callWith(service, secrets[0])).toBe(0);
  expect(await callWith(service, secrets[1])).toBe(1505);
});

test("SIGHUP names the settings that need a restart", async () => {
  const file = join(await useDir(), "sync");
  await writeFile(file, "true");
  const { service } = await useService({ SENDER_SYNC_FILE: file });
  await writeFile(file, "false");
  process.kill(service.pid, "SIGHUP");
  await vi.waitFor(() => expect(lines(service, "reloaded")).toMatchObject([{ needRestart: ["senderSync"] }]), often);
});

test("the variables that Kubernetes gives a pod for a Service do not stop the start", async () => {
  const links = { SERVICE_HOST: "10.96.12.7", SERVICE_PORT: "10002", PORT_10002_TCP: "tcp://10.96.12.7:10002" };
  const service = await startProcess(links);
  onTestFinished(() => service.remove());
  expect(lines(service, "variables of Kubernetes services are not settings: ignored")).toMatchObject([
    { variables: Object.keys(links).map((name) => `MUSTREACH_${name}`) },
  ]);
});

test("a standard output that is full does not end it", async () => {
  const dir = await useDir();
  // Every write to it fails with ENOSPC.
  const full = await open("/dev/full", "w");
  onTestFinished(() => full.close());
  const child = spawn(process.execPath, ["src/main.ts"], {
    cwd: root,
    env: environment(dir),
    stdio: ["ignore", full.fd, "pipe"],
  });
  const closed = once(child, "close");
  onTestFinished(() => void child.kill("SIGKILL"));
  let log = "";
  child.stderr?.on("data", (chunk) => {
    log += chunk;
  });
  await vi.waitFor(() => expect(log).toContain('"msg":"listening"'), often);
  const { adminUrl } = JSON.parse(/^.*"msg":"listening".*$/m.exec(log)?.[0] ?? "");
  await vi.waitFor(async () => expect((await fetch(`${adminUrl}/healthz`)).status).toBe(200), often);
  child.kill("SIGTERM");
  expect(await closed).toEqual([0, null]);
  expect(log).toContain('"msg":"stopped"');
});

test("on a terminal it prints tokens to try it with, and ends when the terminal is closed", async () => {
  const dir = await useDir();
  // util-linux's script is a terminal for what it runs.
  const run = `exec '${process.execPath}' src/main.ts 2>'${join(dir, "log")}'`;
  const terminal = spawn("script", ["-qec", run, "/dev/null"], {
    cwd: root,
    env: { ...environment(dir), SHELL: "/bin/sh" },
    stdio: ["pipe", "pipe", "ignore"],
  });
  const closed = once(terminal, "exit");
  onTestFinished(() => void terminal.kill("SIGKILL"));
  let printed = "";
  terminal.stdout.on("data", (chunk) => {
    printed += chunk;
  });
  await vi.waitFor(() => expect(printed).toContain("Ctrl-C stops"), often);
  expect(printed).toMatch(/^export MUSTREACH_TOKEN=eyJ[\w.-]+\r$/m);
  expect(printed).toMatch(/^export TOKEN=eyJ[\w.-]+\r$/m);
  for (const command of printed.match(/^npm .*$/gm) ?? [""]) expect(command).toMatch(/^npm (?!.*eyJ)/);

  const pid = Number(
    await readFile(join(dir, "data", "mustreach.lock.pid"), "utf8").then((text) => /\d+/.exec(text)?.[0]),
  );
  process.kill(pid, 0);
  // The terminal's window is closed.
  terminal.kill("SIGKILL");
  await closed;
  await whenGone(pid);
  expect(await readFile(join(dir, "log"), "utf8")).toContain('"msg":"stopped"');
});
