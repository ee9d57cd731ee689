import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { expect, type TestContext, test } from "vitest";
import { useServer } from "../helpers/server.ts";

const cwd = fileURLToPath(new URL("../..", import.meta.url));

// A device knows by signs of life that it has everything.
const server = useServer({ HEARTBEAT: "1s" });

const few = ["--writers", "5", "--users", "4", "--groups", "2"];

/** Runs `mustreach verify`, to its end. */
async function verify(...args: string[]) {
  const child = spawn(process.execPath, ["src/cli/main.ts", "verify", ...args], {
    cwd,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [stdout, stderr, [exitCode]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "exit")]);
  return { exitCode, stdout, stderr };
}

/** Where it may write what it has seen. */
async function makeDir({ onTestFinished }: TestContext): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), "mustreach-verify-command-"));
  onTestFinished(() => rm(dir, { recursive: true }));
  return dir;
}

interface Line {
  readonly round: number;
  readonly kind: string;
  readonly what?: string;
}

async function readHistory(dir: string): Promise<Line[]> {
  const lines = (await readFile(join(dir, "history.jsonl"), "utf8")).trimEnd().split("\n");
  return lines.map((line) => JSON.parse(line));
}

test.concurrent("its own instances are broken, and what they did is written down", async (context) => {
  const out = await makeDir(context);
  const ended = await verify("--seconds", "5", "--no-disk", ...few, "--keep-going", "--out", out);
  expect(ended.exitCode, ended.stdout + ended.stderr).toBe(0);
  expect(ended.stdout).toContain("nothing lost, doubled, reordered");
  expect(ended.stdout).toContain(`written to ${out}`);

  const history = await readHistory(out);
  const kinds = ["fault", "group", "send", "attempt", "device", "session", "event"];
  expect(history.map(({ kind }) => kind)).toEqual(expect.arrayContaining(kinds));
  expect(new Set(history.map(({ round }) => round))).toEqual(new Set([1]));
  const picture = await readFile(join(out, "timeline.svg"), "utf8");
  expect(picture).toMatch(/^<svg .*<\/svg>\s*$/s);
  const shown = ["sends accepted", "events delivered", "until a send was answered", "that a device is owed"];
  const faults = history.filter(({ kind }) => kind === "fault").map(({ what }) => `>${what}</text>`);
  for (const part of [...shown, ...faults]) expect(picture).toContain(part);
  for (const name of ["instance-0", "instance-1"]) {
    expect(await readFile(join(out, `${name}.log`), "utf8")).toContain('"msg":"listening"');
  }
  expect(await readFile(join(out, "brokers.log"), "utf8")).toContain("Server is ready");
});

test.concurrent("a deployment that it is shown is left as it is", async (context) => {
  const out = await makeDir(context);
  const token = await server.adminToken();
  const ended = await verify("--url", server.url, "--token", token, "--seconds", "2", ...few, "--out", out);
  expect(ended.exitCode, ended.stdout + ended.stderr).toBe(0);
  expect(ended.stdout).toContain("0 faults of 0 kinds");
  expect(ended.stdout).toContain("nothing lost, doubled, reordered");
  const kinds = (await readHistory(out)).map(({ kind }) => kind);
  expect(kinds).toContain("event");
  expect(kinds).not.toContain("fault");
});

test.concurrent("it says why it cannot begin", async () => {
  const token = await server.userToken("alice");
  // Nothing answers at the port of nobody.
  const nowhere = "http://127.0.0.1:1";
  const calls: [args: string[], exitCode: number, why: RegExp][] = [
    [["--soak", "--quick"], 2, /'--quick' cannot be used with option '--soak'/],
    [["--brokers", "2"], 2, /expected 1 or 3/],
    [["--url", nowhere, "--token", token], 1, /^http:\/\/127\.0\.0\.1:1: 90004 NetworkError: .*ECONNREFUSED/],
    [["--url", server.url, "--token", token], 1, /: 1002 NoPermissionError: only an admin token/],
    [["--url", server.url, nowhere, "--token", await server.adminToken()], 1, /^http:\/\/127\.0\.0\.1:1: 90004/],
  ];
  for (const [args, exitCode, why] of calls) {
    expect(await verify(...args)).toMatchObject({ exitCode, stderr: expect.stringMatching(why) });
  }
});
