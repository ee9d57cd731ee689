import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { chmod, copyFile, mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { delimiter, join, resolve } from "node:path";

/** What the programs in other languages are generated and built with. What is installed is kept for the next run. */
export const root = resolve(import.meta.dirname, "../..");
const cache = join(root, ".cache", "foreign");
const bin = join(cache, "bin");
const venv = join(cache, "venv");
const python = join(venv, "bin", "python");

export const toolEnv: NodeJS.ProcessEnv = {
  ...process.env,
  PATH: [bin, join(root, "node_modules", ".bin"), process.env.PATH].join(delimiter),
  PROTOC: join(bin, "protoc"),
  GOBIN: bin,
  CARGO_TARGET_DIR: join(cache, "target"),
};

/** What is generated for: the protos of ours that a client uses. The google packages have code in every language. */
const clientProtos = ["msg/v1/msg.proto", "delivery/v1/delivery.proto"].map((file) => `mustreach/${file}`);

/** The rules in them, which have code in a package for Go, but none that a Python client would have anyway. */
const rulesProto = "buf/validate/validate.proto";

/** The first line that a toolchain says of its version, or undefined where it is not there. */
export async function findVersion(command: string, ...args: string[]): Promise<string | undefined> {
  return (await run(root, command, ...args).catch(() => undefined))?.split("\n")[0];
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
  await mkdir(bin, { recursive: true });
  if (!existsSync(python)) await run(root, "python3", "-m", "venv", venv);
  await run(root, python, "-m", "pip", "install", "--quiet", "-r", join(root, "clients", "python", "requirements.txt"));
  await writeFile(join(bin, "protoc"), `#!/bin/sh\nexec '${python}' -m grpc_tools.protoc "$@"\n`);
  await chmod(join(bin, "protoc"), 0o755);
  return run(root, "protoc", "--version");
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
    await run(dir, "cargo", "build", "--quiet");
    return [join(cache, "target", "debug", program)];
  },

  async java(dir: string, main = "Client"): Promise<string[]> {
    await run(dir, "mvn", "--quiet", "--batch-mode", "package");
    await linkMavenPlugins(join(dir, "target", "protoc-plugins"));
    return ["java", "-cp", [join(dir, "target", "classes"), join(dir, "target", "lib", "*")].join(delimiter), main];
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
