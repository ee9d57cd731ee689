import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { jetstreamManager } from "@nats-io/jetstream";
import { afterEach, describe, expect, test, vi } from "vitest";
import { toErrorFacts } from "../../src/errors.ts";
import { Durability } from "../../src/gen/mustreach/msg/v1/msg_pb.ts";
import { dataOf, isIncreasing, openSender, type Sender, useDevices } from "../helpers/device.ts";
import { type ExternalBrokerOptions, startExternalBroker } from "../helpers/external-broker.ts";
import { startFakeBroker } from "../helpers/fake-broker.ts";
import { startProcess } from "../helpers/process.ts";
import { startTestServer, type TestSettings } from "../helpers/server.ts";

const openDevice = useDevices();

const cleanups: (() => Promise<unknown> | unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const numbers = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => String(from + i));

/** A data directory that outlives the services of a test. */
async function newDataDir(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), "mustreach-faults-"));
  cleanups.push(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

async function startProcessUntilEnd(settings: TestSettings = {}, dataDir?: string) {
  const service = await startProcess({ HEARTBEAT: "1s", PARTITIONS: "1", ...settings }, dataDir);
  cleanups.push(service.remove);
  return service;
}

async function startServerUntilEnd(settings: TestSettings = {}, dataDir?: string) {
  const server = await startTestServer({ HEARTBEAT: "1s", PARTITIONS: "1", ...settings }, dataDir);
  cleanups.push(() => server.stop());
  return server;
}

async function startBrokerUntilEnd(options?: ExternalBrokerOptions) {
  const broker = await startExternalBroker(options);
  cleanups.push(broker.remove);
  return broker;
}

/** Sends 1 to `count` one after the other, and tells which the service acknowledged and which it could not tell. */
async function sendThrough(send: Sender, to: string, count: number, onSent: (sent: number) => void) {
  const acknowledged: string[] = [];
  const unknown: string[] = [];
  for (const data of numbers(1, count)) {
    try {
      await send({ to, data });
      acknowledged.push(data);
    } catch (error) {
      expect(toErrorFacts(error)).toMatchObject({ errCode: 90004, errMsg: "NetworkError" });
      unknown.push(data);
    }
    onSent(Number(data));
  }
  return { acknowledged, unknown };
}

/** Every acknowledged one exactly once and in order; of the others at most one each. */
function expectReached(received: string[], { acknowledged, unknown }: { acknowledged: string[]; unknown: string[] }) {
  expect(new Set(received).size).toBe(received.length);
  expect(received.filter((data) => !unknown.includes(data))).toEqual(acknowledged);
}

describe("the service is killed", () => {
  test("right after it answered: what it acknowledged reaches, in order, once per acknowledged sequence", async () => {
    const first = await startProcessUntilEnd();
    const send = openSender(first.url, await first.adminToken());
    for (const data of numbers(1, 20)) await send({ to: "alice", data });
    expect(await first.kill("SIGKILL")).toBe("SIGKILL");

    const second = await startProcessUntilEnd({}, first.dataDir);
    const token = await second.userToken("alice");
    const device = openDevice(second.url, token);
    const session = await device.subscribe();
    expect(session.ready.pending).toBe(20n);
    const taken = await session.takeUntilIdle();
    expect(dataOf(taken)).toEqual(numbers(1, 20));
    expect(isIncreasing(taken)).toBe(true);
    await device.ack(taken[9]?.sequence ?? 0n);
    device.kill();
    const again = await openDevice(second.url, token).subscribe();
    expect(dataOf(await again.takeUntilIdle())).toEqual(numbers(11, 20));
  });

  test("in the middle of many sends: each that was acknowledged reaches exactly once", async () => {
    const first = await startProcessUntilEnd();
    const send = openSender(first.url, await first.adminToken());
    const acknowledged: string[] = [];
    // As many at a time as are written in groups.
    const lanes = numbers(1, 48);
    const sending = lanes.map(async (lane) => {
      for (let i = 0; ; i++) {
        try {
          await send({ to: "alice", data: `${lane}/${i}` });
        } catch {
          return;
        }
        acknowledged.push(`${lane}/${i}`);
      }
    });
    await vi.waitFor(() => expect(acknowledged.length).toBeGreaterThan(300), { interval: 1 });
    await first.kill("SIGKILL");
    await Promise.all(sending);

    const second = await startProcessUntilEnd({}, first.dataDir);
    const device = openDevice(second.url, await second.userToken("alice"));
    const taken = await (await device.subscribe({ window: 1_000 })).takeUntilIdle();
    expect(isIncreasing(taken)).toBe(true);
    const received = dataOf(taken);
    expect(new Set(received).size).toBe(received.length);
    expect(acknowledged.filter((data) => !received.includes(data))).toEqual([]);
    // What was under way was answered by nobody: one for each lane, at most.
    expect(received.length - acknowledged.length).toBeLessThanOrEqual(lanes.length);
    for (const lane of lanes) {
      const ofOne = received.filter((data) => data.startsWith(`${lane}/`));
      expect(ofOne).toEqual(ofOne.map((_, i) => `${lane}/${i}`));
    }
  });

  test("with SIGTERM: it stores the cursors and ends with 0, and devices go on where they were", async () => {
    const first = await startProcessUntilEnd();
    const send = openSender(first.url, await first.adminToken());
    for (const data of numbers(1, 5)) await send({ to: "alice", data });
    const token = await first.userToken("alice");
    const device = openDevice(first.url, token);
    const session = await device.subscribe();
    const taken = await session.take(5);
    await device.ack(taken[2]?.sequence ?? 0n);
    expect(await first.kill("SIGTERM")).toBe(0);

    const second = await startProcessUntilEnd({}, first.dataDir);
    const resumed = await openDevice(second.url, token).subscribe();
    expect(resumed.ready.resumeSequence).toBe(taken[2]?.sequence);
    expect(dataOf(await resumed.takeUntilIdle())).toEqual(["4", "5"]);
  });
});

describe("the broker is killed", () => {
  test("in the middle of a stream of sends: what was acknowledged reaches exactly once and in order", async () => {
    const server = await startServerUntilEnd();
    const token = await server.userToken("alice");
    const online = await openDevice(server.url, token, "online").subscribe({ window: 1_000 });
    const send = openSender(server.url, await server.adminToken());
    const result = await sendThrough(send, "alice", 150, (sent) => {
      if (sent === 50 || sent === 100) process.kill(server.brokerPid() ?? 0, "SIGKILL");
    });
    expect(result.acknowledged.length).toBeGreaterThan(50);

    const offline = await openDevice(server.url, token, "offline").subscribe({ window: 1_000 });
    const taken = await offline.takeUntilIdle();
    expect(isIncreasing(taken)).toBe(true);
    expectReached(dataOf(taken), result);
    // The device that was there all the time sees the same, on the stream that it had opened before.
    expect(dataOf(await online.take(taken.length))).toEqual(dataOf(taken));
    expect(await online.takeUntilIdle()).toEqual([]);
  });

  test("and stays away: a send is answered with 90004 in time, and the service recovers by itself", async () => {
    const broker = await startBrokerUntilEnd();
    const server = await startServerUntilEnd({ NATS_URL: broker.url, SEND_TIMEOUT: "1s" });
    const admin = await server.adminToken();
    const send = openSender(server.url, admin);
    await send({ to: "alice", data: "before" });
    const token = await server.userToken("alice");
    const session = await openDevice(server.url, token).subscribe();
    expect(dataOf(await session.take(1))).toEqual(["before"]);

    await broker.pause();
    expect(await send({ to: "alice", data: "lost" }).catch(toErrorFacts)).toMatchObject({ errCode: 90004 });
    expect(await send({ to: "alice", data: "lost", level: 1 }).catch(toErrorFacts)).toMatchObject({ errCode: 90004 });
    for (const [userId, deviceId] of [
      ["alice", "other"],
      ["bob", "phone"],
    ] as const) {
      const device = openDevice(server.url, await server.userToken(userId), deviceId);
      expect(await device.subscribe().catch(toErrorFacts)).toMatchObject({ errCode: 90004 });
    }
    expect((await server.post("/msg/send_business_notification", rest("alice"), admin)).json.errCode).toBe(90004);

    await broker.resume();
    await vi.waitFor(() => send({ to: "alice", data: "after" }));
    const seen: string[] = [];
    while (!seen.includes("after")) seen.push(...dataOf(await session.take(1)));
    expect(seen.length).toBe(new Set(seen).size);
  });

  test("while an acknowledgement waits to be stored: the cursor is stored when it is back", async () => {
    const dataDir = await newDataDir();
    const server = await startServerUntilEnd({}, dataDir);
    const token = await server.userToken("alice");
    const send = openSender(server.url, await server.adminToken());
    for (const data of numbers(1, 3)) await send({ to: "alice", data });
    const device = openDevice(server.url, token);
    const taken = await (await device.subscribe()).take(3);
    process.kill(server.brokerPid() ?? 0, "SIGKILL");
    expect(await device.ack(taken[1]?.sequence ?? 0n)).toBe(taken[1]?.sequence);
    // A send that succeeds shows that the broker is back.
    await vi.waitFor(() => send({ to: "alice", data: "4" }));
    await server.stop();
    const restarted = await startServerUntilEnd({}, dataDir);
    const resumed = await openDevice(restarted.url, token).subscribe();
    expect(resumed.ready.resumeSequence).toBe(taken[1]?.sequence);
    expect(dataOf(await resumed.takeUntilIdle())).toEqual(["3", "4"]);
  });
});

describe("the client is killed", () => {
  test("between the callback and the acknowledgement: the notification comes again", async () => {
    const server = await startServerUntilEnd();
    const token = await server.userToken("alice");
    const send = openSender(server.url, await server.adminToken());
    await send({ to: "alice", data: "1" });
    await send({ to: "alice", data: "2" });

    // The callback of "2" never resolves, so the client is still in it when it is killed.
    const first = startClient(server.url, token, "2");
    expect(await first.seen("2")).toEqual(["1", "2"]);
    await first.kill();
    const second = startClient(server.url, token, "never");
    // "1" too, if the first client was killed before its acknowledgement of it was stored: at least once.
    expect((await second.seen("2")).at(-1)).toBe("2");
    await vi.waitFor(async () =>
      expect((await openDevice(server.url, token, "sdk").subscribe()).ready.pending).toBe(0n),
    );
  });
});

describe("the service is stopped", () => {
  test("after it told its sessions to reconnect, and they resume when it is started again", async () => {
    const dataDir = await newDataDir();
    const server = await startServerUntilEnd({}, dataDir);
    const token = await server.userToken("alice");
    const send = openSender(server.url, await server.adminToken());
    await send({ to: "alice", data: "1" });
    const device = openDevice(server.url, token);
    const session = await device.subscribe();
    const [first] = await session.take(1);
    await device.ack(first?.sequence ?? 0n);
    await send({ to: "alice", data: "2" });
    expect(dataOf(await session.take(1))).toEqual(["2"]);
    const stopped = server.stop();
    const event = await session.nextEvent();
    if (event?.case !== "reconnect") throw new Error(`expected reconnect, got ${event?.case}`);
    expect(event.value.afterMs).toBeGreaterThan(0);
    expect(event.value.reason).not.toBe("");
    expect(await session.next()).toBeUndefined();
    await stopped;

    const restarted = await startServerUntilEnd({}, dataDir);
    const resumed = await openDevice(restarted.url, token).subscribe();
    expect(resumed.ready.resumeSequence).toBe(first?.sequence);
    expect(dataOf(await resumed.takeUntilIdle())).toEqual(["2"]);
  });

  test("within its drain timeout, also when a device has stopped reading", async () => {
    const server = await startServerUntilEnd({ DRAIN_TIMEOUT: "1s" });
    const send = openSender(server.url, await server.adminToken());
    for (const data of numbers(1, 40)) await send({ to: "alice", data: data.padEnd(10_000, ".") });
    await openDevice(server.url, await server.userToken("alice")).subscribe();
    await server.stop();
  });

  test("and what force_logout revoked stays revoked", async () => {
    const dataDir = await newDataDir();
    const server = await startServerUntilEnd({}, dataDir);
    const token = await server.userToken("alice");
    await server.post("/auth/force_logout", { userID: "alice", platformID: 5 }, await server.adminToken());
    await server.stop();
    const restarted = await startServerUntilEnd({}, dataDir);
    expect(await openDevice(restarted.url, token).subscribe().catch(toErrorFacts)).toMatchObject({ errCode: 1506 });
    await openDevice(restarted.url, await restarted.userToken("alice")).subscribe();
  });
});

test("a hint that is lost is healed by the next heartbeat", async () => {
  const broker = await startBrokerUntilEnd();
  const server = await startServerUntilEnd({ NATS_URL: broker.url, PARTITIONS: "1" });
  const session = await openDevice(server.url, await server.userToken("alice")).subscribe();
  // Without republish the broker stores notifications and tells nobody.
  const nc = await broker.connect();
  const { config } = await (await jetstreamManager(nc)).streams.info("INBOX_0");
  // Not streams.update(), which leaves in force what the new configuration does not have.
  await nc.request("$JS.API.STREAM.UPDATE.INBOX_0", JSON.stringify({ ...config, republish: undefined }));
  const send = openSender(server.url, await server.adminToken());
  for (const data of numbers(1, 3)) await send({ to: "alice", data });
  expect((await session.next())?.case).toBe("heartbeat");
  expect(dataOf(await session.take(3))).toEqual(["1", "2", "3"]);
});

test("a full store refuses with 90101, and nothing that was acknowledged is lost", async () => {
  const server = await startServerUntilEnd({ MAX_STORE_BYTES: "1048576", PARTITIONS: "1" });
  const send = openSender(server.url, await server.adminToken());
  const acknowledged: string[] = [];
  // Together more than there is room for; many at a time are written in groups, one after the other singly.
  for (const atATime of [64, 1]) {
    const refusals: unknown[] = [];
    for (let i = 0; refusals.length === 0 && i < 200; i += atATime) {
      const sending = numbers(i, i + atATime - 1).map(async (number) => {
        const data = `${atATime}/${number} `.padEnd(atATime === 1 ? 2_000 : 10_000, ".");
        await send({ to: "alice", data }).then(
          () => acknowledged.push(data),
          (error: unknown) => refusals.push(toErrorFacts(error)),
        );
      });
      await Promise.all(sending);
    }
    expect(refusals.length).toBeGreaterThan(0);
    for (const refusal of refusals) expect(refusal).toMatchObject({ errCode: 90101, errMsg: "StoreFullError" });
  }
  expect(acknowledged.length).toBeGreaterThan(64);
  // Also under an id of the caller's, whose record may still find room when its notification does not.
  const withId = { to: "alice", data: "x".repeat(20_000), clientMsgId: "once" };
  expect(await send(withId).catch(toErrorFacts)).toMatchObject({ errCode: 90101 });
  expect(await send(withId).catch(toErrorFacts)).toMatchObject({ errCode: 90101 });
  const session = await openDevice(server.url, await server.userToken("alice")).subscribe({ window: 1_000 });
  const received = dataOf(await session.takeUntilIdle());
  expect(new Set(received).size).toBe(received.length);
  expect(acknowledged.filter((data) => !received.includes(data))).toEqual([]);
});

describe("the service refuses to start", () => {
  test("on inboxes that were created with another number of partitions, and says so", async () => {
    const dataDir = await newDataDir();
    await (await startServerUntilEnd({ PARTITIONS: "2" }, dataDir)).stop();
    for (const PARTITIONS of ["1", "3"]) {
      await expect(startServerUntilEnd({ PARTITIONS }, dataDir)).rejects.toThrow(/MUSTREACH_PARTITIONS=2, not [13]/);
    }
    await startServerUntilEnd({ PARTITIONS: "2" }, dataDir);
  });

  test("on a broker that is too old, and says which is needed", async () => {
    const old = await startFakeBroker({ version: "2.13.9" });
    cleanups.push(old.close);
    await expect(startServerUntilEnd({ NATS_URL: old.url })).rejects.toThrow(/2\.13\.9.*2\.14\.0 or later/);
  });
});

describe("the durability of a reply", () => {
  test.each([
    ["FSYNCED", Durability.FSYNCED, { syncInterval: "always" }],
    ["BUFFERED", Durability.BUFFERED, { syncInterval: "2m" }],
    ["BUFFERED", Durability.BUFFERED, { syncInterval: "always", varz: false }],
  ])("is %s (%i) on a broker with %o", async (name, durability, options) => {
    const broker = await startBrokerUntilEnd(options);
    const server = await startServerUntilEnd({ NATS_URL: broker.url });
    const admin = await server.adminToken();
    expect((await openSender(server.url, admin)({ to: "alice", data: "1" })).durability).toBe(durability);
    const { headers, json } = await server.post("/msg/send_business_notification", rest("alice"), admin);
    expect(json.errCode).toBe(0);
    expect(headers.get("Mustreach-Durability")).toBe(name);
    expect(await (await fetch(`${server.adminUrl}/readyz`)).json()).toMatchObject({ ready: true, durability: name });
  });
});

function rest(recvUserID: string) {
  return { sendUserID: "system", recvUserID, key: "test", data: "rest", reliabilityLevel: 2 };
}

/** A device in a process of its own, on the TypeScript client, whose callback never resolves for `stuckOn`. */
function startClient(url: string, token: string, stuckOn: string) {
  const index = new URL("../../src/client/index.ts", import.meta.url).href;
  const program = `
    import { createClient } from ${JSON.stringify(index)};
    const client = createClient({ baseUrl: ${JSON.stringify(url)}, token: ${JSON.stringify(token)}, deviceId: "sdk" });
    client.onRecvCustomBusinessMessage(async ({ data }) => {
      console.log(data);
      if (data === ${JSON.stringify(stuckOn)}) await new Promise(() => {});
    });
    await client.connect();
    setInterval(() => {}, 1_000);
  `;
  const child: ChildProcess = spawn(process.execPath, ["--input-type=module", "-e", program], {
    cwd: fileURLToPath(new URL("../..", import.meta.url)),
    stdio: ["ignore", "pipe", "inherit"],
  });
  const lines: string[] = [];
  if (child.stdout === null) throw new Error("the client's output cannot be read");
  createInterface({ input: child.stdout }).on("line", (line) => lines.push(line));
  const kill = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, "exit");
    child.kill("SIGKILL");
    await exited;
  };
  cleanups.push(kill);
  return {
    kill,
    async seen(data: string) {
      await vi.waitFor(() => expect(lines).toContain(data), { interval: 10 });
      return lines;
    },
  };
}
