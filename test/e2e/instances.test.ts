import { describe, expect, test, vi } from "vitest";
import { toErrorFacts } from "../../src/errors.ts";
import { type DeviceSession, dataOf, openSender, useDevices } from "../helpers/device.ts";
import { startExternalBroker } from "../helpers/external-broker.ts";
import { useForFile } from "../helpers/for-file.ts";
import { openLine } from "../helpers/line.ts";
import { type TestServer, useServer } from "../helpers/server.ts";

const openDevice = useDevices();

/** Two instances of one service, on one broker, each over a line that can be cut. */
const broker = useForFile(startExternalBroker, ({ remove }) => remove());
const useLine = () =>
  useForFile(
    () => openLine(broker.port),
    ({ close }) => close(),
  );
const lineOfOne = useLine();
const lineOfTwo = useLine();
// Its heartbeat never comes, so that what it delivers is not due to one.
const one = useServer(() => ({ HEARTBEAT: "1h", PARTITIONS: "1", NATS_URL: lineOfOne.url }));
const two = useServer(() => ({ HEARTBEAT: "1s", PARTITIONS: "1", NATS_URL: lineOfTwo.url }));

const numbers = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => String(from + i));

let users = 0;
/** A user that no other test has, with a device's way to each instance. */
async function newUser() {
  const userId = `user-${++users}`;
  const token = await two.userToken(userId);
  const admin = await two.adminToken();
  const [viaOne, viaTwo] = [openSender(one.url, admin), openSender(two.url, admin)];
  return {
    userId,
    one,
    two,
    lineOfOne,
    lineOfTwo,
    admin,
    onOne: (deviceId?: string) => openDevice(one.url, token, deviceId),
    onTwo: (deviceId?: string) => openDevice(two.url, token, deviceId),
    sendOnOne: (data: string, level: 1 | 2 = 2) => viaOne({ to: userId, data, level }),
    sendOnTwo: (data: string, level: 1 | 2 = 2) => viaTwo({ to: userId, data, level }),
  };
}

test("who is online is told by either instance, whichever has the sessions", async () => {
  const { userId, one, two, admin } = await newUser();
  const status = async (instance: TestServer, ...userIDs: string[]) =>
    (await instance.post("/user/get_users_online_status", { userIDs }, admin)).json.data;
  const online = (...platformIDs: number[]) => ({
    userID: userId,
    status: 1,
    detailPlatformStatus: platformIDs.map((platformID) => ({ platformID, connID: "", isBackground: false, token: "" })),
  });
  const offline = (userID: string) => ({ userID, status: 0, detailPlatformStatus: [] });
  expect(await status(one, userId)).toEqual([offline(userId)]);

  const phone = openDevice(two.url, await two.userToken(userId, 1), "phone");
  await phone.subscribe();
  expect(await status(one, "nobody", userId, userId)).toEqual([offline("nobody"), online(1), online(1)]);
  await openDevice(one.url, await one.userToken(userId, 5), "tab").subscribe();
  await openDevice(one.url, await one.userToken(userId, 5), "other tab").subscribe();
  for (const instance of [one, two]) expect(await status(instance, userId)).toEqual([online(1, 5)]);
  phone.kill();
  await expect.poll(() => status(one, userId), { timeout: 10_000 }).toEqual([online(5)]);
});

describe("a notification that is sent through one instance", () => {
  test("reaches the sessions of the other at once, pushed or stored", async () => {
    const { onOne, sendOnTwo } = await newUser();
    const session = await onOne().subscribe();
    await sendOnTwo("stored");
    await sendOnTwo("pushed", 1);
    expect(dataOf(await session.take(2)).sort()).toEqual(["pushed", "stored"]);
  });

  test("while the other has lost the broker reaches its sessions when it is back", async () => {
    const { onOne, sendOnTwo, one, lineOfOne } = await newUser();
    const session = await onOne().subscribe();
    lineOfOne.cut();
    await whenReady(one, false);
    for (const data of numbers(1, 3)) await sendOnTwo(data);
    lineOfOne.restore();
    await whenReady(one);
    expect(dataOf(await session.take(3))).toEqual(["1", "2", "3"]);
  });
});

