import { create } from "@bufbuild/protobuf";
import { pino } from "pino";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { type Broker, connectBroker } from "../../src/broker/connect.ts";
import { createDirectGet } from "../../src/broker/reads/create-direct-get.ts";
import { type Notification, NotificationSchema } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { createInbox, type Inbox } from "../../src/inbox/inbox.ts";
import { createPublisher } from "../../src/publishing/publish.ts";
import { type Device, type DeviceSession, dataOf, isIncreasing, openSender, useDevices } from "../helpers/device.ts";
import { openEpochs } from "../helpers/epochs.ts";
import { type ExternalBroker, startExternalBroker } from "../helpers/external-broker.ts";
import { type ServiceProcess, startProcess } from "../helpers/process.ts";
import { useServer } from "../helpers/server.ts";

const openDevice = useDevices();
const mib = 1_048_576;

describe("in a process of its own", () => {
  const holder: { broker?: ExternalBroker; service?: ServiceProcess; connection?: Broker } = {};
  const service = (): ServiceProcess => {
    if (holder.service === undefined) throw new Error("the service runs inside tests only");
    return holder.service;
  };
  let inbox: Inbox;
  /** Fills a user's inbox as the service does, but from here: what is measured is how it is read. */
  const fill = async (userId: string, count: number, toData: (index: number) => string) => {
    const sendTime = BigInt(Date.now());
    const writes = Array.from({ length: count }, (_, i) => {
      const notification = create(NotificationSchema, { data: toData(i), serverMsgId: `${userId}-${i}`, sendTime });
      return inbox.write(userId, { kind: "notification", notification }, { operationId: "test" });
    });
    await Promise.all(writes);
  };
  beforeAll(async () => {
    holder.broker = await startExternalBroker({ syncInterval: "2m" });
    holder.service = await startProcess({ NATS_URL: holder.broker.url, PARTITIONS: "1", HEARTBEAT: "1s" });
    const log = pino({ level: "silent" });
    const broker = await connectBroker({ servers: [holder.broker.url], requestTimeoutMs: 20_000, log });
    holder.connection = broker;
    const publisher = createPublisher(broker, { sendTimeoutMs: 60_000, isFsynced: () => true });
    inbox = createInbox(broker, publisher, createDirectGet(broker, { timeoutMs: 20_000 }), 1, openEpochs(broker));
  });
  afterAll(async () => {
    await holder.connection?.close();
    await holder.service?.remove();
    await holder.broker?.remove();
  });

  test("10,000 notifications to one offline device drain in order, without a gap, in a flat memory", async () => {
    // 1 KiB each: whatever holds on to them shows in the memory.
    await fill("drain", 10_000, (i) => `${i} `.padEnd(1_024, "."));
    const device = openDevice(service().url, await service().userToken("drain"));
    const session = await device.subscribe({ window: 200 });
    expect(session.ready.pending).toBe(10_000n);

    const taken = await drain(device, session, 2_000);
    const early = await service().heapBytes();
    taken.push(...(await drain(device, session, 8_000)));
    expect(await session.takeUntilIdle()).toEqual([]);
    expect(isIncreasing(taken)).toBe(true);
    expect(new Set(dataOf(taken).map((data) => Number.parseInt(data, 10))).size).toBe(10_000);
    // 8 MiB have passed through since. What is under way at one moment is not what is held on to.
    const grown = async () => (await service().heapBytes()) - early;
    await vi.waitFor(async () => expect(await grown()).toBeLessThan(2 * mib), { interval: 500 });
  });

  test("2,000 of 10 KB to devices that stop reading hold no more than the window in memory", async () => {
    await fill("stalled", 2_000, (i) => `${i} `.padEnd(10_240, "."));
    const token = await service().userToken("stalled");
    const before = await service().heapBytes();
    const [window, devices] = [50, 10];
    const sessions = await Promise.all(
      Array.from({ length: devices }, (_, i) => openDevice(service().url, token, `stalled-${i}`).subscribe({ window })),
    );
    // Another device, that does read, is through with all of them by the time of the measurement.
    const reader = openDevice(service().url, token, "reader");
    const readerSession = await reader.subscribe({ window });
    const taken = await drain(reader, readerSession, 2_000);
    expect(isIncreasing(taken)).toBe(true);
    const held = (await service().heapBytes()) - before;
    // All of it would be 20 MiB for each device. A window is 0.5 MiB, and as much again is on its way into the socket.
    expect(held).toBeLessThan(devices * mib);
    for (const first of await Promise.all(sessions.map((session) => session.takeUntilIdle()))) {
      expect(first.map(({ sequence }) => sequence)).toEqual(taken.slice(0, window).map(({ sequence }) => sequence));
    }
  });

  test("online pushes of 200 KB to 20 devices that stop reading hold no more than 4 MiB for each", async () => {
    const send = openSender(service().url, await service().adminToken());
    const users = Array.from({ length: 20 }, (_, i) => `deaf-${i}`);
    const sessions = await Promise.all(
      users.map(async (user) => openDevice(service().url, await service().userToken(user)).subscribe()),
    );
    const before = await service().heapBytes();
    // 400 MB, of which the queues would take all: they have room for 256.
    for (let round = 0; round < 100; round++) {
      await Promise.all(users.map((to) => send({ to, data: `${round} `.padEnd(200_000, "."), level: 1 })));
    }
    const held = (await service().heapBytes()) - before;
    // And one push each that is on its way into the socket, decoded and encoded.
    expect(held).toBeLessThan(users.length * 5 * mib);
    for (const session of sessions) {
      const received: number[] = [];
      while (received.at(-1) !== 99) {
        const event = await session.next();
        if (event?.case === "notification") received.push(Number.parseInt(event.value.data, 10));
      }
      expect(received.slice(-20)).toEqual(Array.from({ length: 20 }, (_, i) => 80 + i));
    }
  });
});

