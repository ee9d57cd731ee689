import { jetstreamManager } from "@nats-io/jetstream";
import { beforeAll, expect, test } from "vitest";
import { reachConsumer } from "../../src/reaching/layout.ts";
import { useDevices } from "../helpers/device.ts";
import { startExternalBroker } from "../helpers/external-broker.ts";
import { useForFile } from "../helpers/for-file.ts";
import { reportsOf, sendReported } from "../helpers/reports.ts";
import { useServer } from "../helpers/server.ts";

const openDevice = useDevices();
const hourMs = 3_600_000;

/** Two instances, and a broker that hands what is stored to the watch only much later. */
const broker = useForFile(startExternalBroker, ({ remove }) => remove());
const settings = () => ({ PARTITIONS: "1", HEARTBEAT: "1h", NATS_URL: broker.url, REPORT_KEYS: "pay." });
const one = useServer(settings);
const two = useServer(settings);
beforeAll(async () => {
  const manager = await jetstreamManager(await broker.connect());
  const { stream, durable } = reachConsumer(0);
  await manager.consumers.pause(stream, durable, new Date(Date.now() + hourMs));
});

let users = 0;
async function newUser() {
  const userId = `reported-${++users}`;
  const token = await one.userToken(userId);
  const device = (deviceId: string, on = one) => openDevice(on.url, token, deviceId);
  return {
    ...{ userId, one, two, device },
    send: (change: object = {}) => sendReported(two, { recvUserID: userId, ...change }),
    states: async (sent: { readonly serverMsgID: string }) =>
      (await reportsOf(one, sent)).map(({ state, deviceID }) => [state, deviceID].join(" ").trim()),
  };
}

test("an acknowledgement is reported where it happens: once, with the first device", async () => {
  const { userId, device, send, one } = await newUser();
  const [phone, tablet] = [device("phone"), device("tablet")];
  const [onPhone, onTablet] = [await phone.subscribe(), await tablet.subscribe()];
  const sent = await send({ clientMsgID: `of ${userId}` });
  const [got] = await onPhone.take(1);
  await onTablet.take(1);
  await phone.ack(got?.sequence ?? 0n);
  await expect.poll(() => reportsOf(one, sent)).toHaveLength(1);
  await tablet.ack(got?.sequence ?? 0n);
  const next = await send();
  await onTablet.take(1);
  const [, last] = [await onPhone.take(1), await tablet.ack((got?.sequence ?? 0n) + 1n)];
  expect(last).toBeDefined();
  await expect.poll(() => reportsOf(one, next)).toMatchObject([{ state: "delivered", deviceID: "tablet" }]);
  expect(await reportsOf(one, sent)).toMatchObject([
    { ...sent, state: "delivered", userID: userId, deviceID: "phone", key: "order.paid" },
  ]);
});

test("so it is of a key of the settings, without an id, and through another instance", async () => {
  const { device, send, states, two } = await newUser();
  const session = await device("phone").subscribe();
  const sent = await send({ key: "pay.done", report: false });
  const [got] = await session.take(1);
  await device("phone", two).ack(got?.sequence ?? 0n);
  await expect.poll(() => states(sent)).toEqual(["delivered phone"]);
});

test("what was recalled is not reported as delivered by a device that acknowledges it later", async () => {
  const { device, send, states, one } = await newUser();
  const session = await device("phone").subscribe();
  const sent = await send();
  await session.take(1);
  const body = { serverMsgID: sent.serverMsgID };
  const { json } = await one.post("/msg/recall_business_notification", body, await one.adminToken());
  expect(json.errCode).toBe(0);
  const after = await send();
  expect((await session.nextEvent())?.case).toBe("recall");
  const [next] = await session.take(1);
  await device("phone").ack(next?.sequence ?? 0n);
  await expect.poll(() => states(after)).toEqual(["delivered phone"]);
  expect(await states(sent)).toEqual(["recalled"]);
});

test("what a newer one of its key replaces is reported as collapsed, once, and as delivered to whom had it", async () => {
  const { device, send, states, one, userId } = await newUser();
  const collapseKey = "order-77";
  const first = await send({ collapseKey });
  const second = await send({ collapseKey, clientMsgID: `second of ${userId}`, key: "pay.done", report: false });
  expect(await reportsOf(one, first)).toMatchObject([
    { ...first, state: "collapsed", userID: userId, deviceID: "", key: "order.paid", reason: "" },
  ]);
  // Its sender did not get the answer.
  await send({ collapseKey, clientMsgID: `second of ${userId}`, key: "pay.done", report: false });
  const session = await device("phone").subscribe();
  const [got] = await session.take(1);
  await device("phone").ack(got?.sequence ?? 0n);
  await expect.poll(() => states(second)).toEqual(["delivered phone"]);
  await send({ collapseKey, report: false });
  expect(await states(first)).toEqual(["collapsed"]);
  expect(await states(second)).toEqual(["delivered phone"]);
});

test("so it is of a group, for each member", async () => {
  const { one, device, send, userId } = await newUser();
  const other = await newUser();
  const groupID = `group of ${userId}`;
  const group = { groupInfo: { groupID, groupName: "g", groupType: 2 }, ownerUserID: userId };
  const created = { ...group, memberUserIDs: [other.userId] };
  expect((await one.post("/group/create_group", created, await one.adminToken())).json.errCode).toBe(0);
  const toGroup = { recvUserID: "", recvGroupID: groupID, collapseKey: "order-77" };
  const first = await send(toGroup);
  const session = await device("phone").subscribe();
  const [got] = await session.take(1);
  await device("phone").ack(got?.sequence ?? 0n);
  await expect.poll(() => reportsOf(one, first)).toMatchObject([{ state: "delivered", userID: userId }]);
  await send(toGroup);
  await expect
    .poll(async () => (await reportsOf(one, first)).map(({ userID, state }) => [userID, state]))
    .toEqual([
      [userId, "delivered"],
      [other.userId, "collapsed"],
    ]);
});
