import { execFile } from "node:child_process";
import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { expect, onTestFinished, test } from "vitest";

const lockfile = {
  packages: {
    "": { name: "project" },
    "node_modules/a": { version: "1.0.0", integrity: "sha512-a" },
    "node_modules/tool": { version: "2.0.0", dev: true },
    "node_modules/other-machine": { version: "3.0.0", optional: true },
  },
};
const { "": _, "node_modules/other-machine": __, ...everything } = lockfile.packages;
const { "node_modules/tool": ___, ...withoutTools } = everything;

test("a bare clone is installed, with one line on standard error and none on standard output", async () => {
  const project = await useProject();
  const { stdout, stderr } = await project.setup();
  expect(stdout).toBe("");
  expect(stderr).toBe("mustreach: installing the dependencies (npm ci), once\nadded 2 packages\n");
  expect(await project.installs()).toEqual(["ci --no-audit --no-fund --loglevel=error --ignore-scripts --include=dev"]);
});

test("nothing happens and nothing is said when the dependencies are those of the lockfile", async () => {
  const project = await useProject();
  await project.installed(everything);
  expect(await project.setup()).toEqual({ stdout: "", stderr: "" });
  expect(await project.installs()).toEqual([]);
});

test.each([
  ["another version", { ...everything, "node_modules/a": { version: "0.9.0", integrity: "sha512-a" } }],
  ["other content", { ...everything, "node_modules/a": { version: "1.0.0", integrity: "sha512-b" } }],
  ["a missing package", withoutTools],
  ["a package too many", { ...everything, "node_modules/b": { version: "1.0.0" } }],
])("%s is installed over", async (_, packages) => {
  const project = await useProject();
  await project.installed(packages);
  await project.setup();
  expect(await project.installs()).toHaveLength(1);
});

test("the service starts without the tools, and the tests do not", async () => {
  const project = await useProject();
  await project.installed(withoutTools);
  await project.setup({ npm_lifecycle_event: "prestart" });
  await project.setup({ npm_lifecycle_event: "premustreach" });
  expect(await project.installs()).toEqual([]);
  await project.setup({ npm_lifecycle_event: "pretest" });
  expect(await project.installs()).toHaveLength(1);
});

test("what runs the service is installed without the tools, and nothing runs a script of its own", async () => {
  const project = await useProject();
  await project.setup({ npm_lifecycle_event: "prestart" });
  expect(await project.installs()).toEqual(["ci --no-audit --no-fund --loglevel=error --ignore-scripts --omit=dev"]);
});

test("two scripts started at once install once", async () => {
  const project = await useProject();
  const both = await Promise.all([1, 2].map(() => project.setup({ NPM_TAKES_MS: "400" })));
  expect(await project.installs()).toHaveLength(1);
  expect(both.map(({ stderr }) => stderr).join("")).toContain("waiting for another process");
});

test("a lock whose owner was killed is taken over", async () => {
  const project = await useProject();
  const { pid } = await exited();
  await mkdir(join(project.dir, ".cache", "setup.lock"), { recursive: true });
  await writeFile(join(project.dir, ".cache", "setup.lock", "pid"), String(pid));
  await project.setup();
  expect(await project.installs()).toHaveLength(1);
});

test("a failed installation stops the script, and the next one tries again", async () => {
  const project = await useProject();
  await expect(project.setup({ FAIL: "1" })).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringContaining("mustreach: npm ci failed (exit code 9)"),
  });
  await project.setup();
  expect(await project.installs()).toHaveLength(2);
});

test("a pinned Node that cannot run here makes way for the machine's own", async () => {
  const project = await useProject();
  await project.setup({ BROKEN_NODE: "1" });
  await expect(readFile(join(project.dir, "node_modules", ".bin", "node"))).rejects.toThrow("ENOENT");
});

/** A project with nothing but the script, a lockfile, and an npm that writes down how it was called. */
async function useProject() {
  const dir = await mkdtemp(join(tmpdir(), "mustreach-"));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  await mkdir(join(dir, "src"));
  await copyFile(resolve(import.meta.dirname, "../src/setup.mjs"), join(dir, "src", "setup.mjs"));
  await writeFile(join(dir, "package-lock.json"), JSON.stringify(lockfile));
  const npm = join(dir, "npm-cli.cjs");
  await writeFile(
    npm,
    `const { appendFileSync, chmodSync, mkdirSync, writeFileSync } = require("node:fs");
    appendFileSync("installs", process.argv.slice(2).join(" ") + "\\n");
    if (process.env.FAIL) process.exit(9);
    mkdirSync("node_modules/.bin", { recursive: true });
    if (process.env.BROKEN_NODE) writeFileSync("node_modules/.bin/node", "#!/nowhere/node", { mode: 0o755 });
    setTimeout(() => {
      writeFileSync("node_modules/.package-lock.json", ${JSON.stringify(JSON.stringify({ packages: everything }))});
      console.log("added 2 packages");
    }, Number(process.env.NPM_TAKES_MS ?? 0));`,
  );
  return {
    dir,
    setup: (env: NodeJS.ProcessEnv = {}) =>
      promisify(execFile)(process.execPath, [join(dir, "src", "setup.mjs")], {
        env: { PATH: process.env.PATH, npm_execpath: npm, npm_node_execpath: process.execPath, ...env },
      }),
    async installed(packages: object) {
      await mkdir(join(dir, "node_modules"));
      await writeFile(join(dir, "node_modules", ".package-lock.json"), JSON.stringify({ packages }));
    },
    async installs(): Promise<string[]> {
      const lines = await readFile(join(dir, "installs"), "utf8").catch(() => "");
      return lines.split("\n").filter((line) => line !== "");
    },
  };
}

/** A process that has ended. */
async function exited(): Promise<{ pid: number | undefined }> {
  const running = promisify(execFile)(process.execPath, ["--version"]);
  await running;
  return { pid: running.child.pid };
}
