import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { expect, onTestFinished, test } from "vitest";
import { createClock } from "../../../src/verify/own/clock.ts";

const tell = `setInterval(() => {
  const plain = new Date();
  const now = Date.now();
  console.log(JSON.stringify({ now, made: plain.getTime(), said: Date.parse(Date()), given: new Date(7).getTime(), isDate: plain instanceof Date }));
}, 10)`;

test("a clock jumps in a process that runs, forwards and backwards, and is set right again", async () => {
  const dir = await mkdtemp(join(tmpdir(), "mustreach-clock-"));
  onTestFinished(() => rm(dir, { recursive: true }));
  const clock = createClock(join(dir, "clock"));
  const child = spawn(process.execPath, [...clock.nodeOptions, "--eval", tell], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  onTestFinished(async () => {
    child.kill();
    await once(child, "exit");
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  /** The first that is told by a clock that is off by about so much. */
  const whenOffBy = async (ms: number) => {
    for (;;) {
      const told = JSON.parse((await lines.next()).value ?? "{}");
      if (Math.abs(told.now - Date.now() - ms) < 60_000) return told;
    }
  };
  for (const ms of [0, 3_600_000, -3_600_000, 0]) {
    await clock.shift(ms);
    const { now, made, said, given, isDate } = await whenOffBy(ms);
    expect(Math.abs(made - now)).toBeLessThan(10_000);
    expect(Math.abs(said - now)).toBeLessThan(10_000);
    expect([given, isDate]).toEqual([7, true]);
  }
});