describe("online pushes", () => {
  const server = useServer({ HEARTBEAT: "1s", PARTITIONS: "1" });

  test("to a device that stops reading drop the oldest, and the device is told how many", async () => {
    const send = openSender(server.url, await server.adminToken());
    const session = await openDevice(server.url, await server.userToken("alice")).subscribe();
    const sent = 1_000;
    for (let i = 0; i < sent; i++) await send({ to: "alice", data: `${i} `.padEnd(10_240, "."), level: 1 });

    const received: number[] = [];
    let dropped = 0n;
    for (;;) {
      const event = await session.next();
      if (event?.case === "notification") received.push(Number.parseInt(event.value.data, 10));
      if (event?.case !== "heartbeat") continue;
      dropped = event.value.droppedOnlinePushes;
      if (received.at(-1) === sent - 1) break;
    }
    expect(received).toEqual(received.toSorted((a, b) => a - b));
    expect(Number(dropped)).toBe(sent - received.length);
    expect(dropped).toBeGreaterThan(500n);
    // The newest are what is left, without a hole.
    expect(received.slice(-200)).toEqual(Array.from({ length: 200 }, (_, i) => sent - 200 + i));
  });

  test("in a flood do not hold back must-reach notifications", async () => {
    const send = openSender(server.url, await server.adminToken());
    const session = await openDevice(server.url, await server.userToken("bob")).subscribe();
    // The device is not reading: by now the flood has filled the queue that must-reach has to pass.
    for (let i = 0; i < 600; i++) await send({ to: "bob", data: "flood".padEnd(10_240, "."), level: 1 });
    for (let i = 0; i < 20; i++) await send({ to: "bob", data: `stored ${i}` });
    const stored: string[] = [];
    let pushes = 0;
    while (stored.length < 20) {
      const [notification] = await session.take(1);
      if (notification?.reliabilityLevel === 2) stored.push(notification.data);
      else pushes++;
    }
    expect(stored).toEqual(Array.from({ length: 20 }, (_, i) => `stored ${i}`));
    expect(pushes).toBeLessThan(200);
  });
});

/** Takes notifications and acknowledges every `ackEvery` of them, and the last. */
async function drain(device: Device, session: DeviceSession, count: number, ackEvery = 50): Promise<Notification[]> {
  const taken: Notification[] = [];
  while (taken.length < count) {
    taken.push(...(await session.take(Math.min(ackEvery, count - taken.length))));
    await device.ack(taken.at(-1)?.sequence ?? 0n);
  }
  return taken;
}
