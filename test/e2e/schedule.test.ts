import { beforeAll, describe, expect, test } from "vitest";
import { dataOf, useDevices } from "../helpers/device.ts";
import { type ServiceProcess, startProcess, whenGone } from "../helpers/process.ts";
import { type PostResult, useServer } from "../helpers/server.ts";

const server = useServer({ HEARTBEAT: "1s", PARTITIONS: "2" });
const openDevice = useDevices();
const path = "/msg/send_business_notification";
/** How far ahead the tests send, in milliseconds: long enough for what they do before. */
const aheadMs = 2_500;

let admin: string;
beforeAll(async () => {
  admin = await server.adminToken();
});

let tests = 0;
/** A user that no other test has. */
async function newUser() {
  const userID = `user-${++tests}`;
  const token = await server.userToken(userID);
  return {
    userID,
    open: (deviceId = "phone") => openDevice(server.url, token, deviceId).subscribe(),
    device: (deviceId = "phone") => openDevice(server.url, token, deviceId),
    send: (data: string, more: object = {}) =>
      must(path, { sendUserID: "system", recvUserID: userID, key: "test", data, reliabilityLevel: 2, ...more }),
  };
}

/** Calls a REST path as an admin, and returns its data; it is to succeed. */
async function must(to: string, body: object): Promise<Record<string, unknown>> {
  const { json } = await server.post(to, body, admin);
  expect(json).toMatchObject({ errCode: 0 });
  return json.data ?? {};
}

const statusOf = (clientMsgID: unknown) => must("/msg/get_delivery_status", { clientMsgID });

/** Counts of one recipient, who is in a state. */
function one(state: "scheduled" | "pending" | "delivered" | "recalled") {
  return { total: 1, delivered: 0, pending: 0, expired: 0, recalled: 0, scheduled: 0, collapsed: 0, [state]: 1 };
}

test.concurrent("a notification with sendAt survives kill -9 of the service and its broker, and so does a recall", async () => {
  const settings = { HEARTBEAT: "1s", PARTITIONS: "1" };
  const first = await startProcess(settings);
  try {
    const now = Date.now();
    const times = { meanwhile: now + 1_000, recalled: now + 1_000, later: now + 5_000 };
    for (const [data, sendAt] of Object.entries(times)) {
      expect((await post(first, path, { ...toAnn(data), sendAt })).errCode).toBe(0);
    }
    const recalled = await post(first, "/msg/recall_business_notification", { clientMsgID: "recalled" });
    expect(recalled.errCode).toBe(0);
    await first.kill("SIGKILL");
    await killNow(first.brokerPid);
    await until(times.meanwhile);

    const second = await startProcess(settings, first.dataDir);
    try {
      const session = await openDevice(second.url, await second.userToken("ann")).subscribe();
      expect(dataOf(await session.take(1))).toEqual(["meanwhile"]);
      expect(dataOf(await session.take(1))).toEqual(["later"]);
      expect(Date.now()).toBeGreaterThanOrEqual(times.later);
      expect(await session.takeUntilIdle()).toEqual([]);
    } finally {
      await second.remove();
    }
  } finally {
    await first.remove();
  }
});

