import { createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport } from "@connectrpc/connect-node";
import { beforeAll, describe, expect, test } from "vitest";
import { MsgService } from "../../src/gen/mustreach/msg/v1/msg_pb.ts";
import { dataOf, useDevices } from "../helpers/device.ts";
import { startProcess } from "../helpers/process.ts";
import { useServer } from "../helpers/server.ts";

const server = useServer({ HEARTBEAT: "1s", PARTITIONS: "2" });
const openDevice = useDevices();
const path = "/msg/send_business_notification";

let admin: string;
beforeAll(async () => {
  admin = await server.adminToken();
});

let made = 0;
/** Users that no other test has. */
const newUsers = (count: number) => Array.from({ length: count }, () => `user-${++made}`);

/** Calls a REST path as an admin. */
async function call(to: string, body: object) {
  return (await server.post(to, body, admin)).json;
}

async function must(to: string, body: object): Promise<Record<string, unknown>> {
  const json = await call(to, body);
  expect(json).toMatchObject({ errCode: 0 });
  return json.data ?? {};
}

const body = (recvUserIDs: readonly string[], more: object = {}) => ({
  ...{ sendUserID: "system", recvUserIDs, key: "test", data: "data", reliabilityLevel: 2 },
  ...more,
});

const statusOf = (clientMsgID: string) => must("/msg/get_delivery_status", { clientMsgID });
const open = async (userId: string) => openDevice(server.url, await server.userToken(userId)).subscribe();

describe("a must-reach notification to a list of users", () => {
  test("reaches each of them once, as the recipient, under one id", async () => {
    const users = newUsers(3);
    const sent = await must(path, body([...users, ...users]));
    for (const userId of users) {
      const session = await open(userId);
      const [notification, ...more] = await session.take(1);
      expect(notification).toMatchObject({
        ...{ serverMsgId: sent.serverMsgID, clientMsgId: sent.clientMsgID, recvUserId: userId, recvGroupId: "" },
        ...{ data: "data", key: "test", sendUserId: "system", reliabilityLevel: 2 },
      });
      expect([...more, ...(await session.takeUntilIdle())]).toEqual([]);
    }
  });

  test("is one send: its status and its recall are of all, and a repeat of it in another order is the first", async () => {
    const users = newUsers(3);
    const [ann = "", ...others] = users;
    const clientMsgID = "list of three";
    const first = await must(path, body(users, { clientMsgID }));
    expect(await must(path, body(users.toReversed(), { clientMsgID }))).toEqual(first);
    expect(await call(path, body(others, { clientMsgID }))).toMatchObject({ errCode: 1003 });
    expect(await call(path, body([], { recvUserID: ann, clientMsgID }))).toMatchObject({ errCode: 1003 });
    const device = openDevice(server.url, await server.userToken(ann));
    const session = await device.subscribe();
    const [notification] = await session.take(1);
    await device.ack(notification?.sequence ?? 0n);
    await expect
      .poll(() => statusOf(clientMsgID))
      .toMatchObject({
        counts: { total: 3, delivered: 1, pending: 2 },
        recipients: users.map((userID) => ({ userID })),
      });
    expect(await must("/msg/recall_business_notification", { clientMsgID })).toEqual({ withdrawn: 2, delivered: 1 });
    expect(await statusOf(clientMsgID)).toMatchObject({ counts: { total: 3, delivered: 1, recalled: 2 } });
    expect(await session.nextEvent()).toMatchObject({ case: "recall", value: { clientMsgId: clientMsgID } });
    for (const userId of others)
      expect(await (await open(userId)).eventsUntilIdle()).toMatchObject([{ case: "recall" }]);
  });

  test("is sent over gRPC and Connect as over REST", async () => {
    const recvUserIds = newUsers(2);
    const transports = [
      createGrpcTransport({ baseUrl: server.url }),
      createConnectTransport({ baseUrl: server.url, httpVersion: "1.1" }),
    ];
    for (const [n, transport] of transports.entries()) {
      const request = { sendUserId: "system", recvUserIds, key: "test", data: `sent ${n}`, reliabilityLevel: 2 };
      await createClient(MsgService, transport).sendBusinessNotification(request, { headers: { token: admin } });
    }
    for (const userId of recvUserIds) expect(dataOf(await (await open(userId)).take(2))).toEqual(["sent 0", "sent 1"]);
  });

  test("is one of a batch, in the order of those to the same list", async () => {
    const users = newUsers(2);
    const [ann = ""] = users;
    const notifications = [
      body(users, { data: "1" }),
      body([ann, ""], { data: "none" }),
      body(users, { data: "2" }),
      body(users, { data: "pushed", reliabilityLevel: 1 }),
    ];
    const { results } = await must("/msg/batch_send_business_notification", { notifications });
    expect((results as { errCode: number }[]).map(({ errCode }) => errCode)).toEqual([0, 1001, 0, 0]);
    for (const userId of users) expect(dataOf(await (await open(userId)).take(2))).toEqual(["1", "2"]);
  });

  test("comes at its time, and not if it was recalled before", async () => {
    const users = newUsers(2);
    const sendAt = Date.now() + 1_500;
    await must(path, body(users, { sendAt, data: "later" }));
    await must(path, body(users, { sendAt, data: "never", clientMsgID: "never to a list" }));
    expect(await statusOf("never to a list")).toMatchObject({ counts: { total: 2, scheduled: 2 } });
    await must("/msg/recall_business_notification", { clientMsgID: "never to a list" });
    for (const userId of users) {
      const session = await open(userId);
      const [notification] = await session.take(1);
      expect(notification).toMatchObject({ data: "later", recvUserId: userId, sendTime: BigInt(sendAt) });
      expect(await session.takeUntilIdle()).toEqual([]);
    }
  });

  test("expires for each of them", async () => {
    const users = newUsers(2);
    await must(path, body(users, { ttlSeconds: 1, clientMsgID: "short" }));
    await expect.poll(() => statusOf("short"), { timeout: 10_000 }).toMatchObject({ counts: { total: 2, expired: 2 } });
    for (const userId of users) expect(await (await open(userId)).eventsUntilIdle()).toMatchObject([{ case: "gap" }]);
  });

  test("of the longest ids, with the most data, is taken at once, later and as an online push", async () => {
    const users = newUsers(256).map((userId) => userId.padEnd(1_024, "x"));
    const data = "d".repeat(262_144);
    const session = await open(users[0] ?? "");
    await must(path, body(users, { data }));
    await must(path, body(users, { data, sendAt: Date.now() + 1_000 }));
    await must(path, body(users, { data, reliabilityLevel: 1 }));
    const taken = await session.take(3);
    expect(taken.map(({ reliabilityLevel, recvUserId }) => [reliabilityLevel, recvUserId])).toEqual(
      expect.arrayContaining([
        [1, users[0]],
        [2, users[0]],
      ]),
    );
    expect(dataOf(taken)).toEqual([data, data, data]);
    expect(await call(path, body([...users, "one more"]))).toMatchObject({
      errCode: 1001,
      errDlt: expect.stringContaining("recvUserIDs"),
    });
  });
});

