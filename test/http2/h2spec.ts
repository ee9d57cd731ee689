import { spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { installGoProgram, run } from "../helpers/go-program.ts";

/**
 * h2spec (https://github.com/summerwind/h2spec) against the HTTP/2 engine: none of its cases may fail. Apart from
 * `npm test`, since it is compiled by Go; part of `npm run soak`.
 *
 *     npm run test:h2spec
 */
const version = "2.2.1";
const module = `github.com/summerwind/h2spec/cmd/h2spec@v${version}+incompatible`;

const h2spec = await installGoProgram({ name: "h2spec", version, module }, "h2spec");
if (h2spec !== undefined) await test(h2spec);

async function test(h2spec: string): Promise<void> {
  const server = spawn(process.execPath, [join(import.meta.dirname, "engine/serve.ts")], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  try {
    for await (const line of createInterface(server.stdout)) {
      await judge(h2spec, JSON.parse(line).port);
      break;
    }
  } finally {
    server.kill();
  }
}

async function judge(h2spec: string, port: number): Promise<void> {
  const { code, output } = await run(h2spec, ["--host", "127.0.0.1", "--port", `${port}`, "--timeout", "5"]);
  const [, tests, passed, skipped, failed] =
    /(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed/.exec(output) ?? [];
  process.stdout.write(`h2spec: ${tests} tests, ${passed} passed, ${skipped} skipped, ${failed} failed\n`);
  if (code === 0 && failed === "0" && Number(passed) > 100) return;
  process.stdout.write(output);
  process.exitCode = 1;
}
