import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { connectServiceManager, type Soundness } from "../src/service-manager.ts";

/** A directory with a `systemd-notify` that writes down what it is told, one line each time. */
async function useNotifier(script = "") {
  const dir = await mkdtemp(join(tmpdir(), "mustreach-notify-"));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  const told = join(dir, "told");
  await writeFile(told, "");
  await writeFile(join(dir, "systemd-notify"), `#!/bin/sh\n${script}\necho "$NOTIFY_SOCKET $*" >>'${told}'\n`);
  await chmod(join(dir, "systemd-notify"), 0o755);
  return {
    env: { NOTIFY_SOCKET: "/s", PATH: `${dir}:${process.env.PATH}` },
    lines: () => readFileSync(told, "utf8").split("\n").slice(0, -1),
    read: () => readFile(told, "utf8"),
  };
}

const warnings: object[] = [];
const log = { warn: (line: object) => void warnings.push(line) };
const often = { interval: 20 };

test("what systemd is told comes in order, however long each takes", async () => {
  const { env, lines } = await useNotifier('case "$1" in READY=1) sleep 0.3;; esac');
  const manager = connectServiceManager(env, log);
  manager.ready("answers");
  manager.reloading();
  manager.ready("answers again");
  manager.stopping();
  await vi.waitFor(() => expect(lines()).toHaveLength(4), often);
  expect(lines()).toEqual([
    "/s READY=1 STATUS=answers",
    expect.stringMatching(/^\/s RELOADING=1 MONOTONIC_USEC=\d+$/),
    "/s READY=1 STATUS=answers again",
    "/s STOPPING=1 STATUS=stopping",
  ]);
});

test("the watchdog hears of it while the service is sound, and nothing but its state while it is not", async () => {
  const { env, lines } = await useNotifier();
  const manager = connectServiceManager({ ...env, WATCHDOG_USEC: "30000", WATCHDOG_PID: String(process.pid) }, log);
  onTestFinished(manager.close);
  let found: () => Promise<Soundness> = async () => ({ isSound: false, status: "not ready" });
  manager.watch(() => found());
  await vi.waitFor(() => expect(lines().length).toBeGreaterThan(2), often);
  expect(new Set(lines())).toEqual(new Set(["/s STATUS=not ready"]));
  found = () => Promise.reject(new Error("no"));
  await vi.waitFor(() => expect(lines()).toContain("/s STATUS=cannot be looked at"), often);
  expect(lines().filter((line) => line.includes("WATCHDOG"))).toEqual([]);
  found = async () => ({ isSound: true, status: "ready" });
  await vi.waitFor(() => expect(lines().at(-1)).toBe("/s WATCHDOG=1 STATUS=ready"), often);
});

test.each([
  ["where systemd does not ask", { WATCHDOG_USEC: "30000" }],
  ["where nobody watches", { NOTIFY_SOCKET: "/s" }],
  ["where it is another process that is watched", { NOTIFY_SOCKET: "/s", WATCHDOG_USEC: "30000", WATCHDOG_PID: "1" }],
])("nothing is looked at %s", (_, env) => {
  const look = vi.fn<() => Promise<Soundness>>();
  connectServiceManager(env, log).watch(look);
  expect(look).not.toHaveBeenCalled();
});

test("without NOTIFY_SOCKET nothing is run", async () => {
  const { env, read } = await useNotifier();
  connectServiceManager({ PATH: env.PATH }, log).ready("answers");
  // Another process, that ends after one started before it would have written.
  spawnSync("sh", ["-c", "sleep 0.1"]);
  expect(await read()).toBe("");
});

test("that there is no systemd-notify is in the log, once", async () => {
  const manager = connectServiceManager({ NOTIFY_SOCKET: "/s", PATH: "/nonexistent", WATCHDOG_USEC: "3000" }, log);
  onTestFinished(manager.close);
  const look = vi.fn(async () => ({ isSound: true, status: "ready" }));
  manager.watch(look);
  await vi.waitFor(() => expect(look.mock.calls.length).toBeGreaterThan(2), often);
  expect(warnings).toEqual([{ err: expect.objectContaining({ code: "ENOENT" }) }]);
});
