import { cp, rm } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, describe, expect, test, vi } from "vitest";
import { type CursorStore, createClient, memoryCursorStore, type NotificationGap } from "../../src/client/index.ts";
import { toErrorFacts } from "../../src/errors.ts";
import { Gap_Reason, Start } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { clientWays } from "../helpers/client-ways.ts";
import { type Device, type DeviceSession, dataOf, openSender, useDevices } from "../helpers/device.ts";
import { type ExternalBroker, startExternalBroker } from "../helpers/external-broker.ts";
import { startTestServer, type TestServer } from "../helpers/server.ts";

const openDevice = useDevices();
const settings = { PARTITIONS: "1", HEARTBEAT: "1s" };
const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function startBroker(): Promise<ExternalBroker> {
  const broker = await startExternalBroker();
  closing.push(() => broker.remove());
  return broker;
}

async function serve(broker: ExternalBroker): Promise<TestServer> {
  const server = await startTestServer({ ...settings, NATS_URL: broker.url });
  closing.push(() => server.stop());
  return server;
}

/** A service on a broker of its own, with a sender to alice. */
async function start() {
  const broker = await startBroker();
  const server = await serve(broker);
  return { broker, server, ...(await openAlice(server)) };
}

async function openAlice({ url, ...server }: TestServer) {
  const token = await server.userToken("alice");
  const send = openSender(url, await server.adminToken());
  return {
    device: (deviceId: string) => openDevice(url, token, deviceId),
    /** Sends `<name> <from>` to `<name> <to>`, each answered with 0. */
    async send(name: string, from: number, to: number) {
      for (let i = from; i <= to; i++) await send({ to: "alice", data: `${name} ${i}` });
    },
  };
}

/** Copies the store of a broker to which nobody writes, or a part of it. */
async function copyStore({ storeDir }: ExternalBroker, to: string, from = storeDir): Promise<void> {
  await rm(to, { recursive: true, force: true });
  await cp(from, to, { recursive: true });
}

const numbered = (name: string, from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, i) => `${name} ${from + i}`);

/** Takes and acknowledges notifications until it has those. */
async function handle(device: Device, session: DeviceSession, wanted: readonly string[]) {
  const taken = await session.take(wanted.length);
  expect(dataOf(taken)).toEqual(wanted);
  const last = taken.at(-1);
  if (last === undefined) throw new Error("nothing was taken");
  await device.ack(last.sequence, last.epoch);
  return { afterSequence: last.sequence, epoch: last.epoch };
}

/** Reads on until the service asks for another session. */
async function whenToldToReconnect(session: DeviceSession): Promise<void> {
  for (;;) {
    const event = await session.next();
    if (event?.case === "reconnect") return;
    if (event?.case !== "heartbeat") throw new Error(`expected reconnect, got ${event?.case ?? "the end"}`);
  }
}

/** The gap that tells of another store, acknowledged. */
async function takeGap(device: Device, session: DeviceSession) {
  let event = await session.next();
  while (event?.case === "heartbeat") event = await session.next();
  if (event?.case !== "gap") throw new Error(`expected a gap, got ${event?.case ?? "the end"}`);
  const { from, to, epoch, reason } = event.value;
  expect(reason).toBe(Gap_Reason.STORE_CHANGED);
  expect(from).toBe(to);
  expect({ sequence: to, epoch }).toEqual({ sequence: session.ready.resumeSequence, epoch: session.ready.epoch });
  await device.ack(to, epoch);
}

