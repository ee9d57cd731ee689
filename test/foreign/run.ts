import { spawn } from "node:child_process";
import { chmod, cp, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join, resolve } from "node:path";
import { startProcess } from "../helpers/process.ts";

/**
 * Clients in other languages, generated with plain protoc from `proto/` alone: each is built in a folder that has
 * nothing but `proto/` and its own sources, sends to a running service, receives, acknowledges, and reads the details of
 * an error. And `tools`: grpcurl and grpc_health_probe, by what the service tells of itself. It is apart from `npm test`, since it installs packages of each language and compiles for minutes.
 *
 *     npm run test:foreign              every language whose toolchain is here
 *     npm run test:foreign -- go rust   these; one whose toolchain is missing has failed
 */
const root = resolve(import.meta.dirname, "../..");
/** What is installed and compiled is kept here for the next run. */
const cache = join(root, ".cache", "foreign");
const names = ["tools", "python", "go", "connect", "openim", "rust", "java"] as const;
type Name = (typeof names)[number];

const bin = join(cache, "bin");
const venv = join(cache, "venv");
const python = join(venv, "bin", "python");
const env = {
  ...process.env,
  PATH: [bin, process.env.PATH].join(delimiter),
  PROTOC: join(bin, "protoc"),
  GOBIN: bin,
  CARGO_TARGET_DIR: join(cache, "target"),
};

/** The toolchain that each needs. */
const toolchains: Readonly<Record<Name, string[]>> = {
  tools: ["go", "version"],
  python: ["python3", "--version"],
  go: ["go", "version"],
  connect: ["go", "version"],
  openim: ["go", "version"],
  rust: ["cargo", "--version"],
  java: ["mvn", "-Dstyle.color=never", "--version"],
};

/** grpcurl and grpc_health_probe, by reflection: they have no proto of ours. */
const tools = [
  "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4",
  "github.com/grpc-ecosystem/grpc-health-probe@v0.4.63",
];

/** What is generated for: the protos of ours that a client uses. The google packages have code in every language. */
const protos = ["msg/v1/msg.proto", "delivery/v1/delivery.proto"].map((file) => `mustreach/${file}`);
/** What OpenIM's SDKs exchange with the gateway. */
const gatewayProtos = ["mustreach/openim/v1/gateway.proto"];

/** Generates and builds a client in its folder, beside `proto/`; resolves to the command that runs it. */
const builds: Readonly<Record<Name, (dir: string) => Promise<string[]>>> = {
  async tools(dir) {
    for (const tool of tools) await run(dir, "go", "install", tool);
    return [process.execPath, "client.ts"];
  },

  async python(dir) {
    await mkdir(join(dir, "gen"));
    await run(dir, "protoc", "-Iproto", "--python_out=gen", ...protos);
    const grpc = ["-m", "grpc_tools.protoc", "-Iproto", "--grpc_python_out=gen"];
    await run(dir, python, ...grpc, ...protos);
    return [python, "client.py"];
  },

  go: (dir) => buildGo(dir, "google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2", "--go-grpc_out=gen"),

  connect: (dir) => buildGo(dir, "connectrpc.com/connect/cmd/protoc-gen-connect-go@v1.21.1", "--connect-go_out=gen"),

  openim: (dir) => compileGo(dir, gatewayProtos),

  async rust(dir) {
    await run(dir, "cargo", "build", "--quiet");
    return [join(cache, "target", "debug", "mustreach-foreign-client")];
  },

  async java(dir) {
    await run(dir, "mvn", "--quiet", "--batch-mode", "package");
    return ["java", "-cp", [join(dir, "target", "classes"), join(dir, "target", "lib", "*")].join(delimiter), "Client"];
  },
};

async function buildGo(dir: string, plugin: string, ...generate: string[]): Promise<string[]> {
  await run(dir, "go", "install", plugin);
  return compileGo(dir, [...generate, ...protos]);
}

async function compileGo(dir: string, generate: readonly string[]): Promise<string[]> {
  await run(dir, "go", "install", "google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12");
  await mkdir(join(dir, "gen"));
  await run(dir, "protoc", "-Iproto", "--go_out=gen", ...generate);
  await writeFile(join(dir, "gen", "mustreach", "go.mod"), "module mustreach\n\ngo 1.24\n");
  await run(dir, "go", "mod", "tidy");
  await run(dir, "go", "build", "-o", "client", ".");
  return [join(dir, "client")];
}

async function run(cwd: string, command: string, ...args: string[]): Promise<string> {
  return runWith(env, cwd, command, ...args);
}

/** Runs a command and resolves to its output, which is in the error when it fails. */
function runWith(environment: NodeJS.ProcessEnv, cwd: string, command: string, ...args: string[]): Promise<string> {
  return new Promise((succeed, fail) => {
    const child = spawn(command, args, { cwd, env: environment, stdio: ["ignore", "pipe", "pipe"] });
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

/** protoc of the machine, or the one that the Python package grpcio-tools brings. */
async function installProtoc(): Promise<string> {
  await mkdir(bin, { recursive: true });
  await run(root, "python3", "-m", "venv", venv);
  await run(root, python, "-m", "pip", "install", "--quiet", "grpcio-tools==1.85.1", "grpcio-status==1.85.1");
  await writeFile(join(bin, "protoc"), `#!/bin/sh\nexec '${python}' -m grpc_tools.protoc "$@"\n`);
  await chmod(join(bin, "protoc"), 0o755);
  return run(root, "protoc", "--version");
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

const asked = process.argv.slice(2);
const found = new Set<Name>();
for (const name of names) {
  if (asked.length > 0 && !asked.includes(name)) continue;
  const [command = "", ...args] = toolchains[name];
  const version = (await run(root, command, ...args).catch(() => undefined))?.split("\n")[0];
  say(`${name.padEnd(8)}${version ?? `not here: ${command} is missing`}`);
  if (version !== undefined) found.add(name);
  else if (asked.length > 0) process.exitCode = 1;
}
say(`protoc  ${await installProtoc()}`);

const service = await startProcess();
let passed = 0;
let failed = 0;
for (const name of found) {
  const dir = await mkdtemp(join(tmpdir(), `mustreach-foreign-${name}-`));
  const startedAt = performance.now();
  try {
    await cp(join(root, "proto"), join(dir, "proto"), { recursive: true });
    await cp(join(root, "test", "foreign", name), dir, { recursive: true });
    const [command = "", ...args] = await builds[name](dir);
    const user = `${name}-user`;
    const said = await runWith(
      {
        ...env,
        ADDRESS: new URL(service.url).host,
        USER_ID: user,
        TOKEN: await service.adminToken(),
        USER_TOKEN: await service.userToken(user),
      },
      dir,
      command,
      ...args,
    );
    passed++;
    say(`ok      ${name}: ${said} (${((performance.now() - startedAt) / 1_000).toFixed(0)} s)`);
  } catch (error) {
    failed++;
    say(`FAILED  ${name}\n${error instanceof Error ? error.message : error}`);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}
await service.remove();
say(`${passed} passed, ${failed} failed`);
if (failed > 0 || passed === 0) process.exitCode = 1;
