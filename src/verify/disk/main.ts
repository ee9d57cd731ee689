import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync, read, writeSync } from "node:fs";
import { setPriority } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import { createRandom } from "../random.ts";
import { answer } from "./answer.ts";
import type { Command, Report } from "./command.ts";
import { op, parseRequest, requestBytes, toAnswer } from "./protocol.ts";
import { createVolume, DiskError } from "./volume.ts";

/**
 * The disk, as a process of its own: mounts a volume, and does with it what its parent says. It goes, and the mount
 * with it, when the parent goes.
 */
const [mountPoint = "", files = ""] = process.argv.slice(2);
const volume = createVolume(files);
let syncMs = { min: 0, max: 0 };
let hangs = Promise.resolve();
let delays = createRandom(0, "disk");
let device: number | undefined;

/** Before those who wait for it, as the disk of a busy machine is; -20 to 19, and what is negative takes a right. */
const priority = -15;
try {
  setPriority(priority);
} catch {
  // It may not: then it is slower on a busy machine.
}

const isSync = (opcode: number) => opcode === op.fsync || opcode === op.fsyncdir;

/** How soon a device is asked again that is not mounted yet, in milliseconds. */
const mountingMs = 5;

/** Answers one request after the other, until the volume is unmounted. */
function serve(fd: number): void {
  const buffer = Buffer.allocUnsafeSlow(requestBytes);
  const next = () =>
    read(fd, buffer, 0, buffer.length, null, (error, bytes) => {
      if (error === null) {
        take(fd, Buffer.from(buffer.subarray(0, bytes)));
        next();
      } else if (error.code === "EPERM" && device === fd) setTimeout(next, mountingMs);
      else if (error.code === "EINTR" || error.code === "ENOENT") next();
      else closeSync(fd);
    });
  next();
}

function take(fd: number, bytes: Buffer): void {
  const request = parseRequest(bytes);
  const reply = () => {
    let out: Buffer | undefined;
    try {
      const content = answer(volume, request);
      out = content && toAnswer(request.unique, content);
    } catch (error) {
      if (!(error instanceof DiskError)) throw error;
      out = toAnswer(request.unique, Buffer.alloc(0), error.errno);
    }
    if (out === undefined) return;
    try {
      writeSync(fd, out);
    } catch {
      // Nobody waits for it any more: interrupted, or unmounted.
    }
  };
  const isPlain = request.opcode === op.init || request.opcode === op.forget || request.opcode === op.batchForget;
  const waitMs = isSync(request.opcode) ? delays.between(syncMs.min, syncMs.max) : 0;
  if (isPlain || (!isHanging && waitMs === 0)) reply();
  else void hangs.then(() => delay(waitMs)).then(reply);
}
let isHanging = false;

async function run(program: string, args: readonly string[], fd?: number): Promise<void> {
  const child = spawn(program, args, { stdio: ["ignore", "ignore", "pipe", ...(fd === undefined ? [] : [fd])] });
  let complaint = "";
  child.stderr?.on("data", (chunk) => {
    complaint += String(chunk);
  });
  const [code] = await once(child, "close");
  if (code !== 0) throw new Error(complaint.trim() || `${program} ended with ${code}`);
}

async function mount(): Promise<void> {
  const fd = openSync("/dev/fuse", "r+");
  const options = `fd=3,rootmode=40755,user_id=${process.getuid?.()},group_id=${process.getgid?.()}`;
  device = fd;
  serve(fd);
  await run("mount", ["-i", "-t", "fuse", "-o", options, "mustreach-verify", mountPoint], fd);
}

async function unmount(): Promise<void> {
  if (device === undefined) return;
  device = undefined;
  await run("umount", ["--lazy", mountPoint]);
}

async function obey(command: Command): Promise<number> {
  switch (command.do) {
    case "mount":
      await mount();
      return 0;
    case "limit":
      volume.free = command.bytes ?? Number.POSITIVE_INFINITY;
      return 0;
    case "slow":
      delays = createRandom(command.seed, "disk");
      syncMs = command;
      return 0;
    case "sync":
      volume.syncAll();
      return 0;
    case "hang":
      isHanging = true;
      hangs = delay(command.ms).then(() => {
        isHanging = false;
      });
      await hangs;
      return 0;
    case "cut": {
      await unmount();
      const lost = volume.cut(createRandom(command.seed, "power"));
      await mount();
      return lost;
    }
  }
}

process.on("message", (command: Command) => {
  obey(command).then(
    (value) => tell({ id: command.id, value }),
    (error: unknown) => tell({ id: command.id, error: error instanceof Error ? error.message : String(error) }),
  );
});
// Signals of the terminal are for the parent, who still writes while it ends what it has started.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => {});
process.on("disconnect", () => {
  // A thread that waits for the next request would keep us from ending in an orderly way.
  void unmount()
    .catch(() => {})
    .then(() => process.kill(process.pid, "SIGKILL"));
});

function tell(report: Report): void {
  process.send?.(report);
}
