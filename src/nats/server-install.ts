import { execFile, spawn } from "node:child_process";
import { mkdir, readdir, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import type { BaseLogger } from "pino";
import { waitForLock } from "./data-lock.ts";
import {
  findOnPath,
  inspectNatsServer,
  isAtLeast,
  type NatsServer,
  natsServerFloor,
  natsServerPinned,
  parseVersion,
} from "./server-inspect.ts";

export interface InstallOptions {
  /** Where the binary goes. */
  readonly path: string;
  readonly log: BaseLogger;
  readonly env: NodeJS.ProcessEnv;
}

/** Why one way to install did not work. */
class InstallError extends Error {}

/** How long one program may take, in milliseconds: a build on a slow machine, or a registry that does not answer. */
const timeoutMs = 600_000;

/**
 * Installs a nats-server for this user: built by Go, or out of the package that the system's package manager offers.
 * Several processes may call it at once: one installs, the others wait and take its result.
 *
 * @returns the binary, or why each way failed.
 */
export async function installNatsServer(options: InstallOptions): Promise<NatsServer | string[]> {
  const { path, log } = options;
  const cache = dirname(dirname(path));
  const failures: string[] = [];
  try {
    await mkdir(cache, { recursive: true });
    const lock = await waitForLock(join(cache, "install.lock"), (holder) => {
      log.info(`waiting for another process (${holder}) that is installing nats-server`);
    });
    // Next to its destination: a rename replaces it in one step only within a file system.
    const dir = join(cache, ".installing");
    try {
      // What an installation that was interrupted has left.
      await rm(dir, { recursive: true, force: true });
      await mkdir(dir);
      const found = await inspectNatsServer(path);
      if (typeof found !== "string") return found;
      for (const [name, install] of Object.entries(ways)) {
        try {
          return await install(dir, options);
        } catch (error) {
          if (!(error instanceof InstallError)) throw error;
          failures.push(`${name}: ${error.message}`);
        }
      }
    } finally {
      await rm(dir, { recursive: true, force: true });
      lock.release();
    }
  } catch (error) {
    failures.push(`installing into ${cache}: ${error instanceof Error ? error.message : error}`);
  }
  return failures;
}

const ways = { "go install": installWithGo, apt: installWithApt, brew: installWithBrew };

async function installWithGo(dir: string, options: InstallOptions): Promise<NatsServer> {
  const go = await requireProgram("go", options);
  options.log.info(`building nats-server ${natsServerPinned} with go install: about a minute, once per user`);
  const { GOOS: _, GOARCH: __, ...env } = options.env;
  await runLogged(go, ["install", `github.com/nats-io/nats-server/v2@v${natsServerPinned}`], options.log, {
    ...env,
    GOBIN: dir,
    // A user's own flags, as -mod=vendor, would break the build. Empty would mean those of `go env -w`.
    GOFLAGS: "-trimpath",
    GOWORK: "off",
    GO111MODULE: "on",
    CGO_ENABLED: "0",
  });
  return moveIntoPlace(join(dir, "nats-server"), options);
}

/** Takes the binary out of the package: that needs no root and starts no system service. */
async function installWithApt(dir: string, options: InstallOptions): Promise<NatsServer> {
  const { env, log } = options;
  const aptCache = await requireProgram("apt-cache", options);
  const aptGet = await requireProgram("apt-get", options);
  const dpkg = await requireProgram("dpkg-deb", options);
  const candidate = /Candidate: (?:\d+:)?(\S+)/.exec(await run(aptCache, ["policy", "nats-server"], env))?.[1];
  if (candidate === undefined || candidate === "(none)") throw new InstallError("has no package nats-server");
  // Debian writes 2.14.0~rc1-1 for the first package of 2.14.0-rc1.
  requireFloor(candidate.replace(/-[^-]*$/, "").replace("~", "-"));
  log.info(`taking nats-server ${candidate} out of the system's package`);
  await run(aptGet, ["download", "nats-server"], env, dir);
  const [archive] = (await readdir(dir)).filter((file) => file.endsWith(".deb"));
  if (archive === undefined) throw new InstallError("apt-get download left no package");
  await run(dpkg, ["--extract", archive, "package"], env, dir);
  const [binary] = (await readdir(join(dir, "package"), { recursive: true })).filter((file) =>
    /bin\/nats-server$/.test(file),
  );
  if (binary === undefined) throw new InstallError(`the package ${archive} holds no nats-server`);
  return moveIntoPlace(join(dir, "package", binary), options);
}

async function installWithBrew(_dir: string, options: InstallOptions): Promise<NatsServer> {
  const { env, log } = options;
  const brew = await requireProgram("brew", options);
  const version = parseVersion((await run(brew, ["info", "nats-server"], env)).split("\n")[0] ?? "");
  if (version === undefined) throw new InstallError("has no formula nats-server");
  requireFloor(version);
  log.info(`installing nats-server ${version} with brew`);
  await runLogged(brew, ["install", "nats-server"], log, env);
  const prefix = (await run(brew, ["--prefix", "nats-server"], env)).trim();
  const found = await inspectNatsServer(join(prefix, "bin", "nats-server"));
  if (typeof found === "string") throw new InstallError(found);
  return found;
}

async function moveIntoPlace(built: string, { path }: InstallOptions): Promise<NatsServer> {
  const found = await inspectNatsServer(built);
  if (typeof found === "string") throw new InstallError(`${basename(built)} ${found}`);
  await mkdir(dirname(path), { recursive: true });
  await rename(built, path);
  return { path, version: found.version };
}

async function requireProgram(name: string, { env }: InstallOptions): Promise<string> {
  const path = await findOnPath(name, env);
  if (path === undefined) throw new InstallError(`${name} is not installed`);
  return path;
}

function requireFloor(version: string): void {
  if (!isAtLeast(version, natsServerFloor)) throw new InstallError(`offers ${version} only`);
}

async function run(program: string, args: string[], env: NodeJS.ProcessEnv, cwd?: string): Promise<string> {
  try {
    return (await promisify(execFile)(program, args, { env, timeout: timeoutMs, ...(cwd !== undefined && { cwd }) }))
      .stdout;
  } catch (error) {
    throw new InstallError(`${basename(program)} failed: ${lastLine(error instanceof Error ? error.message : "")}`);
  }
}

/** Runs a program that takes long, with its lines in the log. */
async function runLogged(program: string, args: string[], log: BaseLogger, env: NodeJS.ProcessEnv): Promise<void> {
  const name = basename(program);
  const child = spawn(program, args, { env, timeout: timeoutMs, stdio: ["ignore", "pipe", "pipe"] });
  let lines = "";
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on("line", (line) => {
      lines += `${line}\n`;
      log.info(`${name}: ${line}`);
    });
  }
  const startedAt = performance.now();
  const progress = setInterval(() => {
    log.info(`${name} has been at it for ${Math.round((performance.now() - startedAt) / 1_000)} s`);
  }, 15_000);
  const failed = await new Promise<string | undefined>((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("close", (code) => resolve(code === 0 ? undefined : lastLine(lines) || `exit code ${code}`));
  });
  clearInterval(progress);
  if (failed !== undefined) throw new InstallError(failed);
}

function lastLine(text: string): string {
  return text.trim().split("\n").at(-1)?.trim() ?? "";
}
