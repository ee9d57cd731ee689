import { jetstreamManager } from "@nats-io/jetstream";
import { describe, expect, onTestFinished, test } from "vitest";
import { toToken } from "../../src/broker/subjects.ts";
import { encodeCursor } from "../../src/cursors/device-cursors.ts";
import { cursorSubject } from "../../src/cursors/layout.ts";
import { Start } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { type DeviceEvent, type DeviceSession, type SubscribeOptions, useDevices } from "../helpers/device.ts";
import { useEvents } from "../helpers/events.ts";
import { startExternalBroker } from "../helpers/external-broker.ts";
import { useForFile } from "../helpers/for-file.ts";
import { startProcess } from "../helpers/process.ts";
import { type TestServer, useServer } from "../helpers/server.ts";

const openDevice = useDevices();
const openEvents = useEvents();

const broker = useForFile(startExternalBroker, ({ remove }) => remove());
/** Two instances. The heartbeat of the first never comes: what it tells is not due to one. */
const one = useServer(() => ({ PARTITIONS: "1", NATS_URL: broker.url, HEARTBEAT: "1h" }));
const two = useServer(() => ({ PARTITIONS: "1", NATS_URL: broker.url, HEARTBEAT: "1s" }));

let users = 0;
async function newUser() {
  const userId = `settler-${++users}`;
  const [token, admin] = [await one.userToken(userId), await one.adminToken()];
  const ask = async (path: string, body: object) => {
    const { json } = await two.post(path, body, admin);
    expect(json).toMatchObject({ errCode: 0 });
    return json.data ?? {};
  };
  return {
    userId,
    token,
    one,
    two,
    ask,
    device: (deviceId: string, on = one) => openDevice(on.url, token, deviceId),
    open: (deviceId: string, options: SubscribeOptions & { on?: TestServer } = {}) => {
      const { on = one, ...subscribe } = options;
      return openDevice(on.url, token, deviceId).subscribe(subscribe);
    },
    async send(data: string, change: object = {}) {
      const body = { sendUserID: "imAdmin", recvUserID: userId, key: "k", data, reliabilityLevel: 2 };
      return String(
        (await ask("/msg/send_business_notification", { ...body, ackScope: "USER", ...change })).serverMsgID,
      );
    },
    async states(serverMsgID: string) {
      const { recipients } = await ask("/msg/get_delivery_status", { serverMsgID });
      const [recipient] = recipients as { state: string; devices: { deviceID: string; state: string }[] }[];
      return [recipient?.state, ...(recipient?.devices ?? []).map(({ deviceID, state }) => `${deviceID} ${state}`)];
    },
  };
}

/** An event as text. */
function describeEvent(event: DeviceEvent | undefined): string {
  if (event?.case === "notification") return event.value.data;
  if (event?.case === "settled") return `${event.value.wasSent ? "take back" : "instead of"} ${event.value.sequence}`;
  return event?.case ?? "end";
}

async function next(session: DeviceSession, count: number): Promise<string[]> {
  const events: string[] = [];
  while (events.length < count) {
    const event = await session.next();
    if (event?.case !== "heartbeat") events.push(describeEvent(event));
  }
  return events;
}

const idle = async (session: DeviceSession) => (await session.eventsUntilIdle()).map(describeEvent);

/** A notification is read, and acknowledged by its device. */
async function handle(session: DeviceSession, acknowledge: (sequence: bigint, epoch: string) => Promise<unknown>) {
  const [got] = await session.take(1);
  if (got === undefined) throw new Error("nothing came");
  await acknowledge(got.sequence, got.epoch);
  return got;
}

