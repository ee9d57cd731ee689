import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";

const root = resolve(import.meta.dirname, "..");
const buf = join(root, "node_modules", ".bin", "buf");
/** Built once and kept for the next run. */
const cache = join(root, ".cache", "bench");

/** A program that is not there, and why. */
export interface NotBuilt {
  readonly reason: string;
}

/**
 * Builds the generator and the peers that are written in Go: their sources in `bench/go`, with the messages generated
 * from `proto/`. Versions are those of go.mod. What is built is a path; what cannot be built says why.
 */
export function buildGo(): ReadonlyMap<"load" | "echo" | "centrifuge", string | NotBuilt> {
  const names = ["load", "echo", "centrifuge"] as const;
  mkdirSync(cache, { recursive: true });
  // Its own, for two runs may build at a time.
  const module = mkdtempSync(join(cache, "go-"));
  cpSync(join(import.meta.dirname, "go"), module, { recursive: true });
  const plugin = "google.golang.org/protobuf/cmd/protoc-gen-go";
  const generate = () =>
    run(module, "go", "build", "-o", join(cache, "protoc-gen-go"), plugin) ??
    run(root, buf, "generate", "--template", join(module, "buf.gen.yaml"), "--output", module);
  const reason = generate();
  const built = names.map((name) => {
    const path = join(cache, name);
    const problem = reason ?? run(module, "go", "build", "-o", path, `./cmd/${name}`);
    return [name, problem === undefined ? path : { reason: problem }] as const;
  });
  rmSync(module, { recursive: true, force: true });
  return new Map(built);
}

/** Runs a tool; what it says when it fails. */
function run(cwd: string, command: string, ...args: string[]): string | undefined {
  const { error, status, stderr } = spawnSync(command, args, { cwd, encoding: "utf8" });
  if (error !== undefined) return `${command} is missing`;
  return status === 0 ? undefined : `${command} ${args[0]}: ${stderr.trim().split("\n").at(-1)}`;
}