describe("a newer session of a device on another instance", () => {
  test("ends the older one with 1506 and lives on", async () => {
    const { onOne, onTwo, sendOnOne } = await newUser();
    for (const [first, second] of [
      [onOne, onTwo],
      [onTwo, onOne],
    ] as const) {
      const older = await first().subscribe();
      const newer = await second().subscribe();
      expect(await older.whenEnded()).toMatchObject({ errCode: 1506 });
      await sendOnOne("1");
      const [notification] = await newer.take(1);
      await second().ack(notification?.sequence ?? 0n);
    }
  });

  test.each(["only cut off", "cut off, and the broker was restarted"])(
    "ends the older one also when its instance was %s meanwhile",
    async (how) => {
      const { onOne, onTwo, sendOnTwo, one, two, lineOfOne } = await newUser();
      const older = await onOne().subscribe();
      lineOfOne.cut();
      await whenReady(one, false);
      const newer = await onTwo().subscribe();
      if (how !== "only cut off") {
        await broker.pause();
        await broker.resume();
        await whenReady(two);
      }
      lineOfOne.restore();
      expect(await older.whenEnded()).toMatchObject({ errCode: 1506 });
      await whenReady(one);
      await sendOnTwo("1");
      expect(dataOf(await newer.take(1))).toEqual(["1"]);
    },
  );

  test("ends also those that were opened before the broker was restarted", async () => {
    const { onOne, onTwo, sendOnOne, one, two } = await newUser();
    const older = await onOne().subscribe();
    const reconnects = ({ log }: TestServer) => log.filter(({ msg }) => msg === "connected to the broker again").length;
    const before = [reconnects(one), reconnects(two)] as const;
    await broker.pause();
    await broker.resume();
    // Three connections each: what is ready is told from up to a second ago.
    await vi.waitFor(() => expect(reconnects(one)).toBe(before[0] + 3), 20_000);
    await vi.waitFor(() => expect(reconnects(two)).toBe(before[1] + 3), 20_000);
    await Promise.all([whenReady(one), whenReady(two)]);
    const newer = await onTwo().subscribe();
    expect(await older.whenEnded()).toMatchObject({ errCode: 1506 });
    await sendOnOne("1");
    expect(dataOf(await newer.take(1))).toEqual(["1"]);
  });

  test("leaves exactly one alive when both are opened at the same moment", async () => {
    const play = async (): Promise<string> => {
      const { onOne, onTwo, sendOnOne } = await newUser();
      const outcomes = (await Promise.all([onOne().subscribe(), onTwo().subscribe()])).map(outcome);
      // Nothing was sent yet: the first outcome is an end.
      await Promise.race(outcomes);
      await sendOnOne("1");
      return (await Promise.all(outcomes)).toSorted().join(" and ");
    };
    const outcomes = await Promise.all(Array.from({ length: 40 }, play));
    expect(outcomes).toEqual(Array(40).fill("1506 and notification"));
  });
});

