import { pino } from "pino";
import { afterEach, expect, test } from "vitest";
import { connectBroker } from "../../src/broker/connect.ts";
import { declare } from "../../src/broker/declare.ts";
import { createDirectGet } from "../../src/broker/reads/create-direct-get.ts";
import { toToken } from "../../src/broker/subjects.ts";
import { createCursors } from "../../src/cursors/cursors.ts";
import { cursorSpec, cursorSubject } from "../../src/cursors/layout.ts";
import { inboxSpecs } from "../../src/inbox/layout.ts";
import { useBroker } from "../helpers/broker.ts";

const log = pino({ level: "silent" });
const server = useBroker();
const opened: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close();
});

/** The cursors of an instance, stored when the test says so. */
async function openInstance(maxDevicesPerUser: number) {
  const { url, dial } = server;
  const broker = await connectBroker({ servers: [url], dial, requestTimeoutMs: 5_000, log });
  opened.push(() => broker.close());
  const get = createDirectGet(broker, { timeoutMs: 5_000 });
  const options = { coalesceMs: 3_600_000, maxDevicesPerUser, log };
  await declare(
    broker,
    [...inboxSpecs({ partitions: 1, retentionMs: 3_600_000, maxStoreBytes: 10_000_000 }), cursorSpec(3_600_000)],
    1,
  );
  const cursors = createCursors(broker, get, options);
  return {
    ...cursors,
    broker,
    async acknowledge(userId: string, deviceId: string, sequence: number) {
      cursors.advance(userId, deviceId, sequence);
      await cursors.flush(userId, deviceId);
    },
    devicesOf: async (userId: string) => (await cursors.ofUsers([userId])).get(userId)?.map(({ deviceId }) => deviceId),
  };
}

const names = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => `device-${from + i}`);

test("one device more than a user may have takes the place of the one that is idle longest", async () => {
  const { acknowledge, devicesOf, read } = await openInstance(3);
  for (const [i, device] of names(1, 3).entries()) await acknowledge("alice", device, i + 1);
  await acknowledge("bob", "phone", 1);
  // The first one is not idle any more.
  await acknowledge("alice", "device-1", 10);
  await acknowledge("alice", "device-4", 11);
  expect((await devicesOf("alice"))?.toSorted()).toEqual(["device-1", "device-3", "device-4"]);
  expect(await devicesOf("bob")).toEqual(["phone"]);
  expect(await read("alice", "device-2")).toBeUndefined();
  // It is a device like any other when it is back.
  await acknowledge("alice", "device-2", 12);
  expect((await devicesOf("alice"))?.toSorted()).toEqual(["device-1", "device-2", "device-4"]);
});

test("who makes up devices without end has as many as anybody, however they come in", async () => {
  const { acknowledge, devicesOf } = await openInstance(5);
  await Promise.all(names(1, 60).map((device, i) => acknowledge("mallory", device, i + 1)));
  await acknowledge("mallory", "last", 100);
  const devices = await devicesOf("mallory");
  expect(devices).toHaveLength(5);
  expect(devices).toContain("last");
});

test("more than 10,000 devices are read completely, and surplus ones go with the next that comes", async () => {
  const { broker, acknowledge, devicesOf } = await openInstance(10_000);
  const devices = names(1, 10_050);
  // As an earlier version left them.
  for (let start = 0; start < devices.length; start += 500) {
    const writes = devices.slice(start, start + 500).map((deviceId) => {
      const subject = cursorSubject(toToken("carol"), toToken(deviceId));
      return broker.js.publish(subject, JSON.stringify({ deviceId, sequence: 1 }));
    });
    await Promise.all(writes);
  }
  expect(new Set(await devicesOf("carol"))).toEqual(new Set(devices));
  await acknowledge("carol", "new", 2);
  expect(await devicesOf("carol")).toHaveLength(10_000);
});
