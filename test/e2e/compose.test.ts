import { type ChildProcess, spawn } from "node:child_process";
import { randomInt } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pino } from "pino";
import { expect, onTestFinished, test, vi } from "vitest";
import { parse } from "yaml";
import { findNatsServer } from "../../src/embedded/find.ts";
import { spawnBroker } from "../../src/embedded/process.ts";
import { Durability } from "../../src/gen/mustreach/msg/v1/msg_pb.ts";
import { dataOf, openSender, useDevices } from "../helpers/device.ts";
import { findProgram } from "../helpers/programs.ts";
import { startTestServer, type TestServer } from "../helpers/server.ts";

const folder = resolve(import.meta.dirname, "..", "..", "deploy", "compose");
const read = (name: string) => readFileSync(join(folder, name), "utf8");
const password = "0123456789";

interface ComposeFile {
  readonly services: Readonly<
    Record<string, { readonly command?: string[]; readonly environment?: Record<string, string> }>
  >;
}

const openDevice = useDevices();
const haproxy = findProgram("haproxy");
if (haproxy === undefined)
  process.stderr.write("not tested: the balancer of deploy/compose, as haproxy is not on PATH\n");

/**
 * What `docker compose` would start, by the same files: each name in them is a port of this machine here, and each
 * volume a directory.
 */
test("the cluster of deploy/compose: what one instance is sent reaches by the other, through the balancer", async () => {
  const { services }: ComposeFile = parse(read("cluster.yaml").replaceAll(/\$\{NATS_PASSWORD[^}]*\}/g, password), {
    merge: true,
  });
  const dir = await mkdtemp(join(tmpdir(), "mustreach-compose-"));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  // In a row, below the range of outgoing connections.
  const base = randomInt(10_240, 32_000);
  const here = (text: string) =>
    text
      .replaceAll(/\bnats-(\d):4222\b/g, (_, node) => `127.0.0.1:${base + Number(node)}`)
      .replaceAll(/\bnats-(\d):6222\b/g, (_, node) => `127.0.0.1:${base + 3 + Number(node)}`);

  const log = pino({ level: "silent" });
  const binary = await findNatsServer({ log });
  for (const node of [1, 2, 3]) {
    const { environment = {}, command = [] } = services[`nats-${node}`] ?? {};
    const own = join(dir, String(node));
    await mkdir(own);
    const routes = command.find((option) => option.startsWith("--routes="))?.slice("--routes=".length) ?? "";
    const config = read("nats.conf")
      .replace("port: 4222", `host: 127.0.0.1, port: ${base + node}`)
      .replace(
        "port: 6222",
        `listen: "127.0.0.1:${base + 3 + node}", routes: ${JSON.stringify(here(routes).split(","))}`,
      )
      .replace("store_dir: /data", `store_dir: "${own}", max_file_store: 1TB`)
      .replaceAll(/\$(NATS_\w+)/g, (_, name) => environment[name] ?? "");
    await writeFile(join(own, "nats.conf"), config);
    const broker = spawnBroker(binary.path, join(own, "nats.conf"), log);
    onTestFinished(() => broker.stop());
  }

  const { MUSTREACH_TOKEN_SECRET_FILE: _, ...environment } = services["mustreach-1"]?.environment ?? {};
  const settings = Object.fromEntries(
    Object.entries(environment).map(([name, value]) => [name.replace("MUSTREACH_", ""), here(String(value))]),
  );
  // Streams of three copies are refused until the brokers have found each other, and an orchestrator would start it again.
  const start = async (): Promise<TestServer> => {
    for (;;) {
      try {
        return await startTestServer({ ...settings, ADMIN_HOST: "127.0.0.1", PARTITIONS: "1" });
      } catch {
        await new Promise((again) => setTimeout(again, 200));
      }
    }
  };
  const first = await start();
  onTestFinished(() => first.stop());
  const second = await start();
  onTestFinished(() => second.stop());

  const url = haproxy === undefined ? undefined : await balance(haproxy, dir, [first.port, second.port]);
  const session = await openDevice(second.url, await second.userToken("alice")).subscribe();
  const through = await openDevice(url ?? first.url, await first.userToken("bob")).subscribe();
  const send = openSender(url ?? first.url, await first.adminToken());
  expect((await send({ to: "alice", data: "1" })).durability).toBe(Durability.FSYNCED);
  await send({ to: "bob", data: "2" });
  expect(dataOf(await session.take(1))).toEqual(["1"]);
  expect(dataOf(await through.take(1))).toEqual(["2"]);
});

/** Starts HAProxy by the file of the folder, before instances at these ports. */
async function balance(program: string, dir: string, ports: readonly [number, number]): Promise<string> {
  const port = randomInt(10_240, 32_000);
  const config = read("haproxy.cfg")
    .replace("maxconn 50000", "maxconn 1000")
    .replace("bind :10002", `bind 127.0.0.1:${port}`)
    .replaceAll(/mustreach-(\d):10002/g, (_, instance) => `127.0.0.1:${ports[Number(instance) - 1]}`);
  await writeFile(join(dir, "haproxy.cfg"), config);
  const child = spawn(program, ["-db", "-f", join(dir, "haproxy.cfg")], { stdio: "ignore" });
  onTestFinished(() => end(child));
  await vi.waitFor(
    async () => {
      if (child.exitCode !== null) throw new Error("haproxy has ended");
      const socket = connect(port, "127.0.0.1");
      await once(socket, "connect").finally(() => socket.destroy());
      expect((await fetch(`http://127.0.0.1:${port}/readyz`)).status).toBe(200);
    },
    { timeout: 60_000, interval: 100 },
  );
  return `http://127.0.0.1:${port}`;
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill("SIGKILL");
  await once(child, "exit");
}
