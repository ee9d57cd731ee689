import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { installGoProgram, run } from "../helpers/go-program.ts";

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
/** The suite waits for a server for 10 s, and starts a dozen: on a busy machine, compiling takes longer. */
const compiled = resolve(here, "../../.cache/compiled");

const suite = await installGoProgram({ name: "connectconformance", version, module }, "conformance");
if (suite !== undefined) await test(suite);

async function test(suite: string): Promise<void> {
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