describe("the first acknowledgement of a device", () => {
  test("takes it back on devices that have it, on either instance, and is in its place for those that come later", async () => {
    const { device, open, send, states, two } = await newUser();
    const phone = await open("phone");
    const tablet = await open("tablet");
    const laptop = await open("laptop", { on: two });
    const id = await send("once");
    expect([await next(tablet, 1), await next(laptop, 1)]).toEqual([["once"], ["once"]]);
    const { sequence } = await handle(phone, device("phone").ack);
    expect(await next(tablet, 1)).toEqual([`take back ${sequence}`]);
    expect(await next(laptop, 1)).toEqual([`take back ${sequence}`]);
    for (const on of [undefined, two]) {
      const late = await open(`late on ${on?.url}`, on && { on });
      expect(await next(late, 1)).toEqual([`instead of ${sequence}`]);
    }
    await device("tablet").ack(sequence);
    await expect.poll(() => states(id)).toEqual(["delivered", "phone delivered", "tablet delivered"]);
  });

  test("leaves what is for each device as it is, and is in order", async () => {
    const { device, open, send, states, two } = await newUser();
    await send("1 each", { ackScope: "device" });
    const [second, third] = [await send("2 once"), await send("3 once")];
    await send("4 each", { ackScope: "" });
    const phone = await open("phone");
    const [, , last] = await phone.take(4);
    await device("phone").ack(last?.sequence ?? 0n);
    const tablet = await open("tablet", { on: two });
    const events = await idle(tablet);
    expect(events).toHaveLength(4);
    expect(events[0]).toBe("1 each");
    expect(events[1]).toMatch(/^instead of/);
    expect(events[2]).toBe(`instead of ${last?.sequence}`);
    expect(events[3]).toBe("4 each");
    await device("tablet").ack((last?.sequence ?? 1n) - 2n);
    await expect.poll(() => states(second)).toEqual(["delivered", "phone delivered", "tablet settled"]);
    expect(await states(third)).toEqual(["delivered", "phone delivered", "tablet settled"]);
  });

  test("is that of a device that it is for, and that was sent it", async () => {
    const { device, open, send } = await newUser();
    await send("for the tablet and the laptop", { exceptDeviceID: "phone" });
    await send("before");
    // It begins after both, and so has acknowledged neither.
    await open("new", { start: Start.NEW });
    // So has one that says that it is as far, of which nothing is known.
    const marker = await send("each", { ackScope: "DEVICE" });
    const fresh = device("fresh");
    const phone = await open("phone");
    const got = await phone.take(2);
    expect(got.map(({ data }) => data)).toEqual(["before", "each"]);
    await fresh.subscribe({ afterSequence: got[1]?.sequence ?? 0n });
    expect(marker).not.toBe("");
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    const laptop = await open("laptop");
    expect(await next(laptop, 3)).toEqual(["for the tablet and the laptop", "before", "each"]);
    await device("phone").ack(got[0]?.sequence ?? 0n);
    expect(await next(laptop, 1)).toEqual([`take back ${got[0]?.sequence}`]);
    const tablet = await open("tablet");
    const expected = ["for the tablet and the laptop", `instead of ${got[0]?.sequence}`, "each"];
    expect(await next(tablet, 3)).toEqual(expected);
  });

  test("counts through another instance than that of its session, and without a session", async () => {
    const { device, open, send, two } = await newUser();
    const phone = await open("phone");
    const tablet = await open("tablet");
    await send("1");
    await next(tablet, 1);
    const first = await handle(phone, device("phone", two).ack);
    expect(await next(tablet, 1)).toEqual([`take back ${first.sequence}`]);

    const laptop = device("laptop");
    const session = await laptop.subscribe();
    expect(await next(session, 1)).toEqual([`instead of ${first.sequence}`]);
    await send("2");
    const [second] = await session.take(1);
    laptop.kill();
    await next(tablet, 1);
    await device("laptop", two).ack(second?.sequence ?? 0n);
    expect(await next(tablet, 1)).toEqual([`take back ${second?.sequence}`]);
  });

  test("does not change what the device itself is sent again", async () => {
    const { device, open, send } = await newUser();
    await send("once");
    await handle(await open("phone"), device("phone").ack);
    expect(await next(await open("phone", { start: Start.ALL }), 1)).toEqual(["once"]);
  });

  test.each([
    ["with an id of the caller's", { clientMsgID: "of the caller's" }],
    ["later", { sendAt: 1 }],
  ])("settles what is sent %s", async (_, change) => {
    const { device, open, send } = await newUser();
    const phone = await open("phone");
    const tablet = await open("tablet");
    await send("once", "sendAt" in change ? { sendAt: Date.now() + 1_500 } : change);
    expect(await next(tablet, 1)).toEqual(["once"]);
    const { sequence } = await handle(phone, device("phone").ack);
    expect(await next(tablet, 1)).toEqual([`take back ${sequence}`]);
  });

  test("settles what was sent in a batch, each for itself", async () => {
    const { userId, device, open, ask } = await newUser();
    const body = {
      sendUserID: "imAdmin",
      recvUserID: userId,
      key: "k",
      reliabilityLevel: 2,
      ackScope: "ACK_SCOPE_USER",
    };
    await ask("/msg/batch_send_business_notification", {
      notifications: [1, 2, 3].map((data) => ({ ...body, data: String(data) })),
    });
    const phone = await open("phone");
    const tablet = await open("tablet");
    expect(await next(tablet, 3)).toEqual(["1", "2", "3"]);
    const [, second] = await phone.take(3);
    await device("phone").ack(second?.sequence ?? 0n);
    expect(await next(tablet, 2)).toEqual([
      `take back ${(second?.sequence ?? 0n) - 1n}`,
      `take back ${second?.sequence}`,
    ]);
  });

  test("settles a notification to a group for its member, and for no other", async () => {
    const member = await newUser();
    const other = await newUser();
    const groupInfo = { groupID: `crew of ${member.userId}`, groupType: 2, groupName: "crew" };
    await member.ask("/group/create_group", {
      ...{ ownerUserID: member.userId, memberUserIDs: [other.userId], groupInfo },
    });
    await member.send("for the crew", { recvUserID: "", recvGroupID: groupInfo.groupID });
    const [phone, tablet] = [await member.open("phone"), await member.open("tablet")];
    expect(await next(tablet, 1)).toEqual(["for the crew"]);
    const { sequence } = await handle(phone, member.device("phone").ack);
    expect(await next(tablet, 1)).toEqual([`take back ${sequence}`]);
    expect(await next(await other.open("phone"), 1)).toEqual(["for the crew"]);
  });

  test("is told by server-sent events, with an id only in its place", async () => {
    const { device, open, send, one, token } = await newUser();
    const phone = await open("phone");
    const events = await openEvents("1.1", one.url, "/events?deviceID=tablet", { token });
    expect((await events.next())?.event).toBe("ready");
    const serverMsgID = await send("once");
    const first = await events.next();
    const { sequence } = await handle(phone, device("phone").ack);
    const settled = await events.next();
    expect(settled).toMatchObject({ event: "settled" });
    expect(settled?.id).toBeUndefined();
    expect(JSON.parse(settled?.data ?? "")).toMatchObject({ serverMsgID, sequence: String(sequence), wasSent: true });
    const later = await openEvents("1.1", one.url, "/events?deviceID=laptop", { token });
    await later.next();
    const inPlace = await later.next();
    expect(inPlace).toMatchObject({ event: "settled", id: first?.id });
    expect(JSON.parse(inPlace?.data ?? "")).not.toHaveProperty("wasSent");
  });
});

