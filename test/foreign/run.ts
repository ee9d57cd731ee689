import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startProcess } from "../helpers/process.ts";
import { builds as clientBuilds, findVersion, installProtoc, root, run, runWith, toolEnv } from "./toolchain.ts";

/**
 * Clients in other languages, generated with plain protoc from `proto/` alone: each is built in a folder that has
 * nothing but `proto/` and its own sources, sends to a running service, receives, acknowledges, and reads the details of
 * an error. And `tools`: grpcurl and grpc_health_probe, by what the service tells of itself. It is apart from `npm test`, since it installs packages of each language and compiles for minutes.
 *
 *     npm run test:foreign              every language whose toolchain is here
 *     npm run test:foreign -- go rust   these; one whose toolchain is missing has failed
 */
const names = ["tools", "python", "go", "connect", "openim", "rust", "java"] as const;
type Name = (typeof names)[number];

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

/** Generates and builds a client in its folder, beside `proto/`; resolves to the command that runs it. */
const builds: Readonly<Record<Name, (dir: string) => Promise<string[]>>> = {
  ...clientBuilds,
  async tools(dir) {
    for (const tool of tools) await run(dir, "go", "install", tool);
    return [process.execPath, "client.ts"];
  },
};

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

const asked = process.argv.slice(2);
const found = new Set<Name>();
for (const name of names) {
  if (asked.length > 0 && !asked.includes(name)) continue;
  const [command = "", ...args] = toolchains[name];
  const version = await findVersion(command, ...args);
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
        ...toolEnv,
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
