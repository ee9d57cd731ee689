import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { connect, type NodeConnectionOptions, nkeys } from "@nats-io/transport-node";
import { pino } from "pino";
import { expect, onTestFinished, test, vi } from "vitest";
import { connectBroker } from "../../src/broker/connect.ts";
import { deadlineIn } from "../../src/deadline.ts";
import { type ExternalBrokerOptions, startExternalBroker } from "../helpers/external-broker.ts";
import { startFakeBroker } from "../helpers/fake-broker.ts";

const often = { interval: 20 };

function createLines() {
  const lines: Record<string, unknown>[] = [];
  return { lines, log: pino({ level: "debug" }, { write: (line) => void lines.push(JSON.parse(line)) }) };
}

async function start(options?: ExternalBrokerOptions) {
  const server = await startExternalBroker(options);
  onTestFinished(() => server.remove());
  return server;
}

test("a broker that is not there yet is waited for, and the log says so", async () => {
  const { port } = await start();
  // A port that was free a moment ago: that of a broker that has gone.
  const gone = await startExternalBroker();
  await gone.remove();
  expect(gone.port).not.toBe(port);
  const { lines, log } = createLines();
  const connecting = connectBroker({ servers: [gone.url], requestTimeoutMs: 2_000, waitMs: 60_000, log });
  await vi.waitFor(() => expect(lines.map(({ msg }) => msg)).toContain("waiting for the broker"), often);
  await start({ port: gone.port });
  const broker = await connecting;
  onTestFinished(() => broker.close());
  expect(broker.isConnected()).toBe(true);
  // Once, and then every ten seconds.
  expect(lines.filter(({ msg }) => msg === "waiting for the broker").length).toBeLessThan(10);
});

test("without a wait, one that is not there is an error at once", async () => {
  const gone = await startExternalBroker();
  await gone.remove();
  const { log } = createLines();
  await expect(connectBroker({ servers: [gone.url], requestTimeoutMs: 2_000, log })).rejects.toThrow(
    "cannot be reached",
  );
});

test("refused over and over, the connection comes back when its credentials are good again", async () => {
  const server = await start({ password: "first" });
  const { lines, log } = createLines();
  const url = `nats://anyone:first@127.0.0.1:${server.port}`;
  const broker = await connectBroker({ servers: [url], requestTimeoutMs: 2_000, log });
  onTestFinished(() => broker.close());
  await server.pause();
  await server.resume("second");
  const refusals = () => lines.filter(({ err }) => JSON.stringify(err ?? "").includes("AuthorizationError"));
  await vi.waitFor(() => expect(refusals().length).toBeGreaterThan(3), often);
  await server.pause();
  await server.resume("first");
  await broker.whenConnected(deadlineIn(20_000));
  await broker.nc.flush();
  expect(broker.nc.isClosed()).toBe(false);
});

test("credentials are read again at each connect; a file that is broken meanwhile is as it was before", async () => {
  const dir = await mkdtemp(join(tmpdir(), "mustreach-"));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  const creds = join(dir, "user.creds");
  const write = (jwt: string) => writeFile(creds, jwt === "" ? "" : toCreds(jwt));
  const fake = await startFakeBroker({ version: "2.15.0" });
  onTestFinished(() => fake.close());
  await write("first");
  const { log } = createLines();
  const broker = await connectBroker({ servers: [fake.url], creds, requestTimeoutMs: 2_000, log });
  onTestFinished(() => broker.close());
  for (const [content, expected] of [
    ["second", "second"],
    ["", "second"],
    ["third", "third"],
  ] as const) {
    await write(content);
    const before = fake.connects.length;
    fake.cut();
    await vi.waitFor(() => expect(fake.connects.length).toBeGreaterThan(before), often);
    expect(fake.connects.at(-1)?.jwt).toBe(expected);
  }
  expect(fake.connects[0]?.jwt).toBe("first");
});

function toCreds(jwt: string): string {
  const seed = Buffer.from(nkeys.createUser().getSeed()).toString();
  return `-----BEGIN NATS USER JWT-----
${jwt}
------END NATS USER JWT------

-----BEGIN USER NKEY SEED-----
${seed}
------END USER NKEY SEED------
`;
}

test("a reconnect is told of when the broker has seen the subscriptions again", async () => {
  const fake = await startFakeBroker({ version: "2.15.0" });
  onTestFinished(() => fake.close());
  const { log } = createLines();
  const broker = await connectBroker({ servers: [fake.url], requestTimeoutMs: 2_000, log });
  onTestFinished(() => broker.close());
  broker.nc.subscribe("hints");
  await broker.nc.flush();
  const heard = new Promise<readonly string[]>((resolve) => broker.onReconnect(() => resolve([...fake.heard])));
  fake.cut();
  const verbs = await heard;
  expect(verbs.slice(verbs.lastIndexOf("CONNECT"))).toEqual(["CONNECT", "PING", "SUB", "SUB", "SUB", "PING"]);
});

test("a broker that falls silent is given up, and an address that does not answer, within seconds", async () => {
  const fake = await startFakeBroker({ version: "2.15.0" });
  onTestFinished(() => fake.close());
  const { log } = createLines();
  const asked: NodeConnectionOptions[] = [];
  const dial = (options: NodeConnectionOptions) => {
    asked.push(options);
    return connect(options);
  };
  const broker = await connectBroker({ servers: [fake.url], dial, requestTimeoutMs: 20_000, log });
  onTestFinished(() => broker.close());
  const [{ pingInterval = 0, maxPingOut = 0, timeout = 0 } = {}] = asked;
  expect(pingInterval * (maxPingOut + 1)).toBeLessThanOrEqual(6_000);
  expect(timeout).toBeLessThanOrEqual(2_000);
});
