import { execFileSync, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

/**
 * Runs schemathesis against a service of its own: calls of all kinds that the OpenAPI document allows, or nearly, to each
 * path. No answer may be the service's own mistake, and each must have the status, type, headers and form of the document.
 * It needs Python 3; SCHEMATHESIS_SECONDS (60) bounds it.
 *
 * Checks that take the status for what tells a refusal are left out: it is in the envelope, as OpenIM has it, and
 * test/openapi holds who is refused what.
 */
const checks = [
  "not_a_server_error",
  "status_code_conformance",
  "content_type_conformance",
  "response_headers_conformance",
  "response_schema_conformance",
];
const pinned = "schemathesis==4.32.5";
const secret = "schemathesis-secret-of-at-least-32-bytes";

const root = resolve(import.meta.dirname, "../..");
const venv = join(root, ".cache", "schemathesis");
const program = join(venv, "bin", "schemathesis");
if (!existsSync(program)) {
  execFileSync("python3", ["-m", "venv", venv], { stdio: "inherit" });
  execFileSync(join(venv, "bin", "pip"), ["install", "--quiet", pinned], { stdio: "inherit" });
}

const dataDir = mkdtempSync(join(tmpdir(), "mustreach-schemathesis-"));
const env = {
  ...process.env,
  MUSTREACH_DATA_DIR: dataDir,
  MUSTREACH_TOKEN_SECRET: secret,
  MUSTREACH_PORT: "0",
  MUSTREACH_ADMIN_PORT: "0",
  MUSTREACH_WORKERS: "1",
  MUSTREACH_LOG_LEVEL: "error",
};
const service = spawn(process.execPath, ["src/main.ts"], { cwd: root, env, stdio: ["ignore", "pipe", "inherit"] });
const ended = new Promise((end) => service.once("exit", end));
try {
  const { api, operator } = await readAddresses();
  const token = execFileSync(process.execPath, ["src/cli/main.ts", "token", "--admin"], { cwd: root, env }).toString();
  const options = [
    ...["run", `${operator}/openapi.json`, "--url", api, "--header", `token: ${token.trim()}`],
    ...["--checks", checks.join(","), "--phases", "examples,coverage,fuzzing", "--continue-on-failure"],
    ...["--max-time", process.env.SCHEMATHESIS_SECONDS ?? "60", "--seed", "1"],
  ];
  process.exitCode = spawnSync(program, options, { cwd: dataDir, stdio: "inherit" }).status ?? 1;
} finally {
  service.kill();
  await ended;
  rmSync(dataDir, { recursive: true, force: true });
}

/** Where the service answers, as it says at its start. */
async function readAddresses(): Promise<{ api: string; operator: string }> {
  let text = "";
  for await (const chunk of service.stdout) {
    text += chunk;
    const [, api] = /answers at (\S+)\. Try it/.exec(text) ?? [];
    const [, operator] = /For the operator: (\S+)\/console/.exec(text) ?? [];
    if (api !== undefined && operator !== undefined) return { api, operator };
  }
  throw new Error("the service has not started");
}