test("an online push to a list is for who is connected, each as the recipient", async () => {
  const users = newUsers(100);
  const sessions = await Promise.all(users.slice(0, 5).map(open));
  await must(path, body(users, { reliabilityLevel: 1, clientMsgID: "pushed to a list" }));
  for (const [n, session] of sessions.entries()) {
    expect(await session.take(1)).toMatchObject([{ recvUserId: users[n], sequence: 0n, data: "data" }]);
  }
  expect(await (await open(users[50] ?? "")).takeUntilIdle()).toEqual([]);
});

test.each([
  ["with a chat copy", { sendMsg: true }, "sendMsg"],
  ["with a user", { recvUserID: "ann" }, "recvUserIDs"],
  ["with a group", { recvGroupID: "team" }, "recvUserIDs"],
  ["of too many", { recvUserIDs: Array.from({ length: 1_001 }, (_, n) => `u${n}`) }, "recvUserIDs"],
])("a list %s is refused with 1001, which says why", async (_, change, field) => {
  expect(await call(path, body(["ann", "bob"], change))).toMatchObject({
    errCode: 1001,
    errDlt: expect.stringContaining(field),
  });
});

test("a service that is killed at once after its answer leaves nobody of a list out, and nobody with two", async () => {
  const settings = { HEARTBEAT: "1s", PARTITIONS: "1" };
  const first = await startProcess(settings);
  try {
    const users = newUsers(1_000);
    const response = await fetch(`${first.url}${path}`, {
      method: "POST",
      headers: { operationID: "test", token: await first.adminToken() },
      body: JSON.stringify(body(users, { clientMsgID: "through a kill" })),
    });
    expect(await response.json()).toMatchObject({ errCode: 0 });
    await first.kill("SIGKILL");
    const second = await startProcess(settings, first.dataDir);
    try {
      for (const userId of [0, 1, 499, 500, 998, 999].map((n) => users[n] ?? "")) {
        const session = await openDevice(second.url, await second.userToken(userId)).subscribe();
        expect(await session.take(1)).toMatchObject([{ recvUserId: userId, clientMsgId: "through a kill" }]);
        expect(await session.takeUntilIdle()).toEqual([]);
      }
      const status = await fetch(`${second.url}/msg/get_delivery_status`, {
        method: "POST",
        headers: { operationID: "test", token: await second.adminToken() },
        body: JSON.stringify({ clientMsgID: "through a kill" }),
      });
      expect(await status.json()).toMatchObject({ data: { counts: { total: 1_000, pending: 1_000 } } });
    } finally {
      await second.remove();
    }
  } finally {
    await first.remove();
  }
});