describe.each(clientWays)("the TypeScript client by %s", (_, toOptions) => {
  /** The client of a device, and what its app has seen. */
  async function openClient(server: TestServer, cursorStore: CursorStore, deviceId = "app") {
    const token = await server.userToken("alice");
    const reconnect = { minDelayMs: 10, maxDelayMs: 100 };
    const way = toOptions(server.url);
    const client = createClient({ baseUrl: server.url, token, deviceId, cursorStore, reconnect, ...way });
    closing.push(() => client.close({ deadlineMs: 100 }));
    const seen: string[] = [];
    const gaps: NotificationGap[] = [];
    client.onRecvCustomBusinessMessage(({ data }) => void seen.push(data));
    client.onGap((gap) => void gaps.push(gap));
    await client.connect();
    const sees = (wanted: readonly string[]) => vi.waitFor(() => expect(seen).toEqual(wanted), { interval: 20 });
    return { client, gaps, sees };
  }

  test("misses nothing when it is started again and the store is a new one", async () => {
    const cursorStore = memoryCursorStore();
    const { server, send } = await start();
    const before = await openClient(server, cursorStore);
    await send("gone", 1, 5);
    await before.sees(numbered("gone", 1, 5));
    await before.client.close();

    const anew = await serve(await startBroker());
    await (await openAlice(anew)).send("next", 1, 16);
    const after = await openClient(anew, cursorStore);
    await after.sees(numbered("next", 1, 16));
    expect(after.gaps).toMatchObject([{ reason: "storeChanged" }]);
    await after.client.close();
    // What is saved now is of the new store.
    const again = await openClient(anew, cursorStore);
    await (await openAlice(anew)).send("more", 1, 1);
    await again.sees(numbered("more", 1, 1));
    expect(again.gaps).toEqual([]);
  });

  test("misses nothing that is sent after the store was cut off while it was connected", async () => {
    const { broker, server, send } = await start();
    const copy = `${broker.storeDir}-copy`;
    closing.push(() => rm(copy, { recursive: true, force: true }));
    const withRecord = await openClient(server, memoryCursorStore(), "with a record");
    await send("kept", 1, 15);
    await withRecord.sees(numbered("kept", 1, 15));
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    await copyStore(broker, copy);
    await send("gone", 1, 10);
    await withRecord.sees([...numbered("kept", 1, 15), ...numbered("gone", 1, 10)]);
    await broker.pause();
    await copyStore(broker, broker.storeDir, copy);
    await broker.resume();
    await send("next", 1, 5);
    await withRecord.sees([...numbered("kept", 1, 15), ...numbered("gone", 1, 10), ...numbered("next", 1, 5)]);
    expect(withRecord.gaps).toMatchObject([{ reason: "storeChanged" }]);
    await send("later", 1, 70);
    await withRecord.sees([
      ...numbered("kept", 1, 15),
      ...numbered("gone", 1, 10),
      ...numbered("next", 1, 5),
      ...numbered("later", 1, 70),
    ]);
  });
});

