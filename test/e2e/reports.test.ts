import { expect, test } from "vitest";
import { ReportState } from "../../src/gen/mustreach/msg/v1/report_pb.ts";
import { openSender, useDevices } from "../helpers/device.ts";
import { pullReports, type ReportJson, reportsOf, sendReported, watchReports } from "../helpers/reports.ts";
import { useServer } from "../helpers/server.ts";

const server = useServer({ HEARTBEAT: "1s", PARTITIONS: "2", REPORT_KEYS: "pay.,refund" });
const openDevice = useDevices();

let users = 0;
const newUser = () => `user-${++users}`;

/** Takes everything that the user has, as a device, and acknowledges it. */
async function acknowledgeAll(userId: string, deviceId = "phone") {
  const device = openDevice(server.url, await server.userToken(userId), deviceId);
  const session = await device.subscribe({ window: 1_000 });
  const taken = await session.takeUntilIdle();
  await device.ack(taken.at(-1)?.sequence ?? 0n);
  return taken;
}

async function createGroup([ownerUserID, ...memberUserIDs]: readonly string[]): Promise<string> {
  const groupID = `group of ${ownerUserID}`;
  const group = { groupInfo: { groupID, groupName: "g", groupType: 2 }, ownerUserID, memberUserIDs };
  const { json } = await server.post("/group/create_group", group, await server.adminToken());
  expect(json.errCode).toBe(0);
  return groupID;
}

const statesOf = (reports: readonly ReportJson[]) =>
  reports.map(({ userID, state }) => `${userID} ${state}`).toSorted();

/** Waits for as many reports of a notification. */
async function waitForReports(sent: { readonly serverMsgID: string }, count: number) {
  await expect.poll(() => reportsOf(server, sent)).toHaveLength(count);
  return reportsOf(server, sent);
}

test("that a device has acknowledged is reported with both ids, the device, the key and the times", async () => {
  const userId = newUser();
  const sent = await sendReported(server, { recvUserID: userId, clientMsgID: `order of ${userId}` });
  expect(await reportsOf(server, sent)).toEqual([]);
  await acknowledgeAll(userId, "my phone");
  const [report] = await waitForReports(sent, 1);
  expect(report).toEqual({
    sequence: expect.any(Number),
    state: "delivered",
    serverMsgID: sent.serverMsgID,
    clientMsgID: `order of ${userId}`,
    userID: userId,
    deviceID: "my phone",
    key: "order.paid",
    sendTime: sent.sendTime,
    time: expect.any(Number),
    reason: "",
  });
  expect(report?.time).toBeGreaterThanOrEqual(sent.sendTime);
});

test("so it is of a notification without an id of its sender's", async () => {
  const userId = newUser();
  const sent = await sendReported(server, { recvUserID: userId });
  await acknowledgeAll(userId);
  expect(await waitForReports(sent, 1)).toMatchObject([
    { ...sent, state: "delivered", userID: userId, key: "order.paid", deviceID: "phone" },
  ]);
});

test("of a group, each member's is reported", async () => {
  const members = [newUser(), newUser(), newUser()];
  const groupID = await createGroup(members);
  const sent = await sendReported(server, { recvGroupID: groupID, ttlSeconds: 30 });
  for (const member of members.slice(0, 2)) {
    await expect.poll(async () => (await acknowledgeAll(member)).length).toBe(1);
  }
  const [first, second, third] = members;
  expect(statesOf(await waitForReports(sent, 2))).toEqual([`${first} delivered`, `${second} delivered`]);
  expect(statesOf(await waitForReports(sent, 3))).toEqual([
    `${first} delivered`,
    `${second} delivered`,
    `${third} expired`,
  ]);
});

test("that nobody had it in time is reported, and why", async () => {
  const sent = await sendReported(server, { recvUserID: newUser(), ttlSeconds: 1 });
  expect(await waitForReports(sent, 1)).toMatchObject([{ state: "expired", reason: "ttl", deviceID: "" }]);
});

test("that it was recalled is reported at once, to whom it was recalled from", async () => {
  const members = [newUser(), newUser()];
  const admin = await server.adminToken();
  const groupID = await createGroup(members);
  const sent = await sendReported(server, { recvGroupID: groupID, clientMsgID: `recalled of ${members[0]}` });
  const [reader = "", other = ""] = members;
  await expect.poll(async () => (await acknowledgeAll(reader)).length).toBe(1);
  const status = () => server.post("/msg/get_delivery_status", { serverMsgID: sent.serverMsgID }, admin);
  await expect.poll(async () => (await status()).json.data?.counts).toMatchObject({ delivered: 1 });
  const recalled = await server.post("/msg/recall_business_notification", { serverMsgID: sent.serverMsgID }, admin);
  expect(recalled.json.data).toEqual({ withdrawn: 1, delivered: 1 });
  const atOnce = (await reportsOf(server, sent)).filter(({ state }) => state === "recalled");
  expect(atOnce).toMatchObject([{ userID: other, key: "order.paid", clientMsgID: `recalled of ${reader}` }]);
  expect(statesOf(await waitForReports(sent, 2))).toEqual([`${reader} delivered`, `${other} recalled`]);
});

