import { execFileSync } from "node:child_process";
import { closeSync, constants, mkdtempSync, openSync, readFileSync, readSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { createLogDestination, type LogDestination } from "../../src/observe/log-destination.ts";

const often = { interval: 10 };
const flush = (destination: LogDestination) => new Promise<void>((resolve) => destination.flush(resolve));

function useDir(): string {
  const dir = mkdtempSync(join(tmpdir(), "mustreach-log-"));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  return dir;
}

function useFd(path: string, flags: number): number {
  const fd = openSync(path, flags, 0o600);
  onTestFinished(() => closeSync(fd));
  return fd;
}

/** Reads what a pipe holds now. */
function drain(fd: number): string {
  const chunk = Buffer.alloc(65_536);
  let text = "";
  try {
    for (;;) text += chunk.toString("utf8", 0, readSync(fd, chunk));
  } catch {
    return text;
  }
}

test("lines come out whole and in order", async () => {
  const path = join(useDir(), "log");
  const destination = createLogDestination({ fd: useFd(path, constants.O_WRONLY | constants.O_CREAT) });
  const lines = Array.from({ length: 2_000 }, (_, index) => `line ${index} 日本\n`);
  for (const line of lines) destination.write(line);
  await flush(destination);
  expect(readFileSync(path, "utf8")).toBe(lines.join(""));
  expect(destination.dropped()).toBe(0);
});

// Every write to it fails with ENOSPC.
test("on a full disk every line is dropped and counted", async () => {
  const destination = createLogDestination({ fd: useFd("/dev/full", constants.O_WRONLY) });
  for (let line = 0; line < 1_000; line++) destination.write(`line ${line}\n`);
  await flush(destination);
  expect(destination.dropped()).toBe(1_000);
});

test("a pipe that nobody reads holds up nothing, and what it had no room for is counted; then it goes on", async () => {
  const path = join(useDir(), "pipe");
  execFileSync("mkfifo", [path]);
  const fd = useFd(path, constants.O_RDWR | constants.O_NONBLOCK);
  const recovered = vi.fn();
  const destination = createLogDestination({ fd, onRecovery: recovered });
  const line = (index: number) => `${index} ${"x".repeat(1_000)}\n`;
  for (let index = 0; index < 5_000; index++) destination.write(line(index));
  // About 1 MiB waits, the rest is gone.
  const dropped = destination.dropped();
  expect(dropped).toBeGreaterThan(3_000);
  await flush(destination);

  let text = "";
  await vi.waitFor(() => {
    text += drain(fd);
    expect(text.split("\n").length - 1).toBe(5_000 - dropped);
  }, often);
  expect(text).toBe(Array.from({ length: 5_000 - dropped }, (_, index) => line(index)).join(""));
  await vi.waitFor(() => expect(recovered.mock.calls).toEqual([[dropped]]), often);
  destination.write("after\n");
  await vi.waitFor(() => expect(drain(fd)).toBe("after\n"), often);
});

test("flush of a log with nothing to write calls back at once", () => {
  const done = vi.fn();
  createLogDestination({ fd: 2 }).flush(done);
  expect(done).toHaveBeenCalledOnce();
});

test("any number of them listens once for the end of the process", () => {
  createLogDestination();
  const before = process.listenerCount("exit");
  for (let i = 0; i < 20; i++) createLogDestination();
  expect(process.listenerCount("exit")).toBe(before);
});
