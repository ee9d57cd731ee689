import { StorageType } from "@nats-io/jetstream";
import { pino } from "pino";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { connectBroker } from "../../src/broker/connect.ts";
import { toPartition, toToken } from "../../src/broker/subjects.ts";
import { loadConfig } from "../../src/config.ts";
import { diagnose } from "../../src/doctor/diagnose.ts";
import { toErrorFacts } from "../../src/errors.ts";
import { Durability } from "../../src/gen/mustreach/msg/v1/msg_pb.ts";
import { sessionStream } from "../../src/live/layout.ts";
import { type Cluster, startCluster } from "../helpers/cluster.ts";
import { type DeviceSession, dataOf, isIncreasing, openSender, useDevices } from "../helpers/device.ts";
import { startTestServer, type TestServer, testSecret } from "../helpers/server.ts";

const openDevice = useDevices();

/** Two instances, each at home on a node of its own. */
const shared: { cluster?: Cluster; one?: TestServer; two?: TestServer } = {};
beforeAll(async () => {
  const cluster = await startCluster();
  shared.cluster = cluster;
  // Longer than a cluster is without a leader, on however busy a machine.
  const settings = { HEARTBEAT: "1s", PARTITIONS: "2", REPLICAS: "3", SEND_TIMEOUT: "60s" };
  shared.one = await startTestServer({ ...settings, NATS_URL: `${cluster.urls[0]},${cluster.urls[2]}` });
  shared.two = await startTestServer({ ...settings, NATS_URL: `${cluster.urls[1]},${cluster.urls[2]}` });
});
afterAll(async () => {
  await shared.one?.stop();
  await shared.two?.stop();
  await shared.cluster?.remove();
});

function instances() {
  const { cluster, one, two } = shared;
  if (cluster === undefined || one === undefined || two === undefined)
    throw new Error("the cluster runs in tests only");
  return { cluster, one, two };
}

test("a notification is replicated when the service says so, and reaches on the other node", async () => {
  const { one, two } = instances();
  const session = await openDevice(two.url, await two.userToken("alice")).subscribe();
  const send = openSender(one.url, await one.adminToken());
  expect((await send({ to: "alice", data: "1" })).durability).toBe(Durability.REPLICATED);
  expect(dataOf(await session.take(1))).toEqual(["1"]);
});

test("of two sessions of a device that are opened at the same moment on two nodes, exactly one lives", async () => {
  const { one, two } = instances();
  const send = openSender(one.url, await one.adminToken());
  const play = async (round: number): Promise<string> => {
    const user = `same-moment-${round}`;
    const token = await one.userToken(user);
    const devices = [openDevice(one.url, token), openDevice(two.url, token)];
    const outcomes = (await Promise.all(devices.map((device) => device.subscribe()))).map(outcome);
    // Nothing was sent yet: the first outcome is an end.
    await Promise.race(outcomes);
    await send({ to: user, data: "1" });
    const shown = (await Promise.all(outcomes)).toSorted().join(" and ");
    for (const device of devices) device.kill();
    return shown;
  };
  const outcomes = await Promise.all(Array.from({ length: 30 }, (_, round) => play(round)));
  expect(outcomes).toEqual(Array(30).fill("1506 and notification"));
});

test("the order of sessions is on disk, also where an earlier version had put it into memory", async () => {
  const { cluster, one, two } = instances();
  const log = pino({ level: "silent" });
  const broker = await connectBroker({ servers: [...cluster.urls], requestTimeoutMs: 20_000, log });
  onTestFinished(() => broker.close());
  const { streams } = broker.jsm;
  const { config } = await streams.info(sessionStream);
  expect(config).toMatchObject({ storage: "file", num_replicas: 3 });
  await streams.delete(sessionStream);
  await streams.add({ ...config, storage: StorageType.Memory });
  const send = openSender(one.url, await one.adminToken());
  const device = openDevice(two.url, await two.userToken("moved"));
  const session = await device.subscribe();
  await send({ to: "moved", data: "1" });
  expect(dataOf(await session.take(1))).toEqual(["1"]);
  expect((await streams.info(sessionStream)).config.storage).toBe("file");
  // The next on another instance takes its place: the order has gone on.
  await openDevice(one.url, await one.userToken("moved")).subscribe();
  expect(await outcome(session)).toBe("1506");
});

// In a replicated stream a broker that finds another message before one than that names gives the stream up, on all nodes.
test("what two instances send at the same moment is all stored, and the stream goes on", async () => {
  const { one, two } = instances();
  const senders = [openSender(one.url, await one.adminToken()), openSender(two.url, await two.adminToken())];
  const sent = Array.from({ length: 200 }, (_, i) => String(i));
  await Promise.all(sent.map((data, i) => senders[i % 2]?.({ to: `crossing-${i % 5}`, data })));
  const tokens = await Promise.all([0, 1, 2, 3, 4].map((user) => two.userToken(`crossing-${user}`)));
  const sessions = await Promise.all(tokens.map((token) => openDevice(two.url, token).subscribe({ window: 1_000 })));
  const received = await Promise.all(sessions.map(async (session) => dataOf(await session.take(40))));
  expect(received.flat().toSorted()).toEqual(sent.toSorted());
});

// The last one: the node does not come back.
test("the leader is killed in the middle of sends: none of them fails, and each reaches once and in order", async () => {
  const { cluster, one, two } = instances();
  const token = await two.userToken("bob");
  const session = await openDevice(two.url, token).subscribe({ window: 1_000 });
  const send = openSender(one.url, await one.adminToken());
  const leader = await cluster.leaderOf(`INBOX_${toPartition(toToken("bob"), 2)}`);
  const sendSome = async (by: string) => {
    for (let i = 0; i < 100; i++) {
      await send({
        to: "bob",
        data: `${by} ${String(i).padStart(3, "0")}`,
        clientMsgId: i % 2 === 0 ? `${by} ${i}` : "",
      });
    }
  };
  const killed = sendSome("first").then(() => cluster.kill(leader));
  const callers = ["a", "b", "c", "d"];
  await Promise.all([
    killed,
    ...callers.map(async (by) => {
      for (let times = 0; times < 2; times++) await sendSome(`${by}${times}`);
    }),
  ]);
  const taken = await session.take(900);
  expect(isIncreasing(taken)).toBe(true);
  const received = dataOf(taken);
  expect(new Set(received).size).toBe(900);
  for (const by of callers) {
    const own = received.filter((data) => data.startsWith(by));
    expect(own).toEqual(own.toSorted());
  }
  expect(await session.takeUntilIdle()).toEqual([]);

  const url = cluster.urls.find((_, node) => node !== leader) ?? "";
  const settings = { NATS_URL: url, TOKEN_SECRET: testSecret, PARTITIONS: "2", REPLICAS: "3" };
  const config = loadConfig(
    Object.fromEntries(Object.entries(settings).map(([name, value]) => [`MUSTREACH_${name}`, value])),
  );
  expect(await diagnose(config, { url: two.url })).toContainEqual({
    level: "warning",
    check: "copies of INBOX_0",
    found: "1 are away or behind",
    todo: expect.stringContaining("cluster"),
  });
});

/** What a session shows next: the code of the error that ends it, or the case of its event. */
async function outcome(session: DeviceSession): Promise<string> {
  for (;;) {
    const event = await session.next().catch(toErrorFacts);
    if (event === undefined) return "end";
    if ("errCode" in event) return String(event.errCode);
    if (event.case !== "heartbeat") return String(event.case);
  }
}
