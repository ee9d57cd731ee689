import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";

/**
 * The conformance suite of Connect (https://github.com/connectrpc/conformance) against our port: Connect, gRPC and gRPC-Web
 * over HTTP/1.1 and HTTP/2. What is not there is left out by features.yaml; what fails is named, with its reason, in
 * known-failing.txt, and has to fail. Apart from `npm test`, since the suite is compiled by Go.
 *
 *     npm run test:conformance [-- arguments of connectconformance]
 */
const version = "1.0.5";
const module = `connectrpc.com/conformance/cmd/connectconformance@v${version}`;
const here = import.meta.dirname;
const bin = resolve(here, `../../.cache/connectconformance-${version}`);
/** The suite waits for a server for 10 s, and starts a dozen: on a busy machine, compiling takes longer. */
const compiled = resolve(here, "../../.cache/compiled");
const suite = join(bin, process.platform === "win32" ? "connectconformance.exe" : "connectconformance");

if (!existsSync(suite) && (await run("go", ["version"])).code !== 0) {
  process.stdout.write("conformance: SKIPPED, NOT PASSED: there is no Go here to compile it with\n");
} else await test();

async function test(): Promise<void> {
  if (!existsSync(suite)) {
    const { code, output } = await run("go", ["install", module], { GOBIN: bin });
    if (code !== 0) throw new Error(`go install ${module} failed:\n${output}`);
  }
  const known = join(here, "known-failing.txt");
  const files = ["--conf", join(here, "features.yaml"), "--known-failing", `@${known}`];
  const command = ["--", process.execPath, join(here, "server.ts")];
  for (const http2 of ["engine", "node"]) {
    const args = ["--mode", "server", ...files, "--max-servers", "1", ...process.argv.slice(2), ...command];
    const { code, output } = await run(suite, args, { MUSTREACH_HTTP2: http2, NODE_COMPILE_CACHE: compiled });
    const summary = /^Total cases: (\d+)\n(.*)$/m.exec(output);
    const [, total = "0", counts = "no result"] = summary ?? [];
    process.stdout.write(`conformance, HTTP/2 by ${http2}: ${total} cases, ${counts}\n`);
    if (code === 0 && Number(total) > 0) continue;
    process.stdout.write(output);
    process.exitCode = 1;
  }
  for (const line of readFileSync(known, "utf8").split("\n")) {
    if (line.startsWith("#")) process.stdout.write(`known to fail:${line.slice(1)}\n`);
  }
}

/** Runs a program to its end; -1 when it cannot be started. */
function run(file: string, args: string[], env = {}): Promise<{ code: number; output: string }> {
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
