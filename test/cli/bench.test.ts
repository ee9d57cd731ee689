import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";

/** Runs `mustreach bench`. */
function bench(...args: string[]) {
  const main = join(import.meta.dirname, "..", "..", "src", "cli", "main.ts");
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, "bench", ...args], { encoding: "utf8" });
  return { status, stdout, stderr };
}

test("--help is the bench's own", () => {
  const { status, stdout } = bench("--help");
  expect(status).toBe(0);
  expect(stdout).toContain("mustreach bench [options]");
  expect(stdout).toContain("--only ROW");
});

test("a row that there is not is refused, with the names of those that there are", () => {
  const { status, stdout, stderr } = bench("--quick", "--only", "sends");
  expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
  expect(stderr).toMatch(/^no row sends: there are grpc-send, .*\bdrain\b.*\n$/);
});

test("an option that there is not is refused", () => {
  const { status, stderr } = bench("--fast");
  expect(status).toBe(2);
  expect(stderr).toContain("--fast");
  expect(stderr).not.toContain("    at ");
});
