import { beforeAll, describe, expect, test } from "vitest";
import { Start } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { type DeviceSession, dataOf, useDevices } from "../helpers/device.ts";
import { useServer } from "../helpers/server.ts";

const server = useServer({ HEARTBEAT: "1s" });
const openDevice = useDevices();
let admin: string;
beforeAll(async () => {
  admin = await server.adminToken();
});

const call = async (path: string, body: object) => (await server.post(path, body, admin)).json;

let users = 0;
/** A user, whose devices are named, and what is sent to them. */
async function newUser() {
  const userId = `addressed-${++users}`;
  const token = await server.userToken(userId);
  const device = (deviceId: string) => openDevice(server.url, token, deviceId);
  return {
    userId,
    device,
    open: (deviceId: string, start: Start = Start.RESUME) => device(deviceId).subscribe({ start }),
    async send(data: string, change: object = {}) {
      const body = { sendUserID: "imAdmin", recvUserID: userId, key: "k", data, reliabilityLevel: 2, ...change };
      const answer = await call("/msg/send_business_notification", body);
      expect(answer).toMatchObject({ errCode: 0 });
      return answer.data as { serverMsgID: string; clientMsgID: string; sendTime: number };
    },
    async states(serverMsgID: string) {
      const { data = {} } = await call("/msg/get_delivery_status", { serverMsgID });
      const [recipient] = data.recipients as { state: string; devices: { deviceID: string; state: string }[] }[];
      return [recipient?.state, ...(recipient?.devices ?? []).map(({ deviceID, state }) => `${deviceID} ${state}`)];
    },
  };
}

const read = async (session: DeviceSession) => dataOf(await session.takeUntilIdle());

