import { spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { delimiter, join, resolve } from "node:path";
import { pino } from "pino";
import { findNatsServer } from "../src/embedded/find.ts";
import { compareContract } from "./compare-contract.ts";

/**
 * Everything that is checked besides the tests: generated code, style, types and contract, and that there is a broker
 * for the tests to run on. Nothing in the tree is changed. The first failure ends it, with the words of the tool.
 */
const root = resolve(import.meta.dirname, "..");
const cache = join(root, ".cache");
const env = { ...process.env, PATH: [join(root, "node_modules", ".bin"), process.env.PATH].join(delimiter) };

/** A check: resolves with what the progress line should add, throws what is wrong. */
const steps: Readonly<Record<string, (scratch: string) => Promise<string | undefined>>> = {
  "nats-server for the tests": findBroker,
  "generated code as of the protos": compareGenerated,
  "types (tsc)": () => run("tsc", ["--noEmit"]),
  "types of the packages (tsc)": async () => {
    for (const name of ["client", "service"]) await run("tsc", ["--noEmit", "-p", `release/tsconfig.${name}.json`]);
    return undefined;
  },
  "style (biome)": () => run("biome", ["check", "--error-on-warnings"]),
  "proto style (buf lint)": () => run("buf", ["lint"]),
  "proto format (buf format)": () => run("buf", ["format", "--diff", "--exit-code", "proto"]),
  "contract compatible (buf breaking)": () => compareContract(root, run),
};

async function findBroker(): Promise<string> {
  const log = pino({}, { write: (line) => void process.stderr.write(`  ${JSON.parse(line).msg}\n`) });
  return (await findNatsServer({ log })).version;
}

async function compareGenerated(scratch: string): Promise<undefined> {
  await run("buf", ["generate", "--output", scratch]);
  await run("buf", ["generate", "--template", "test/conformance/buf.gen.yaml", "--output", scratch]);
  const different = ["src/gen", "test/conformance/gen"].flatMap((dir) => {
    const [committed, generated] = [join(root, dir), join(scratch, dir)];
    const files = new Set([...listFiles(committed), ...listFiles(generated)]);
    return [...files]
      .filter((file) => read(join(committed, file)) !== read(join(generated, file)))
      .map((file) => join(dir, file));
  });
  if (different.length === 0) return;
  throw new Error(`generated code is not what the protos generate (npm run generate):\n${different.join("\n")}`);
}

const running = new Set<ReturnType<typeof spawn>>();

/** Runs a tool; its output is the error when it fails. */
function run(tool: string, args: string[]): Promise<undefined> {
  return new Promise((succeed, fail) => {
    // The tools are batch files on Windows.
    const child = spawn(tool, args, {
      cwd: root,
      env,
      stdio: ["ignore", "pipe", "pipe"],
      shell: process.platform === "win32",
    });
    running.add(child);
    let output = "";
    child.stdout.on("data", (data) => {
      output += data;
    });
    child.stderr.on("data", (data) => {
      output += data;
    });
    child.once("error", fail);
    child.once("close", (code) => {
      running.delete(child);
      if (code === 0) succeed(undefined);
      else fail(new Error(`${output.trim()}\n${tool} ${args.join(" ")}: exit code ${code}`));
    });
  });
}

function listFiles(dir: string): string[] {
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(dir.length + 1));
}

function read(path: string): string | undefined {
  return existsSync(path) ? readFileSync(path, "utf8") : undefined;
}

/** Runs checks until there are none, or one has failed. */
async function work(): Promise<void> {
  for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
    const [name, step] = next;
    const scratch = mkdtempSync(join(cache, "check-"));
    const startedAt = performance.now();
    let outcome: string;
    let details = "";
    try {
      const remark = await step(scratch);
      outcome = `ok      ${name}${remark === undefined ? "" : `: ${remark}`}`;
    } catch (error) {
      // The first failure ends the tools of the other checks, which is no failure of theirs.
      if (process.exitCode === 1) return;
      process.exitCode = 1;
      queue.length = 0;
      for (const child of running) child.kill();
      outcome = `FAILED  ${name}`;
      details = `${error instanceof Error ? error.message : error}\n`;
    } finally {
      rmSync(scratch, { recursive: true, force: true });
    }
    process.stdout.write(`${outcome} (${((performance.now() - startedAt) / 1_000).toFixed(1)} s)\n${details}`);
  }
}

mkdirSync(cache, { recursive: true });
const queue = Object.entries(steps);
// Two at a time: most of them keep one core busy.
await Promise.all([work(), work()]);
