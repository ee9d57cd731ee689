import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pino } from "pino";
import { expect, onTestFinished, test } from "vitest";
import { connectBroker } from "../../src/broker/connect.ts";
import { declare } from "../../src/broker/declare.ts";

test("cluster prints the settings of an instance, takes streams of three replicas, and ends with all of it", async () => {
  const dir = await mkdtemp(join(tmpdir(), "mustreach-"));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  const main = join(import.meta.dirname, "..", "..", "src", "cli", "main.ts");
  const child = spawn(process.execPath, [main, "cluster"], {
    env: { ...process.env, TMPDIR: dir },
    stdio: ["ignore", "pipe", "inherit"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  const [line] = await once(createInterface({ input: child.stdout }), "line");
  const [, urls = ""] = /^MUSTREACH_NATS_URL=(\S+) MUSTREACH_REPLICAS=3$/.exec(line) ?? [];
  const servers = urls.split(",");
  expect(servers).toHaveLength(3);

  const log = pino({ level: "silent" });
  // At once: it is still being formed.
  const broker = await connectBroker({ servers, requestTimeoutMs: 2_000, waitMs: 60_000, log });
  onTestFinished(() => broker.close());
  await declare(broker, [{ name: "TRIED", description: "", subjects: ["tried"] }], 3);
  expect((await broker.jsm.streams.info("TRIED")).config.num_replicas).toBe(3);

  expect(await readdir(dir)).toHaveLength(1);
  child.kill("SIGINT");
  expect(await once(child, "exit")).toEqual([0, null]);
  expect(await readdir(dir)).toEqual([]);
});