describe("a must-reach notification", () => {
  test.each([
    ["with a generated id", false],
    ["with an id of the caller's", true],
  ])("%s comes to the devices that it is for, online or not, in order and without a gap", async (_, hasId) => {
    const { userId, open, send } = await newUser();
    const id = (name: string) => (hasId ? { clientMsgID: `${name} ${userId}` } : {});
    const phone = await open("phone");
    const tablet = await open("tablet");
    await send("all");
    await send("phone", { recvDeviceID: "phone", ...id("phone") });
    await send("not phone", { exceptDeviceID: "phone", ...id("not phone") });
    await send("nobody", { recvDeviceID: "no such device", ...id("nobody") });
    await send("all again");
    expect(await read(phone)).toEqual(["all", "phone", "all again"]);
    expect(await read(tablet)).toEqual(["all", "not phone", "all again"]);
    expect(await read(await open("laptop"))).toEqual(["all", "not phone", "all again"]);
    expect(await read(await open("phone", Start.ALL))).toEqual(["all", "phone", "all again"]);
  });

  test("that is not for a device is no place in its window, however many there are", async () => {
    const { device, send } = await newUser();
    for (let i = 0; i < 40; i++) await send(`tablet ${i}`, { recvDeviceID: "tablet" });
    await send("phone", { recvDeviceID: "phone" });
    const phone = await device("phone").subscribe({ window: 1 });
    expect(await read(phone)).toEqual(["phone"]);
  });

  test("in a batch, and at its time, it is for the same", async () => {
    const { userId, open, send } = await newUser();
    const body = { sendUserID: "imAdmin", recvUserID: userId, key: "k", reliabilityLevel: 2 };
    const notifications = [
      { ...body, data: "1", recvDeviceID: "phone" },
      { ...body, data: "2", exceptDeviceID: "phone" },
      { ...body, data: "3" },
    ];
    await call("/msg/batch_send_business_notification", { notifications });
    await send("later", { recvDeviceID: "tablet", sendAt: Date.now() + 1_000 });
    const tablet = await open("tablet");
    expect(dataOf(await tablet.take(3))).toEqual(["2", "3", "later"]);
    expect(await read(await open("phone"))).toEqual(["1", "3"]);
  });

  test("is delivered when a device that it is for has acknowledged it, whatever others have", async () => {
    const { device, open, send, states } = await newUser();
    const forPhone = await send("for the phone", { recvDeviceID: "phone" });
    const last = await send("for all");
    const tablet = await open("tablet");
    const [got] = await tablet.take(1);
    await device("tablet").ack(got?.sequence ?? 0n, got?.epoch);
    await expect.poll(() => states(last.serverMsgID)).toEqual(["delivered", "tablet delivered"]);
    expect(await states(forPhone.serverMsgID)).toEqual(["pending"]);
    const phone = await open("phone");
    const [own] = await phone.take(1);
    await device("phone").ack(own?.sequence ?? 0n, own?.epoch);
    await expect.poll(() => states(forPhone.serverMsgID)).toEqual(["delivered", "phone delivered"]);
  });

  test("is withdrawn in time when only devices that it is not for have passed it", async () => {
    const { device, open, send } = await newUser();
    const { serverMsgID } = await send("for the phone", { recvDeviceID: "phone" });
    const { serverMsgID: marker } = await send("for all");
    const [got] = await (await open("tablet")).take(1);
    await device("tablet").ack(got?.sequence ?? 0n, got?.epoch);
    const isStored = async () => (await call("/msg/get_delivery_status", { serverMsgID: marker })).data?.counts;
    await expect.poll(isStored).toMatchObject({ delivered: 1 });
    const { data } = await call("/msg/recall_business_notification", { serverMsgID });
    expect(data).toEqual({ withdrawn: 1, delivered: 0 });
    expect(await read(await open("phone")).catch(String)).toMatch(/got recall/);
  });

  test("sent again under its generated id is the first, for other devices it is 1003", async () => {
    const { userId, send } = await newUser();
    const first = await send("once", { recvDeviceID: "phone" });
    const body = { sendUserID: "imAdmin", recvUserID: userId, key: "k", data: "once", reliabilityLevel: 2 };
    const { clientMsgID } = first;
    expect(await send("once", { recvDeviceID: "phone", clientMsgID })).toEqual(first);
    for (const other of [{}, { recvDeviceID: "tablet" }, { exceptDeviceID: "phone" }]) {
      const answer = await call("/msg/send_business_notification", { ...body, clientMsgID, ...other });
      expect(answer).toMatchObject({ errCode: 1003 });
    }
  });
});

test("an online push comes to the connected devices that it is for, and is kept for none", async () => {
  const { open, send } = await newUser();
  const phone = await open("phone");
  const tablet = await open("tablet");
  const push = (data: string, change: object) => send(data, { reliabilityLevel: 1, ...change });
  await push("1 phone", { recvDeviceID: "phone" });
  await push("2 not phone", { exceptDeviceID: "phone" });
  await push("3 all", {});
  await push("4 tablet", { recvDeviceID: "tablet", clientMsgID: "an id of the caller's" });
  expect(await read(phone)).toEqual(["1 phone", "3 all"]);
  expect(await read(tablet)).toEqual(["2 not phone", "3 all", "4 tablet"]);
});

test.each([
  ["both", { recvDeviceID: "a", exceptDeviceID: "b" }],
  ["one of a group", { recvUserID: "", recvGroupID: "crew", recvDeviceID: "a" }],
  ["one with a chat copy", { exceptDeviceID: "a", sendMsg: true }],
  ["one with a control character", { recvDeviceID: "a\u0000" }],
  ["one of 257 bytes", { exceptDeviceID: "a".repeat(257) }],
])("%s is refused", async (_, change) => {
  const body = { sendUserID: "imAdmin", recvUserID: "ann", key: "k", data: "d", ...change };
  for (const reliabilityLevel of [1, 2]) {
    const answer = await call("/msg/send_business_notification", { ...body, reliabilityLevel });
    expect(answer).toMatchObject({ errCode: 1001, errDlt: expect.stringContaining("DeviceID") });
  }
});
