import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";

/**
 * h2spec (https://github.com/summerwind/h2spec) against the HTTP/2 engine: none of its cases may fail. Apart from
 * `npm test`, since it is compiled by Go; part of `npm run soak`.
 *
 *     npm run test:h2spec
 */
const module = "github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible";
const bin = resolve(import.meta.dirname, "../../.cache/h2spec-2.2.1");
const h2spec = join(bin, process.platform === "win32" ? "h2spec.exe" : "h2spec");

if (!existsSync(h2spec) && (await run("go", ["version"])).code !== 0) {
  process.stdout.write("h2spec: SKIPPED, NOT PASSED: there is no Go here to compile it with\n");
} else await test();

async function test(): Promise<void> {
  if (!existsSync(h2spec)) {
    const { code, output } = await run("go", ["install", module], { GOBIN: bin });
    if (code !== 0) throw new Error(`go install ${module} failed:\n${output}`);
  }
  const server = spawn(process.execPath, [join(import.meta.dirname, "engine/serve.ts")], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  try {
    for await (const line of createInterface(server.stdout)) {
      await judge(JSON.parse(line).port);
      break;
    }
  } finally {
    server.kill();
  }
}

async function judge(port: number): Promise<void> {
  const { code, output } = await run(h2spec, ["--host", "127.0.0.1", "--port", `${port}`, "--timeout", "5"]);
  const [, tests, passed, skipped, failed] =
    /(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed/.exec(output) ?? [];
  process.stdout.write(`h2spec: ${tests} tests, ${passed} passed, ${skipped} skipped, ${failed} failed\n`);
  if (code === 0 && failed === "0" && Number(passed) > 100) return;
  process.stdout.write(output);
  process.exitCode = 1;
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
