import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { chmod, copyFile, mkdir, readdir, rename, rm, writeFile } from "node:fs/promises";
import { delimiter, join, resolve } from "node:path";
import { stripVTControlCharacters } from "node:util";
import { userCacheDir } from "../../src/embedded/find.ts";

/**
 * What the programs in other languages are generated and built with. What is installed is kept in the user's cache, for
 * the next run and for other checkouts.
 */
export const root = resolve(import.meta.dirname, "../..");
export const cache = join(userCacheDir(process.env), "mustreach", "foreign");
const requirements = join(root, "clients", "python", "requirements.txt");
const bin = join(cache, "bin");
const venv = join(cache, `venv-${createHash("sha256").update(readFileSync(requirements)).digest("hex").slice(0, 12)}`);
const python = join(venv, "bin", "python");
const protoc = join(venv, "protoc", "protoc");

export const toolEnv: NodeJS.ProcessEnv = {
  ...process.env,
  PATH: [join(venv, "protoc"), bin, join(root, "node_modules", ".bin"), process.env.PATH].join(delimiter),
  PROTOC: protoc,
  GOBIN: bin,
  // What is compiled of the packages is kept; a program's own is in its folder.
  CARGO_BUILD_BUILD_DIR: join(cache, "cargo"),
  CARGO_PROFILE_DEV_DEBUG: "0",
  MAVEN_OPTS: "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
};

/** What package managers say of a registry that they do not reach, which is no fault of what is built. */
const unreached = /dial tcp|Could(?: not|n't) (?:resolve host|connect to)|Could not transfer|Failure to transfer/i;

/** Whether a build has failed because a registry was not reached. */
export const isUnreached = (error: unknown): boolean => error instanceof Error && unreached.test(error.message);

/** What is generated for: the protos of ours that a client uses. The google packages have code in every language. */
const clientProtos = ["msg/v1/msg.proto", "delivery/v1/delivery.proto"].map((file) => `mustreach/${file}`);

/** The rules in them, which have code in a package for Go, but none that a Python client would have anyway. */
const rulesProto = "buf/validate/validate.proto";

/** The first line that a toolchain says of its version, or undefined where it is not there. */
export async function findVersion(command: string, ...args: string[]): Promise<string | undefined> {
  const output = await run(root, command, ...args).catch(() => undefined);
  return output === undefined ? undefined : stripVTControlCharacters(output).split("\n")[0];
}

export async function run(cwd: string, command: string, ...args: string[]): Promise<string> {
  return runWith(toolEnv, cwd, command, ...args);
}

/** Runs a command and resolves to its output, which is in the error when it fails. */
export function runWith(env: NodeJS.ProcessEnv, cwd: string, command: string, ...args: string[]): Promise<string> {
  return new Promise((succeed, fail) => {
    const child = spawn(command, args, { cwd, env, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.on("data", (data) => {
        output += data;
      });
    }
    child.once("error", fail);
    child.once("close", (code) => {
      if (code === 0) succeed(output.trim());
      else fail(new Error(`${output.trim()}\n${[command, ...args].join(" ")}: exit code ${code}`));
    });
  });
}

/** protoc of the Python package grpcio-tools, and that package, for the programs in Python. Resolves to its version. */
export async function installProtoc(): Promise<string> {
  if (!existsSync(protoc)) await installVenv();
  return run(root, "protoc", "--version");
}

/** In a folder of its own until it is whole, since another run may do the same. */
async function installVenv(): Promise<void> {
  const draft = `${venv}.${process.pid}`;
  const [pip, scripts] = [join(draft, "bin", "python"), join(draft, "protoc")];
  try {
    await run(root, "python3", "-m", "venv", draft);
    await run(root, pip, "-m", "pip", "install", "--quiet", "--no-compile", "-r", requirements);
    await mkdir(scripts);
    await writeFile(join(scripts, "protoc"), `#!/bin/sh\nexec '${python}' -m grpc_tools.protoc "$@"\n`);
    await chmod(join(scripts, "protoc"), 0o755);
    await rename(draft, venv).catch((error) => {
      if (error.code !== "ENOTEMPTY") throw error;
    });
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
}

/**
 * Generates and builds a program of a kind in its folder, beside `proto/`; resolves to the command that runs it.
 *
 * @param main the file or class that is run, where that has a name.
 */
export const builds = {
  async python(dir: string, main = "client.py"): Promise<string[]> {
    await mkdir(join(dir, "gen"), { recursive: true });
    await run(dir, "protoc", "-Iproto", "--python_out=gen", rulesProto, ...clientProtos);
    const grpc = ["-m", "grpc_tools.protoc", "-Iproto", "--grpc_python_out=gen"];
    await run(dir, python, ...grpc, ...clientProtos);
    return [python, join(dir, main)];
  },

  async go(dir: string): Promise<string[]> {
    await run(dir, "go", "install", "google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2");
    return compileGo(dir, ["--go-grpc_out=gen", ...clientProtos]);
  },

  async connect(dir: string): Promise<string[]> {
    await run(dir, "go", "install", "connectrpc.com/connect/cmd/protoc-gen-connect-go@v1.21.1");
    return compileGo(dir, ["--connect-go_out=gen", ...clientProtos]);
  },

  /** With what OpenIM's SDKs exchange with the gateway. */
  openim: (dir: string): Promise<string[]> => compileGo(dir, ["mustreach/openim/v1/gateway.proto"]),

  async rust(dir: string, program = "mustreach-foreign-client"): Promise<string[]> {
    const target = join(dir, "target");
    await runWith({ ...toolEnv, CARGO_TARGET_DIR: target }, dir, "cargo", "build", "--quiet");
    return [join(target, "debug", program)];
  },

  async java(dir: string, main = "Client"): Promise<string[]> {
    await run(dir, "mvn", "--quiet", "--batch-mode", "package");
    await linkMavenPlugins(join(dir, "target", "protoc-plugins"));
    const classes = [join(dir, "target", "classes"), join(dir, "target", "lib", "*")].join(delimiter);
    // It runs for seconds only.
    return ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", classes, main];
  },

  async csharp(dir: string): Promise<string[]> {
    await run(dir, "dotnet", "publish", "--nologo", "--verbosity", "quiet", "--output", "out");
    return ["dotnet", join(dir, "out", "Client.dll")];
  },
} as const;

/** Maven's protoc, which knows Java, and its plugin, under the names by which buf looks for them. */
export const mavenBin = join(cache, "maven-bin");

async function linkMavenPlugins(from: string): Promise<void> {
  await rm(mavenBin, { recursive: true, force: true });
  await mkdir(mavenBin, { recursive: true });
  for (const file of await readdir(from)) {
    const [name] = /^protoc(-gen-grpc-java)?(?=-\d)/.exec(file) ?? [];
    if (name !== undefined) await copyFile(join(from, file), join(mavenBin, name));
  }
}

async function compileGo(dir: string, generate: readonly string[]): Promise<string[]> {
  await run(dir, "go", "install", "google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12");
  await mkdir(join(dir, "gen"), { recursive: true });
  await run(dir, "protoc", "-Iproto", "--go_out=gen", ...generate);
  await writeFile(join(dir, "gen", "mustreach", "go.mod"), "module mustreach\n\ngo 1.24\n");
  await run(dir, "go", "mod", "tidy");
  await run(dir, "go", "build", "-o", "client", ".");
  return [join(dir, "client")];
}