describe.concurrent("a notification with sendAt", () => {
  test("is delivered when its time has come and not before, after what was sent meanwhile", async () => {
    const { open, send } = await newUser();
    const session = await open();
    const sendAt = Date.now() + aheadMs;
    const { sendTime } = await send("later", { sendAt });
    expect(Number(sendTime)).toBeLessThan(sendAt);
    await send("meanwhile");
    expect((await open("other")).ready.pending).toBe(1n);
    const [meanwhile, later] = await session.take(2);
    expect(Date.now()).toBeGreaterThanOrEqual(sendAt);
    expect(dataOf([meanwhile, later].flatMap((one) => one ?? []))).toEqual(["meanwhile", "later"]);
    expect(later?.sequence).toBeGreaterThan(meanwhile?.sequence ?? 0n);
  });

  test("is shown to its sender's devices when its time has come, and not before", async () => {
    const [sender, receiver] = [await newUser(), await newUser()];
    const session = await sender.open();
    const sendAt = Date.now() + aheadMs;
    await receiver.send("later", { sendUserID: sender.userID, sendAt });
    const [shown] = await session.take(1);
    expect(Date.now()).toBeGreaterThanOrEqual(sendAt);
    expect(shown).toMatchObject({ data: "later", sequence: 0n, recvUserId: receiver.userID });
  });

  test("waits in the inbox of a device that is offline at that time", async () => {
    const { open, send } = await newUser();
    const watching = await open("watching");
    await send("later", { sendAt: Date.now() + aheadMs });
    await watching.take(1);
    const late = await open("late");
    expect(dataOf(await late.take(1))).toEqual(["later"]);
  });

  test("expires ttlSeconds after its time, not after the send", async () => {
    const { open, send } = await newUser();
    const watching = await open("watching");
    const sendAt = Date.now() + aheadMs;
    await send("later", { sendAt, ttlSeconds: 2 });
    await until(sendAt + 2_001);
    await send("end");
    // It has come in time where somebody was there.
    expect(dataOf(await watching.take(2))).toEqual(["later", "end"]);
    const late = await open("late");
    expect((await late.next())?.case).toBe("gap");
    expect(dataOf(await late.take(1))).toEqual(["end"]);
  });

  test("to a group reaches the members, and its chat copy comes with it", async () => {
    const { userID, send } = await newUser();
    const groupID = `group-of-${userID}`;
    const names = ["ann", "bob", "cem"].map((name) => `${name}-of-${userID}`);
    const [ownerUserID = "", ...memberUserIDs] = names;
    await must("/group/create_group", { ownerUserID, memberUserIDs, groupInfo: { groupID, groupType: 2 } });
    const sessions = await Promise.all(
      names.map(async (name) => openDevice(server.url, await server.userToken(name)).subscribe()),
    );
    const token = await server.userToken(ownerUserID);
    const conversations = async () => (await server.post("/msg/get_conversations", {}, token)).json.data?.conversations;
    const sendAt = Date.now() + aheadMs;
    const { clientMsgID } = await send("later", { recvUserID: "", recvGroupID: groupID, sendAt, sendMsg: true });
    expect(await statusOf(clientMsgID)).toMatchObject({ counts: { total: 3, scheduled: 3 } });
    expect(await conversations()).toEqual([]);
    for (const session of sessions) {
      expect(dataOf(await session.take(1))).toEqual(["later"]);
      expect(Date.now()).toBeGreaterThanOrEqual(sendAt);
      let event = await session.next();
      while (event?.case === "heartbeat") event = await session.next();
      expect(event).toMatchObject({ case: "message", value: { notification: { data: "later" } } });
    }
    expect(await conversations()).toMatchObject([{ conversationID: `sg_${groupID}`, maxSeq: 1, unreadCount: 1 }]);
  });

  test("is scheduled, then pending, then delivered", async () => {
    const { userID, device, open, send } = await newUser();
    const watching = await open("watching");
    const { clientMsgID, serverMsgID } = await send("later", { sendAt: Date.now() + aheadMs });
    expect(await statusOf(clientMsgID)).toMatchObject({
      serverMsgID,
      clientMsgID,
      counts: one("scheduled"),
      recipients: [{ userID, state: "scheduled", devices: [] }],
    });
    await watching.take(1);
    expect(await statusOf(clientMsgID)).toMatchObject({
      counts: one("pending"),
      recipients: [{ userID, state: "pending" }],
    });
    const phone = device();
    const [notification] = await (await phone.subscribe()).take(1);
    await phone.ack(notification?.sequence ?? 0n);
    // A cursor is stored a second or so after it has moved.
    await expect
      .poll(() => statusOf(clientMsgID), { interval: 200 })
      .toMatchObject({
        counts: one("delivered"),
        recipients: [{ userID, state: "delivered", devices: [{ deviceID: "phone", state: "delivered" }] }],
      });
  });

  test("that is recalled before its time is never delivered, nor is its chat copy", async () => {
    const { userID, open, send } = await newUser();
    const session = await open();
    const sendAt = Date.now() + aheadMs;
    const { clientMsgID } = await send("recalled", { sendAt, sendMsg: true });
    expect(await must("/msg/recall_business_notification", { clientMsgID })).toMatchObject({ delivered: 0 });
    expect(await statusOf(clientMsgID)).toMatchObject({
      counts: one("recalled"),
      recipients: [{ userID, state: "recalled", devices: [] }],
    });
    // What is due is delivered in the order of its time.
    await send("end", { sendAt: sendAt + 500 });
    expect(dataOf(await session.take(1))).toEqual(["end"]);
    expect(await session.takeUntilIdle()).toEqual([]);
    expect(await statusOf(clientMsgID)).toMatchObject({ counts: one("recalled") });
    const token = await server.userToken(userID);
    const { json } = await server.post("/msg/get_conversations", {}, token);
    expect(json.data).toEqual({ conversations: [] });
  });

  test("that is recalled and sent again under its clientMsgID stays recalled", async () => {
    const { userID, open, send } = await newUser();
    const session = await open();
    const sendAt = Date.now() + aheadMs;
    const more = { sendAt, clientMsgID: `later-for-${userID}` };
    const response = await send("recalled", more);
    await must("/msg/recall_business_notification", { clientMsgID: more.clientMsgID });
    expect(await send("recalled", more)).toEqual(response);
    await send("end", { sendAt: sendAt + 500 });
    expect(dataOf(await session.take(1))).toEqual(["end"]);
  });

  test("is one notification under one clientMsgID, sent again before its time and after it", async () => {
    const { userID, open, send } = await newUser();
    const session = await open();
    const sendAt = Date.now() + aheadMs;
    const more = { sendAt, clientMsgID: `later-for-${userID}` };
    const responses = await Promise.all([send("once", more), send("once", more)]);
    expect(await send("once", more)).toEqual(responses[0]);
    expect(responses[1]).toEqual(responses[0]);
    const [taken] = await session.take(1);
    expect(taken).toMatchObject({ data: "once", clientMsgId: more.clientMsgID, serverMsgId: responses[0].serverMsgID });
    expect(await send("once", more)).toEqual(responses[0]);
    expect(await session.takeUntilIdle()).toEqual([]);
    const otherTime = { sendUserID: "system", recvUserID: userID, key: "test", data: "once", reliabilityLevel: 2 };
    const { json } = await server.post(path, { ...otherTime, ...more, sendAt: sendAt + 1 }, admin);
    expect(json).toMatchObject({ errCode: 1003 });
  });

  test("in the past is sent at once", async () => {
    const { open, send } = await newUser();
    const { clientMsgID } = await send("now", { sendAt: Date.now() - 60_000 });
    expect(await statusOf(clientMsgID)).toMatchObject({ counts: one("pending") });
    expect(dataOf(await (await open()).take(1))).toEqual(["now"]);
  });

  test("is seen by the sender's own devices when it is delivered, and not before", async () => {
    const { userID, open, send } = await newUser();
    const sender = openDevice(server.url, await server.userToken(`sender-to-${userID}`));
    const senderSession = await sender.subscribe();
    const receiverSession = await open();
    await send("later", { sendUserID: `sender-to-${userID}`, sendAt: Date.now() + 3_500 });
    expect(await senderSession.takeUntilIdle()).toEqual([]);
    await receiverSession.take(1);
    expect(await senderSession.takeUntilIdle()).toMatchObject([{ data: "later", recvUserId: userID, sequence: 0n }]);
  });

  test.each<[what: string, more: () => object]>([
    ["at level 1", () => ({ reliabilityLevel: 1, sendAt: Date.now() + aheadMs })],
    ["without a level", () => ({ reliabilityLevel: undefined, sendAt: Date.now() + aheadMs })],
    ["further ahead than the retention", () => ({ sendAt: Date.now() + 7 * 86_400_000 + 60_000 })],
    ["below zero", () => ({ sendAt: -1 })],
  ])("%s is refused with 1001", async (_, more) => {
    const { userID, open } = await newUser();
    const body = { sendUserID: "system", recvUserID: userID, key: "test", data: "", reliabilityLevel: 2 };
    const { json } = await server.post(path, { ...body, ...more() }, admin);
    expect(json).toMatchObject({ errCode: 1001, errMsg: "ArgsError", errDlt: expect.stringContaining("sendAt") });
    expect((await open()).ready.pending).toBe(0n);
  });
});

function toAnn(data: string) {
  return { sendUserID: "system", recvUserID: "ann", key: "test", data, reliabilityLevel: 2, clientMsgID: data };
}

async function post(service: ServiceProcess, to: string, body: object): Promise<PostResult["json"]> {
  const response = await fetch(`${service.url}${to}`, {
    method: "POST",
    headers: { operationID: "test", token: await service.adminToken() },
    body: JSON.stringify(body),
  });
  return (await response.json()) as PostResult["json"];
}

/** Kills a process that may have ended already, and waits for its end. */
async function killNow(pid: number | undefined): Promise<void> {
  if (pid === undefined) throw new Error("the broker has no process id");
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has ended with its service.
  }
  await whenGone(pid);
}

async function until(timeMs: number): Promise<void> {
  while (Date.now() < timeMs) await new Promise((resolve) => setTimeout(resolve, timeMs - Date.now()));
}