test("a lost signal is made up for by the next heartbeat", async () => {
  const { userId, open, send, two } = await newUser();
  const tablet = await open("tablet", { on: two });
  await send("once");
  const [got] = await tablet.take(1);
  const position = { sequence: Number(got?.sequence), epoch: got?.epoch ?? "" };
  // All that an instance leaves that dies when it has stored the acknowledgement: nobody tells of it.
  const manager = await jetstreamManager(await broker.connect());
  const cursor = encodeCursor({ deviceId: "phone", position, began: undefined });
  await manager.jetstream().publish(cursorSubject(toToken(userId), toToken("phone")), cursor);
  expect(await next(tablet, 1)).toEqual([`take back ${got?.sequence}`]);
});

describe("when an instance dies", () => {
  const startInstance = async () => {
    const instance = await startProcess({ PARTITIONS: "1", NATS_URL: broker.url, HEARTBEAT: "1h" });
    onTestFinished(instance.remove);
    return instance;
  };

  test("right after an acknowledgement, the others hear of it, or the device is sent it again", async () => {
    const { userId, device, open, send, two } = await newUser();
    const instance = await startInstance();
    const phone = openDevice(instance.url, await instance.userToken(userId), "phone");
    const onPhone = await phone.subscribe();
    const tablet = await open("tablet", { on: two });
    await send("once");
    const [got] = await onPhone.take(1);
    await next(tablet, 1);
    await phone.ack(got?.sequence ?? 0n);
    await instance.kill("SIGKILL");
    // A device that keeps no record acknowledges what it is sent again.
    const again = await open("phone", { on: two });
    const [first] = await idle(again);
    if (first !== undefined) await device("phone", two).ack(got?.sequence ?? 0n);
    expect(await next(tablet, 1)).toEqual([`take back ${got?.sequence}`]);
    expect(await idle(tablet)).toEqual([]);
  });

  test("right after a device has begun with what is new, that device settles nothing that is older", async () => {
    const { userId, device, open, send, two } = await newUser();
    await send("older");
    const instance = await startInstance();
    await openDevice(instance.url, await instance.userToken(userId), "new").subscribe({ start: Start.NEW });
    await instance.kill("SIGKILL");
    await send("newer");
    const phone = await open("phone", { on: two });
    const [, newer] = await phone.take(2);
    // It acknowledges what it was never sent, without a session.
    await device("new", two).ack(newer?.sequence ?? 0n);
    const tablet = await open("tablet", { on: two });
    const laptop = () => open("laptop", { on: two, start: Start.ALL });
    await expect.poll(async () => idle(await laptop())).toEqual(["older", `instead of ${newer?.sequence}`]);
    expect(await next(tablet, 1)).toEqual(["older"]);
    expect(await phone.eventsUntilIdle().then((events) => events.map(describeEvent))).toEqual([
      `take back ${newer?.sequence}`,
    ]);
  });
});

test.each([
  [{ ackScope: "BOTH" }, "ackScope must be one of"],
  [{ ackScope: 3 }, "ackScope must be DEVICE or USER"],
  [{ ackScope: "user", reliabilityLevel: 1 }, "ackScope USER needs reliabilityLevel 2"],
])("%o is refused", async (change, errDlt) => {
  const { one } = await newUser();
  const body = { sendUserID: "imAdmin", recvUserID: "ann", key: "k", data: "d", reliabilityLevel: 2, ...change };
  const { json } = await one.post("/msg/send_business_notification", body, await one.adminToken());
  expect(json).toMatchObject({ errCode: 1001, errDlt: expect.stringContaining(errDlt) });
});
