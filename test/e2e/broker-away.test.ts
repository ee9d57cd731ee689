import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { dataOf, openSender, useDevices } from "../helpers/device.ts";
import { type ExternalBroker, startExternalBroker } from "../helpers/external-broker.ts";
import { startTestServer, type TestServer } from "../helpers/server.ts";

const openDevice = useDevices();
const started: { broker?: ExternalBroker; server?: TestServer } = {};
const settings = { HEARTBEAT: "1s", PARTITIONS: "1", SEND_TIMEOUT: "10m" };
beforeAll(async () => {
  started.broker = await startExternalBroker();
  started.server = await startTestServer({ ...settings, NATS_URL: started.broker.url });
});
afterAll(async () => {
  await started.server?.stop();
  await started.broker?.remove();
});

test("heartbeats go on while the broker is away, and say so", async () => {
  const { broker, server } = started;
  if (broker === undefined || server === undefined) throw new Error("they are there inside tests only");
  const session = await openDevice(server.url, await server.userToken("alice")).subscribe();
  /** Reads heartbeats until one says of the broker what is asked for, or so many have come. */
  const heartbeats = async (until: (isAway: boolean) => boolean, count = Number.POSITIVE_INFINITY) => {
    for (let seen = 0; seen < count; seen++) {
      const event = await session.next();
      if (event?.case !== "heartbeat") throw new Error(`expected a heartbeat, got ${event?.case}`);
      if (until(event.value.brokerAway)) break;
    }
  };
  await heartbeats((isAway) => !isAway);
  await broker.pause();
  await heartbeats((isAway) => isAway);
  // None of them waits for a read, which takes up to the send timeout: longer than a test may.
  await heartbeats((isAway) => !isAway, 5);
  await broker.resume();
  await heartbeats((isAway) => !isAway);
  await openSender(server.url, await server.adminToken())({ to: "alice", data: "1" });
  expect(dataOf(await session.take(1))).toEqual(["1"]);
});

test("devices that subscribe at the moment when the broker is restarted get their sessions", async () => {
  const { broker, server } = started;
  if (broker === undefined || server === undefined) throw new Error("they are there inside tests only");
  const tokens = await Promise.all(Array.from({ length: 40 }, (_, i) => server.userToken(`user ${i}`)));
  const opening = tokens.map(async (token, i) => {
    await delay(i * 10);
    return (await openDevice(server.url, token).subscribe()).next();
  });
  // Some ask before, some while it is away.
  await delay(100);
  await broker.pause();
  await broker.resume();
  for (const event of await Promise.all(opening)) expect(event?.case).toBe("heartbeat");
});