test("one that was scheduled and recalled is reported as recalled, one that goes out as delivered", async () => {
  const [cancelled, kept] = [newUser(), newUser()];
  const sendAt = Date.now() + 2_000;
  const sent = await sendReported(server, { recvUserID: cancelled, sendAt: sendAt + 3_600_000 });
  const later = await sendReported(server, { recvUserID: kept, sendAt });
  const admin = await server.adminToken();
  await server.post("/msg/recall_business_notification", { serverMsgID: sent.serverMsgID }, admin);
  expect(await reportsOf(server, sent)).toMatchObject([{ userID: cancelled, state: "recalled" }]);
  await expect.poll(async () => (await acknowledgeAll(kept)).length).toBe(1);
  expect(await waitForReports(later, 1)).toMatchObject([{ userID: kept, state: "delivered", sendTime: sendAt }]);
});

test("a key that begins as the settings say is reported without being asked for, another is not", async () => {
  const userId = newUser();
  const sendOf = (key: string) => sendReported(server, { recvUserID: userId, key, report: false });
  const [paid, refunded, other] = [await sendOf("pay.done"), await sendOf("refund"), await sendOf("payment")];
  await acknowledgeAll(userId);
  await waitForReports(paid, 1);
  await waitForReports(refunded, 1);
  // It was stored before the last that was reported, and looked at with it.
  const marker = await sendReported(server, { recvUserID: userId });
  await acknowledgeAll(userId);
  await waitForReports(marker, 1);
  expect(await reportsOf(server, other)).toEqual([]);
});

test("in a batch each notification says for itself", async () => {
  const userId = newUser();
  const plain = { sendUserID: "system", recvUserID: userId, key: "k", data: "", reliabilityLevel: 2 };
  const { json } = await server.post(
    "/msg/batch_send_business_notification",
    { notifications: [plain, { ...plain, report: true }, { ...plain, report: true, clientMsgID: `of ${userId}` }] },
    await server.adminToken(),
  );
  const results = json.data?.results as { data: { serverMsgID: string } }[];
  await acknowledgeAll(userId);
  const [none, first, second] = results.map(({ data }) => data);
  if (none === undefined || first === undefined || second === undefined) throw new Error("the batch was refused");
  await waitForReports(first, 1);
  await waitForReports(second, 1);
  expect(await reportsOf(server, none)).toEqual([]);
});

test("a watch tells what is there, what comes, goes on after a sequence, and shows that it lives", async () => {
  const userId = newUser();
  const sent = await sendReported(server, { recvUserID: userId, ttlSeconds: 1 });
  const [report] = await waitForReports(sent, 1);
  const before = (report?.sequence ?? 0) - 1;
  const watch = await watchReports(server, { afterSequence: BigInt(before) });
  const [told] = await watch.take(1);
  expect(told).toMatchObject({
    serverMsgId: sent.serverMsgID,
    state: ReportState.EXPIRED,
    sequence: BigInt(before + 1),
  });
  watch.stop();

  const resumed = await watchReports(server, { afterSequence: told?.sequence ?? 0n });
  const fresh = await watchReports(server, { onlyNew: true });
  // The first answer says that nothing is missed from here on.
  await fresh.next();
  const next = await sendReported(server, { recvUserID: userId });
  await server.post("/msg/recall_business_notification", { serverMsgID: next.serverMsgID }, await server.adminToken());
  for (const open of [resumed, fresh]) {
    const seen = await open.take(1);
    expect(seen.at(-1)).toMatchObject({ serverMsgId: next.serverMsgID, state: ReportState.RECALLED });
  }
  const { reports, throughSequence } = await fresh.next();
  expect(reports).toEqual([]);
  expect(throughSequence).toBeGreaterThan(BigInt(before));
});

test("a place that the store has never had is told by a gap, and what is there follows", async () => {
  const sent = await sendReported(server, { recvUserID: newUser() });
  await server.post("/msg/recall_business_notification", { serverMsgID: sent.serverMsgID }, await server.adminToken());
  const page = await pullReports(server, { afterSequence: 1_000_000, limit: 1 });
  expect(page.gap).toEqual({ from: 1_000_001, to: 0 });
  expect(page.reports).toMatchObject([{ sequence: 1 }]);
});

test.each([
  [{ limit: -1 }, "limit"],
  [{ limit: 1_001 }, "limit"],
  [{ afterSequence: -1 }, "afterSequence"],
])("%o is refused with 1001", async (request, field) => {
  const { json } = await server.post("/msg/pull_reports", request, await server.adminToken());
  expect(json).toMatchObject({ errCode: 1001, errDlt: expect.stringContaining(field) });
});

test("only an admin may read reports", async () => {
  const user = await server.userToken("alice");
  expect((await server.post("/msg/pull_reports", {}, user)).json.errCode).toBe(1002);
});

test("the metrics count reports by state", async () => {
  const send = openSender(server.url, await server.adminToken());
  await send({ to: newUser(), data: "not reported" });
  const body = await (await fetch(`${server.adminUrl}/metrics`)).text();
  expect(body).toMatch(/mustreach_reports_total\{outcome="delivered"\} [1-9]/);
  expect(body).toMatch(/mustreach_reports_total\{outcome="recalled"\} [1-9]/);
});
