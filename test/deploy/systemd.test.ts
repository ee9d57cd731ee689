import { spawn, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { expect, onTestFinished, test, vi } from "vitest";
import { startProcess } from "../helpers/process.ts";
import { hasProgram } from "../helpers/programs.ts";

const unit = resolve(import.meta.dirname, "..", "..", "deploy", "systemd", "mustreach.service");
const often = { interval: 50 };

async function useDir(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), "mustreach-systemd-"));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

test.skipIf(!hasProgram("systemd-analyze", "Debian: systemd"))(
  "systemd-analyze takes the unit, and what it may do is little",
  async () => {
    const path = join(await useDir(), "mustreach.service");
    // It looks whether the program is there.
    await writeFile(path, readFileSync(unit, "utf8").replace("/usr/local/bin/mustreach", process.execPath));
    const verified = spawnSync("systemd-analyze", ["verify", "--man=no", path], { encoding: "utf8" });
    expect(verified.stdout + verified.stderr).toBe("");
    expect(verified.status).toBe(0);
    // In tenths; that of a unit without such lines is 96.
    const security = spawnSync("systemd-analyze", ["security", "--offline=true", "--threshold=20", path], {
      encoding: "utf8",
    });
    expect(security.status, security.stdout + security.stderr).toBe(0);
  },
);

/** What is sent to a socket as systemd's, one element for each datagram. Node has no such sockets. */
async function useNotifySocket(): Promise<{ path: string; told: readonly string[] }> {
  const path = join(await useDir(), "notify");
  const program = `
    $| = 1;
    my $socket = IO::Socket::UNIX->new(Type => SOCK_DGRAM, Local => $ARGV[0]) or die $!;
    print "bound\\n";
    while (defined $socket->recv(my $message, 4096)) { print join("|", split(/\\n/, $message)), "\\n"; }`;
  const child = spawn("perl", ["-MIO::Socket::UNIX", "-MSocket", "-e", program, path], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  const lines: string[] = [];
  const told: string[] = [];
  createInterface({ input: child.stdout }).on("line", (line) => {
    lines.push(line);
    // With this one systemd-notify finds out that the others have been read.
    if (lines.length > 1 && line !== "BARRIER=1") told.push(line);
  });
  await vi.waitFor(() => expect(lines).toEqual(["bound"]), often);
  return { path, told };
}

const canNotify = [hasProgram("systemd-notify", "Debian: systemd"), hasProgram("perl", "Debian: perl")].every(Boolean);

test.skipIf(!canNotify)(
  "what the service tells systemd: ready, alive while its broker is, reloading, stopping",
  async () => {
    const { path, told } = await useNotifySocket();
    vi.stubEnv("NOTIFY_SOCKET", path);
    vi.stubEnv("WATCHDOG_USEC", "600000");
    onTestFinished(() => void vi.unstubAllEnvs());
    const service = await startProcess({ SEND_TIMEOUT: "2s" });
    onTestFinished(() => service.remove());
    await vi.waitFor(() => expect(told).toContain("WATCHDOG=1|STATUS=ready"), often);
    expect(told[0]).toBe(`READY=1|STATUS=answers at ${service.url}`);

    // Stopped, not ended: it would be started again.
    process.kill(service.brokerPid ?? 0, "SIGSTOP");
    await vi.waitFor(() => expect(told.at(-1)).toMatch(/^STATUS=not ready: the broker/), often);
    process.kill(service.brokerPid ?? 0, "SIGCONT");
    await vi.waitFor(() => expect(told.at(-1)).toBe("WATCHDOG=1|STATUS=ready"), often);

    process.kill(service.pid, "SIGHUP");
    await vi.waitFor(() => expect(told.filter((line) => line.startsWith("READY=1"))).toHaveLength(2), often);
    expect(told.findIndex((line) => line.startsWith("RELOADING=1|MONOTONIC_USEC="))).toBeLessThan(
      told.findLastIndex((line) => line.startsWith("READY=1")),
    );
    expect(await service.kill("SIGTERM")).toBe(0);
    await vi.waitFor(() => expect(told.at(-1)).toBe("STOPPING=1|STATUS=stopping"), often);
  },
);
