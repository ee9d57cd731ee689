import { type ExecFileOptions, execFile, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, statSync } from "node:fs";
import { copyFile, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, dirname, join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { rolldown } from "rolldown";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { project, root } from "../../release/manifest.ts";
import { release } from "../../release/release.ts";
import { useBrowser } from "../helpers/browser.ts";
import { useServer } from "../helpers/server.ts";

/** What the client may take of a disk, with all that it installs, in bytes. */
const maxInstalledBytes = 2_000_000;

const run = promisify(execFile);
const server = useServer();
const browser = useBrowser();
const dirs: string[] = [];
const bin = join(root, "node_modules", ".bin");
const tarballs = { client: "", mustreach: "" };

beforeAll(async () => {
  const dist = join(await newDir(), "release");
  await release(dist);
  tarballs.client = join(dist, `mustreach-client-${project.version}.tgz`);
  tarballs.mustreach = join(dist, `mustreach-${project.version}.tgz`);
});
afterAll(() => Promise.all(dirs.map((dir) => rm(dir, { recursive: true, force: true, maxRetries: 20 }))));

test("a release has the packages, the protos, what is in them, what is new, and the checksums of all", async () => {
  const dist = dirname(tarballs.client);
  const sums = (await readFile(join(dist, "SHA256SUMS"), "utf8")).trim().split("\n");
  const names = sums.map((line) => line.slice(66).replace(project.version, "VERSION"));
  expect(names).toEqual([
    "NOTES.md",
    "mustreach-VERSION.cdx.json",
    "mustreach-VERSION.tgz",
    "mustreach-client-VERSION.cdx.json",
    "mustreach-client-VERSION.tgz",
    "mustreach-protos-VERSION.tar.gz",
    "mustreach-protos-VERSION.zip",
  ]);
  await run("sha256sum", ["--check", "--strict", "SHA256SUMS"], { cwd: dist });
  const bill = JSON.parse(await readFile(join(dist, `mustreach-${project.version}.cdx.json`), "utf8"));
  const parts: { name: string }[] = bill.components;
  expect(parts.map(({ name }) => name)).toEqual(expect.arrayContaining(Object.keys(project.dependencies)));
  expect(parts.map(({ name }) => name)).not.toContain("vitest");

  // Nothing but the archive is needed.
  const dir = await newDir();
  await run("tar", ["-xzf", join(dist, `mustreach-protos-${project.version}.tar.gz`), "-C", dir]);
  const protos = join(dir, `mustreach-protos-${project.version}`, "proto");
  await run(join(bin, "buf"), ["build", protos, "-o", join(dir, "image.binpb")], { cwd: dir });
});

test.each(["client", "mustreach"] as const)("publint and attw find nothing wrong with %s", async (name) => {
  const { stdout } = await run(join(bin, "publint"), ["run", "--strict", tarballs[name]]);
  expect(stdout).toContain("All good!");
  await run(join(bin, "attw"), [tarballs[name], "--profile", "esm-only"]);
});

describe("in an empty project that has installed the client,", () => {
  let dir = "";
  beforeAll(async () => {
    dir = await newProject(["receive.ts"]);
    await install(dir, tarballs.client);
  });

  test("there is no other package, and less than 2 MB", () => {
    const installed = join(dir, "node_modules");
    expect(readdirSync(installed).filter((name) => !name.startsWith("."))).toEqual(["@mustreach"]);
    expect(bytesOf(installed)).toBeLessThan(maxInstalledBytes);
  });

  test.each(["nodenext", "bundler"])(
    "a program is of the right types, without those of Node (%s)",
    async (resolution) => {
      await typeCheck(join(root, "node_modules", "typescript"), dir, resolution, []);
    },
  );

  test("a program sends and receives", () => sendAndReceive(process.execPath, dir));

  const older = findOlderNode();
  test.runIf(older)(`a program sends and receives in the Node of the machine, ${older?.version}`, () =>
    sendAndReceive(older?.path ?? "", dir),
  );

  test("a page that was made by a bundler sends and receives in a browser", async () => {
    const input = join(dir, "receive.ts");
    const bundling = await rolldown({ input, platform: "browser", logLevel: "silent", cwd: dir });
    const { output } = await bundling.generate({ format: "iife", name: "program", codeSplitting: false });
    await bundling.close();
    const page = await browser.visit(`${server.url}/healthz`);
    await page.addScriptTag({ content: output[0].code });
    const tokens = JSON.stringify([server.url, await server.adminToken(), await server.userToken("alice")]);
    expect(await page.evaluate(`program.sendAndReceive(...${tokens})`)).toEqual(received);
  });
});

describe("in an empty project that has installed both,", () => {
  let dir = "";
  beforeAll(async () => {
    dir = await newProject(["receive.ts", "stubs.ts"]);
    const { dependencies, devDependencies } = project;
    await install(
      dir,
      ...[tarballs.client, tarballs.mustreach, "typescript@5.9.3", `@types/node@${devDependencies["@types/node"]}`],
      ...["@bufbuild/protobuf", "@connectrpc/connect", "@connectrpc/connect-node"].map(
        (name) => `${name}@${dependencies[name]}`,
      ),
    );
  });

  test.each(["nodenext", "bundler"])(
    "programs are of the right types to TypeScript 5.9 and 7 (%s)",
    async (resolution) => {
      await typeCheck(join(dir, "node_modules", "typescript"), dir, resolution, ["node"]);
      await typeCheck(join(root, "node_modules", "typescript"), dir, resolution, ["node"]);
    },
  );

  test("node:test has a service of its own, and the stubs reach it", async () => {
    const program = `
      import { deepEqual } from "node:assert/strict";
      import { test } from "node:test";
      import { sendByStubs } from "./stubs.ts";
      test("it", async () => deepEqual(await sendByStubs(), ["by a stub", "by a transport", "delivered"]));`;
    await writeFile(join(dir, "stubs.test.mjs"), program);
    const { stdout } = await run(process.execPath, ["--test", "stubs.test.mjs"], { cwd: dir, env: inheritedEnv() });
    expect(stdout).toMatch(/pass 1\n/);
  });

  test("npx mustreach serves, with workers, and its other commands reach it", async () => {
    const env = {
      ...inheritedEnv(),
      PATH: [join(process.execPath, ".."), process.env.PATH].join(delimiter),
      MUSTREACH_PORT: "0",
      MUSTREACH_ADMIN_PORT: "0",
      MUSTREACH_WORKERS: "2",
      MUSTREACH_DATA_DIR: join(dir, "data"),
    };
    const mustreach = async (...args: string[]) =>
      (await run("npx", ["--no-install", "mustreach", ...args], { cwd: dir, env })).stdout;
    expect(await mustreach("--version")).toBe(`${project.version}\n`);
    const serve = spawn("npx", ["--no-install", "mustreach", "serve"], {
      cwd: dir,
      env,
      stdio: ["ignore", "pipe", "ignore"],
      detached: true,
    });
    const ended = once(serve, "close");
    onTestFinished(async () => {
      if (serve.pid !== undefined) process.kill(-serve.pid, "SIGINT");
      await ended;
    });
    const said: string[] = [];
    for await (const line of createInterface({ input: serve.stdout })) {
      said.push(line);
      if (line.includes("Ctrl-C stops")) break;
    }
    expect(said.join("\n")).toContain("npx mustreach listen");
    expect(said.join("\n")).not.toContain("npm run");
    const [, url = ""] = /answers at (\S+)\. Try it/.exec(said.join("\n")) ?? [];
    const [, adminUrl = ""] = /For the operator: (\S+)\/console/.exec(said.join("\n")) ?? [];
    for (const page of ["console", "docs", "openapi.json"]) {
      expect((await fetch(`${adminUrl}/${page}`)).status, page).toBe(200);
    }
    const sent = await mustreach("send", "--url", url, "--to", "carol", "--key", "k", "--data", "{}", "--must-reach");
    expect(JSON.parse(sent).serverMsgID).toMatch(/^[0-9a-f]{32}$/);
  });

  const older = findOlderNode();
  test.runIf(older)("an older Node is told which it takes", async () => {
    const program = join(dir, "node_modules", "mustreach", "mustreach.js");
    const started = run(older?.path ?? "", [program, "serve"], { env: inheritedEnv() });
    await expect(started).rejects.toMatchObject({ code: 1, stderr: expect.stringContaining("Node 24.2 or later") });
  });
});

/** What `test/packages/receive.ts` gives. */
const received = ["1002", "must-reach 2", "push 1"];

async function sendAndReceive(node: string, dir: string): Promise<void> {
  const tokens = JSON.stringify([server.url, await server.adminToken(), await server.userToken("alice")]);
  // An older Node reads no TypeScript.
  const { compilerOptions } = settings("nodenext", []);
  await writeFile(
    join(dir, "tsconfig.json"),
    JSON.stringify({ compilerOptions: { ...compilerOptions, noEmit: false } }),
  );
  await run(process.execPath, [join(root, "node_modules", "typescript", "bin", "tsc"), "-p", dir], { cwd: dir });
  const program = `import { sendAndReceive } from "./receive.js";
    console.log(JSON.stringify(await sendAndReceive(...${tokens})));`;
  await writeFile(join(dir, "run.mjs"), program);
  const { stdout } = await run(node, ["run.mjs"], { cwd: dir, env: inheritedEnv() });
  expect(JSON.parse(stdout)).toEqual(received);
}

/** What a careful user has: the types of packages are looked at, too. */
function settings(resolution: string, types: readonly string[]) {
  const compilerOptions = {
    strict: true,
    noEmit: true,
    skipLibCheck: false,
    exactOptionalPropertyTypes: true,
    target: "es2022",
    lib: ["es2023", "esnext.disposable", "dom", "dom.iterable"],
    module: resolution === "bundler" ? "esnext" : "nodenext",
    moduleResolution: resolution,
    types,
  };
  return { compilerOptions, include: ["*.ts"] };
}

async function typeCheck(typescript: string, dir: string, resolution: string, types: readonly string[]): Promise<void> {
  await writeFile(join(dir, "tsconfig.json"), JSON.stringify(settings(resolution, types)));
  const checked = run(process.execPath, [join(typescript, "bin", "tsc"), "-p", dir], { cwd: dir });
  const output = await checked.then(
    ({ stdout }) => stdout,
    ({ stdout }) => stdout,
  );
  expect(output).toBe("");
}

/** A project with programs of `test/packages`, and nothing installed. */
async function newProject(programs: readonly string[]): Promise<string> {
  const dir = await newDir();
  await writeFile(join(dir, "package.json"), JSON.stringify({ private: true, type: "module" }));
  for (const name of programs) await copyFile(join(root, "test", "packages", name), join(dir, name));
  return dir;
}

async function install(dir: string, ...packages: readonly string[]): Promise<void> {
  const options: ExecFileOptions = { cwd: dir, env: inheritedEnv() };
  await run(
    "npm",
    ["install", "--prefer-offline", "--no-audit", "--no-fund", "--ignore-scripts", ...packages],
    options,
  );
}

async function newDir(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), "mustreach-packages-"));
  dirs.push(dir);
  return dir;
}

/** The environment without settings of a service, of npm and of the tests. */
function inheritedEnv(): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(MUSTREACH_|npm_(?!config_)|NODE_OPTIONS$|VITEST)/i.test(name)),
  );
}

function bytesOf(dir: string): number {
  return readdirSync(dir, { recursive: true, encoding: "utf8" }).reduce(
    (sum, path) => sum + statSync(join(dir, path)).size,
    0,
  );
}

/** A Node on PATH from 20 on that is too old for the service, as a machine may have it. */
function findOlderNode(): { readonly path: string; readonly version: string } | undefined {
  for (const place of (process.env.PATH ?? "").split(delimiter)) {
    const path = resolve(place, "node");
    try {
      const version = execFileSync(path, ["--version"], {
        encoding: "utf8",
        stdio: ["ignore", "pipe", "ignore"],
      }).trim();
      const major = Number.parseInt(version.slice(1), 10);
      if (major >= 20 && major < 24) return { path, version };
    } catch {
      // There is none.
    }
  }
  return undefined;
}
