import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, constants, openSync, readSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, truncate } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";

const root = resolve(import.meta.dirname, "..", "..");
const often = { interval: 50 };

interface Service {
  readonly child: ChildProcess;
  readonly url: string;
  readonly adminUrl: string;
}

/** Starts the service by a line of shell, in which "$@" is its command, and waits for what it prints. */
async function start(script: string, dir: string): Promise<Service> {
  const own = Object.entries(process.env).filter(([name]) => !name.startsWith("MUSTREACH_"));
  const env = {
    ...Object.fromEntries(own),
    MUSTREACH_PORT: "0",
    MUSTREACH_ADMIN_PORT: "0",
    MUSTREACH_DATA_DIR: join(dir, "data"),
    MUSTREACH_ACCESS_LOG: "all",
  };
  const child = spawn("/bin/sh", ["-c", script, dir, process.execPath, "src/main.ts"], {
    cwd: root,
    env,
    stdio: ["ignore", "pipe", "ignore"],
  });
  const exited = once(child, "exit");
  onTestFinished(async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
    await exited;
    await rm(dir, { recursive: true, force: true });
  });
  let printed = "";
  child.stdout?.on("data", (chunk) => {
    printed += chunk;
  });
  await vi.waitFor(() => expect(printed).toContain("Ctrl-C stops"), often);
  const [url = "", adminUrl = ""] = ["answers at (\\S+)\\. Try", "operator: (http\\S+)/console"].map(
    (pattern) => new RegExp(pattern).exec(printed)?.[1] ?? "",
  );
  return { child, url, adminUrl };
}

/** Keys that are no fields are logged: 600 bytes of them. */
const body = JSON.stringify({ token: "", ...Object.fromEntries(Array.from("0123456789", (x) => [x.repeat(60), 1])) });

/** Makes the service log about 1 KB, and fails when it does not answer. */
async function call({ url }: Service, operationID: string): Promise<void> {
  const response = await fetch(`${url}/auth/parse_token`, {
    method: "POST",
    headers: { operationID: operationID.padEnd(200, ".") },
    body,
    signal: AbortSignal.timeout(10_000),
  });
  expect(await response.json()).toMatchObject({ errCode: 1001 });
}

async function dropped({ adminUrl }: Service): Promise<number> {
  const metrics = await (await fetch(`${adminUrl}/metrics`)).text();
  return Number(/^mustreach_log_lines_dropped_total (\d+)$/m.exec(metrics)?.[1]);
}

async function expectStop({ child }: Service): Promise<void> {
  const exited = once(child, "exit");
  child.kill("SIGTERM");
  expect(await exited).toEqual([0, null]);
}

test("with its log on a full disk the service answers, counts what it cannot write, goes on when there is room, and stops", async () => {
  const dir = await mkdtemp(join(tmpdir(), "mustreach-log-"));
  await mkdir(join(dir, "full"));
  const isRoot = process.getuid?.() === 0;
  // A file system of 64 KiB that only this process sees, or, where that is not allowed, a device that is always full.
  const service = await start(
    `if unshare ${isRoot ? "-m" : "-rm"} true 2>/dev/null; then
       exec unshare ${isRoot ? "-m" : "-rm"} /bin/sh -c 'mount -t tmpfs -o size=64k none "$0/full" && exec "$@" 2>>"$0/full/log"' "$0" "$@"
     fi
     exec "$@" 2>/dev/full`,
    dir,
  );
  const log = `/proc/${service.child.pid}/root${dir}/full/log`;
  const isLimited = (await readFile(log, "utf8").catch(() => "")) !== "";
  await vi.waitFor(async () => {
    await Promise.all(Array.from({ length: 100 }, () => call(service, "filling")));
    expect(await dropped(service)).toBeGreaterThan(100);
  }, often);
  expect((await fetch(`${service.url}/healthz`)).status).toBe(200);
  if (isLimited) {
    await truncate(log, 0);
    await call(service, "after");
    await vi.waitFor(async () => {
      const lines = (await readFile(log, "utf8")).replaceAll("\0", "").trim().split("\n");
      const parsed = lines.flatMap((line) => (line.startsWith("{") && line.endsWith("}") ? [JSON.parse(line)] : []));
      expect(parsed).toContainEqual(expect.objectContaining({ operationID: "after".padEnd(200, ".") }));
      expect(parsed).toContainEqual(
        expect.objectContaining({ msg: "the log could not be written: lines are missing" }),
      );
    }, often);
  }
  await expectStop(service);
});

test("with a log that nobody reads the service answers, counts what it cannot write, and stops", async () => {
  const dir = await mkdtemp(join(tmpdir(), "mustreach-log-"));
  execFileSync("mkfifo", [join(dir, "pipe")]);
  const pipe = openSync(join(dir, "pipe"), constants.O_RDWR | constants.O_NONBLOCK);
  onTestFinished(() => closeSync(pipe));
  const service = await start('exec "$@" 2>"$0/pipe"', dir);
  // 64 KiB are in the pipe, and 2 MiB wait at most.
  await vi.waitFor(
    async () => {
      await Promise.all(Array.from({ length: 100 }, () => call(service, "filling")));
      expect(await dropped(service)).toBeGreaterThan(100);
    },
    { timeout: 90_000, interval: 1 },
  );
  expect((await fetch(`${service.url}/healthz`)).status).toBe(200);
  await expectStop(service);
  const kept = Buffer.alloc(65_536);
  expect(kept.toString("utf8", 0, readSync(pipe, kept))).toMatch(/^\{.*"msg":"listening"\}$/m);
});