describe("a store that was replaced by an older copy of itself", () => {
  test.each([
    ["as a whole", ""],
    ["without the cursors", "jetstream/MUSTREACH/streams/INBOX_0"],
  ])("%s, under a running service, costs no device what is sent next", async (_, part) => {
    const { broker, device, send } = await start();
    const copy = `${broker.storeDir}-copy`;
    closing.push(() => rm(copy, { recursive: true, force: true }));

    const phone = device("phone");
    const watch = device("watch");
    const desk = device("desk");
    const session = await phone.subscribe();
    const watching = await watch.subscribe();
    await send("kept", 1, 15);
    await handle(phone, session, numbered("kept", 1, 15));
    await handle(watch, watching, numbered("kept", 1, 15));
    // The cursors are stored, and nobody writes: what is copied is a store.
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    await copyStore(broker, copy, join(broker.storeDir, part));
    await send("gone", 1, 15);
    const phoneAt = await handle(phone, session, numbered("gone", 1, 15));
    const watchAt = await handle(watch, watching, numbered("gone", 1, 15));
    const deskSession = await desk.subscribe();
    const deskAt = await handle(desk, deskSession, [...numbered("kept", 1, 15), ...numbered("gone", 1, 15)]);
    desk.kill();
    await new Promise((resolve) => setTimeout(resolve, 1_500));

    await broker.pause();
    await copyStore(broker, join(broker.storeDir, part), copy);
    await broker.resume();
    await send("next", 1, 5);

    // Connected all the time: with a record of its own, and without one.
    await whenToldToReconnect(session);
    const again = await phone.subscribe(phoneAt);
    expect(again.ready.resumeSequence).toBeLessThan(phoneAt.afterSequence);
    await takeGap(phone, again);
    await handle(phone, again, numbered("next", 1, 5));
    await whenToldToReconnect(watching);
    const watchAgain = await watch.subscribe();
    expect(watchAgain.ready.resumeSequence).toBeLessThan(watchAt.afterSequence);
    // Where its cursor was put back with the rest, it is known to be there.
    if (part !== "") await takeGap(watch, watchAgain);
    await handle(watch, watchAgain, numbered("next", 1, 5));

    // Back when the store has grown beyond where the device was: by its record and by its cursor.
    await send("later", 1, 40);
    const late = await desk.subscribe(deskAt);
    await takeGap(desk, late);
    await handle(desk, late, [...numbered("next", 1, 5), ...numbered("later", 1, 40)]);
    // Once told, it is known.
    desk.kill();
    const back = await device("desk").subscribe();
    expect(dataOf(await back.takeUntilIdle())).toEqual([]);
    // And a device that knew nothing gets all there is.
    const fresh = await device("fresh").subscribe();
    expect(dataOf(await fresh.take(60))).toEqual([
      ...numbered("kept", 1, 15),
      ...numbered("next", 1, 5),
      ...numbered("later", 1, 40),
    ]);
  });
});

test("a device that was in an epoch that the store does not know is told, and gets all there is", async () => {
  const { broker, device, send } = await start();
  const copy = `${broker.storeDir}-copy`;
  closing.push(() => rm(copy, { recursive: true, force: true }));
  const phone = device("phone");
  const session = await phone.subscribe();
  await send("kept", 1, 3);
  await handle(phone, session, numbered("kept", 1, 3));
  await broker.pause();
  await copyStore(broker, copy);
  await broker.resume();
  await send("gone", 1, 9);
  const at = await handle(phone, session, numbered("gone", 1, 9));
  await broker.pause();
  await copyStore(broker, broker.storeDir, copy);
  await broker.resume();
  await send("next", 1, 20);
  await whenToldToReconnect(session);
  const again = await phone.subscribe(at);
  await takeGap(phone, again);
  await handle(phone, again, [...numbered("kept", 1, 3), ...numbered("next", 1, 20)]);
});

