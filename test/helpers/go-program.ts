import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";

/** A program that others have written in Go. */
export interface GoProgram {
  readonly name: string;
  readonly version: string;
  /** What is installed, with the version as Go has it. */
  readonly module: string;
}

/**
 * Where a program is, which is compiled if it is not there yet. Undefined where there is no Go: then it is said that `tests`
 * are skipped.
 */
export async function installGoProgram(
  { name, version, module }: GoProgram,
  tests: string,
): Promise<string | undefined> {
  const bin = resolve(import.meta.dirname, `../../.cache/${name}-${version}`);
  const program = join(bin, process.platform === "win32" ? `${name}.exe` : name);
  if (existsSync(program)) return program;
  if ((await run("go", ["version"])).code !== 0) {
    process.stdout.write(`${tests}: SKIPPED, NOT PASSED: there is no Go here to compile it with\n`);
    return undefined;
  }
  const { code, output } = await run("go", ["install", module], { GOBIN: bin });
  if (code !== 0) throw new Error(`go install ${module} failed:\n${output}`);
  return program;
}

/** Runs a program to its end; -1 when it cannot be started. */
export function run(file: string, args: string[], env = {}): Promise<{ code: number; output: string }> {
  return new Promise((done) => {
    const child = spawn(file, args, { env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    const take = (chunk: Buffer) => {
      output += chunk;
    };
    child.stdout.on("data", take);
    child.stderr.on("data", take);
    child.on("error", () => done({ code: -1, output }));
    child.on("close", (code) => done({ code: code ?? -1, output }));
  });
}