describe("an acknowledgement through another instance than the session's", () => {
  test("opens the window there", async () => {
    const { onOne, onTwo, sendOnTwo } = await newUser();
    const session = await onOne().subscribe({ window: 1 });
    for (const data of ["1", "2", "3"]) await sendOnTwo(data);
    for (const data of ["1", "2", "3"]) {
      const [notification] = await session.take(1);
      expect(notification?.data).toBe(data);
      await onTwo().ack(notification?.sequence ?? 0n);
    }
  });

  test("opens the window also when a dead session of the device is still there", async () => {
    const { onOne, onTwo, sendOnTwo } = await newUser();
    for (const data of numbers(1, 40)) await sendOnTwo(data.padEnd(10_000, "."));
    // It does not read, so its stream cannot take the news that it was superseded.
    const dead = onOne();
    await dead.subscribe();
    const session = await onTwo().subscribe({ window: 1 });
    const [first] = await session.take(1);
    await onOne().ack(first?.sequence ?? 0n);
    const [second] = await session.take(1);
    expect(second?.data).toMatch(/^2\./);
  });

  test("opens the window, by a heartbeat, also when word of it was lost", async () => {
    const { onOne, onTwo, sendOnTwo, two, lineOfTwo } = await newUser();
    const session = await onTwo().subscribe({ window: 1 });
    for (const data of ["1", "2"]) await sendOnTwo(data);
    const [first] = await session.take(1);
    // What one instance tells another is not stored: who is away misses it.
    lineOfTwo.cut();
    await whenReady(two, false);
    await onOne().ack(first?.sequence ?? 0n);
    lineOfTwo.restore();
    await whenReady(two);
    expect(dataOf(await session.take(1))).toEqual(["2"]);
  });

  test("is where the device resumes on any instance", async () => {
    const { onOne, onTwo, sendOnTwo } = await newUser();
    for (const data of ["1", "2"]) await sendOnTwo(data);
    const phone = onOne();
    const [first] = await (await phone.subscribe()).take(1);
    await phone.ack(first?.sequence ?? 0n);
    phone.kill();
    // The cursor is stored when the session has ended, which the instance has to notice first.
    await vi.waitFor(async () => expect((await onTwo().subscribe()).ready.resumeSequence).toBe(first?.sequence), {
      interval: 100,
    });
  });
});

describe("an acknowledgement that is not made through the instance of the next session", () => {
  test("is where the device resumes soon, and one with a record of its own does not depend on it", async () => {
    const { onOne, onTwo, sendOnTwo } = await newUser();
    await sendOnTwo("1");
    const session = await onOne().subscribe();
    const [first] = await session.take(1);
    // The phone's session is on one instance, and its Ack goes to the other, where it is not the end of a session.
    await onTwo().ack(first?.sequence ?? 0n);
    await vi.waitFor(
      async () => expect((await onOne("phone").subscribe()).ready.resumeSequence).toBe(first?.sequence),
      {
        interval: 100,
      },
    );
    // A device that has a record of its own does not depend on it.
    const own = await onTwo("tablet").subscribe({ afterSequence: first?.sequence ?? 0n });
    expect(await own.takeUntilIdle()).toEqual([]);
  });
});

test("force_logout through one instance ends the sessions of every instance with 1506", async () => {
  const { userId, onOne, onTwo, two, admin } = await newUser();
  const sessions = [await onOne("phone").subscribe(), await onTwo("tablet").subscribe()];
  const { json } = await two.post("/auth/force_logout", { userID: userId, platformID: 5 }, admin);
  expect(json.errCode).toBe(0);
  for (const session of sessions) expect(await session.whenEnded()).toMatchObject({ errCode: 1506 });
  expect(await onOne().subscribe().catch(toErrorFacts)).toMatchObject({ errCode: 1506 });
});

test("one clientMsgID is one notification, through whatever instances it is sent at the same moment", async () => {
  const { userId, onOne, one, two, admin } = await newUser();
  const session = await onOne().subscribe();
  const senders = [one, two, one, two].map(({ url }) => openSender(url, admin));
  const request = { to: userId, data: "once", clientMsgId: `of-${userId}` };
  const responses = await Promise.all(senders.map((send) => send(request)));
  for (const response of responses) expect(response).toEqual(responses[0]);
  await senders[0]?.({ to: userId, data: "end" });
  expect(dataOf(await session.take(2))).toEqual(["once", "end"]);
});

/** Resolves when an instance has its broker, or has noticed that it lost it. */
async function whenReady({ url }: TestServer, ready = true): Promise<void> {
  await vi.waitFor(async () => expect((await fetch(`${url}/readyz`)).status).toBe(ready ? 200 : 503), {
    interval: 20,
  });
}

/** What a session shows next: the code of the error that ends it, or the case of its event. */
async function outcome(session: DeviceSession): Promise<string> {
  for (;;) {
    const event = await session.next().catch(toErrorFacts);
    if (event === undefined) return "end";
    if ("errCode" in event) return String(event.errCode);
    if (event.case !== "heartbeat") return String(event.case);
  }
}