describe("inboxes that were deleted and declared anew under a running service", () => {
  test("cost no device what is sent next", async () => {
    const { broker, server, device, send } = await start();
    const phone = device("phone");
    const session = await phone.subscribe();
    await send("gone", 1, 20);
    const at = await handle(phone, session, numbered("gone", 1, 20));
    phone.kill();
    const nc = await broker.connect();
    const { config } = JSON.parse((await nc.request("$JS.API.STREAM.INFO.INBOX_0")).string());
    await nc.request("$JS.API.STREAM.DELETE.INBOX_0");
    await nc.request("$JS.API.STREAM.CREATE.INBOX_0", JSON.stringify(config));
    await send("next", 1, 30);
    const again = device("phone");
    const resumed = await again.subscribe(at);
    // What is sent next is the first of all, and before that is nothing that a gap could end with.
    expect(resumed.ready.resumeSequence).toBe(0n);
    await handle(again, resumed, numbered("next", 1, 30));
    expect(server.log.some(({ msg }) => String(msg).includes("replaced while the broker ran"))).toBe(true);
  });

  test("or while no service ran, cost none either", async () => {
    const { broker, server, device, send } = await start();
    await send("gone", 1, 20);
    const phone = device("phone");
    const at = await handle(phone, await phone.subscribe(), numbered("gone", 1, 20));
    await server.stop();
    const nc = await broker.connect();
    const { config } = JSON.parse((await nc.request("$JS.API.STREAM.INFO.INBOX_0")).string());
    await nc.request("$JS.API.STREAM.DELETE.INBOX_0");
    await nc.request("$JS.API.STREAM.CREATE.INBOX_0", JSON.stringify(config));
    const alice = await openAlice(await serve(broker));
    await alice.send("next", 1, 30);
    // By the cursor that the service has, and by its record.
    for (const options of [{}, at]) {
      const again = alice.device("phone");
      const resumed = await again.subscribe(options);
      await takeGap(again, resumed);
      expect(dataOf(await resumed.take(30))).toEqual(numbered("next", 1, 30));
      again.kill();
    }
  });

  test("and cost none that stays connected", async () => {
    const { broker, device, send } = await start();
    const phone = device("phone");
    const session = await phone.subscribe();
    await send("gone", 1, 20);
    const at = await handle(phone, session, numbered("gone", 1, 20));
    const nc = await broker.connect();
    const { config } = JSON.parse((await nc.request("$JS.API.STREAM.INFO.INBOX_0")).string());
    await nc.request("$JS.API.STREAM.DELETE.INBOX_0");
    await nc.request("$JS.API.STREAM.CREATE.INBOX_0", JSON.stringify(config));
    await send("next", 1, 30);
    await whenToldToReconnect(session);
    const resumed = await phone.subscribe(at);
    expect(resumed.ready.resumeSequence).toBe(0n);
    await handle(phone, resumed, numbered("next", 1, 30));
  });
});

test("a purge costs nothing that is sent next, and a restart with the store as it was costs nothing at all", async () => {
  const { broker, device, send } = await start();
  const phone = device("phone");
  const session = await phone.subscribe();
  await send("before", 1, 5);
  await handle(phone, session, numbered("before", 1, 5));
  await broker.pause();
  await broker.resume();
  await send("after", 1, 5);
  const at = await handle(phone, session, numbered("after", 1, 5));
  const nc = await broker.connect();
  await nc.request("$JS.API.STREAM.PURGE.INBOX_0");
  await send("purged", 1, 5);
  await handle(phone, await phone.subscribe(at), numbered("purged", 1, 5)).catch(async () => {
    const again = await phone.subscribe(at);
    await takeGap(phone, again);
    await handle(phone, again, numbered("purged", 1, 5));
  });
});

test("a device that begins at the newest with an instance that has just started is not told of another store", async () => {
  const { broker, server, send } = await start();
  await send("old", 1, 5);
  await server.stop();
  const alice = await openAlice(await serve(broker));
  const phone = alice.device("phone");
  const { ready } = await phone.subscribe({ start: Start.NEW });
  phone.kill();
  const again = await alice.device("phone").subscribe();
  expect(again.ready).toMatchObject({ resumeSequence: ready.resumeSequence, epoch: ready.epoch });
  await alice.send("new", 1, 2);
  expect(dataOf(await again.take(2))).toEqual(numbered("new", 1, 2));
});

test("an Ack takes only what can be this user's", async () => {
  const { server, device, send } = await start();
  await send("1", 1, 5);
  const mallory = openDevice(server.url, await server.userToken("mallory"));
  const refused = { errCode: 1001, errMsg: "ArgsError" };
  expect(await mallory.ack(5n).catch(toErrorFacts)).toMatchObject(refused);
  const session = await mallory.subscribe();
  expect(await mallory.ack(5n).catch(toErrorFacts)).toMatchObject(refused);
  expect(session.ready.resumeSequence).toBe(0n);
  // Alice's own: with a session and without one.
  const phone = device("phone");
  const [first] = await (await phone.subscribe()).take(1);
  if (first === undefined) throw new Error("nothing was taken");
  expect(await phone.ack(first.sequence)).toBe(first.sequence);
  expect(await device("away").ack(first.sequence, first.epoch)).toBe(first.sequence);
});
