// Runs before every npm script, on whatever Node the machine has (18 or later), so with nothing installed and in plain
// JavaScript: installs the dependencies when they are not those of package-lock.json, and checks the Node that the
// script itself will get. Silent when there is nothing to do.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The first Node that runs TypeScript as it is. */
const nodeFloor = 24;

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const pinnedNode = join(root, "node_modules", ".bin", "node");

/** Tests and checks need the tools; what runs the service does not. */
const needsTools = !["prestart", "premustreach"].includes(process.env.npm_lifecycle_event ?? "");

if (!isInstalled()) withLock(() => isInstalled() || install());
requireNode();

/**
 * Whether what npm says it has installed is what package-lock.json asks for. Optional packages may be absent: most are
 * for other machines.
 */
function isInstalled() {
  const wanted = readPackages("package-lock.json");
  const installed = readPackages(join("node_modules", ".package-lock.json"));
  if (wanted === undefined || installed === undefined) return false;
  for (const [path, { version, integrity, optional, dev, devOptional }] of Object.entries(wanted)) {
    const found = installed[path];
    if (found === undefined) {
      const spared = path === "" || optional || devOptional || (dev && !needsTools);
      if (!spared) return false;
    } else if (found.version !== version || found.integrity !== integrity) return false;
  }
  return Object.keys(installed).every((path) => path in wanted);
}

function readPackages(path) {
  try {
    return JSON.parse(readFileSync(join(root, path), "utf8")).packages;
  } catch {
    return undefined;
  }
}

function install() {
  say("installing the dependencies (npm ci), once");
  const { npm_execpath: npmCli = "", npm_node_execpath: npmNode = process.execPath } = process.env;
  // Not by the pinned Node, which npm ci is about to remove.
  const [command, ...first] = /npm-cli\.c?js$/.test(npmCli) ? [npmNode, npmCli] : ["npm"];
  const tools = needsTools ? "--include=dev" : "--omit=dev";
  // No package needs a script of its own to be installed, so none gets to run one.
  const options = ["ci", "--no-audit", "--no-fund", "--loglevel=error", "--ignore-scripts", tools];
  const { status, error } = spawnSync(command, [...first, ...options], {
    cwd: root,
    // Standard output belongs to the script: it may be piped into a program.
    stdio: ["ignore", 2, 2],
    // npm is a batch file there.
    shell: process.platform === "win32" && command === "npm",
  });
  if (status !== 0) fail(`npm ci failed (${error?.message ?? `exit code ${status}`})`);
  // A package for another C library installs well and cannot run; without it, the machine's own Node is used.
  if (existsSync(pinnedNode) && majorOf(pinnedNode) === 0) rmSync(pinnedNode);
}

function requireNode() {
  if (Number.parseInt(process.versions.node, 10) >= nodeFloor) return;
  if (existsSync(pinnedNode) && majorOf(pinnedNode) >= nodeFloor) return;
  fail(
    `Node ${nodeFloor} or later is needed, this is ${process.version}, and the dependencies brought none for ` +
      `${process.platform} on ${process.arch}: install it (https://nodejs.org) and run this again.`,
  );
}

function majorOf(node) {
  const { stdout } = spawnSync(node, ["--version"], { encoding: "utf8" });
  return Number(/^v(\d+)\./.exec(stdout ?? "")?.[1] ?? 0);
}

/** Lets one process at a time install: two npm scripts may be started at once. */
function withLock(work) {
  const lock = join(root, ".cache", "setup.lock");
  mkdirSync(dirname(lock), { recursive: true });
  for (let waited = false; !takeLock(lock); waited = true) {
    if (!waited) say("waiting for another process that is installing the dependencies");
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
  }
  const release = () => rmSync(lock, { recursive: true, force: true });
  process.once("exit", release);
  work();
  process.off("exit", release);
  release();
}

function takeLock(lock) {
  try {
    mkdirSync(lock);
    writeFileSync(join(lock, "pid"), String(process.pid));
    return true;
  } catch (error) {
    if (error.code !== "EEXIST") throw error;
    if (isStale(lock)) rmSync(lock, { recursive: true, force: true });
    return false;
  }
}

function isStale(lock) {
  try {
    const written = readFileSync(join(lock, "pid"), "utf8");
    // Between its making and its naming, a lock has no owner for a moment; longer means that its maker was killed.
    if (written === "") return Date.now() - statSync(lock).mtimeMs > 5_000;
    process.kill(Number(written), 0);
    return false;
  } catch (error) {
    if (error.code === "ENOENT") return existsSync(lock) && Date.now() - statSync(lock).mtimeMs > 5_000;
    return error.code === "ESRCH";
  }
}

function say(line) {
  process.stderr.write(`mustreach: ${line}\n`);
}

function fail(line) {
  say(line);
  process.exit(1);
}
