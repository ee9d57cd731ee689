// What an app gets with OpenIM's own SDKs: that for JavaScript as it is published, and what the Go core does on the wire.

import { randomBytes } from "node:crypto";
import { describe, expect, test, vi } from "vitest";
import { dataOf, openSender, sendMany, useDevices } from "../helpers/device.ts";
import type { OpenimApp } from "../helpers/openim-app.ts";
import { type GoDisk, startGoApp } from "../helpers/openim-go.ts";
import { startJsApp } from "../helpers/openim-js.ts";
import { type TestServer, useServer } from "../helpers/server.ts";

const server = useServer();
const openDevice = useDevices();
const soon = { timeout: 25_000, interval: 20 };

let users = 0;
const newUserId = () => `user-${++users}`;
const numbers = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => `${from + i}`);

/** The installation of an app on a device: what it starts from each time. */
interface Installed {
  readonly userId: string;
  readonly platformId: number;
  readonly token: string;
  start(url?: string): OpenimApp;
}

type Install = (of: Pick<TestServer, "url" | "userToken">, userId: string, platformId?: number) => Promise<Installed>;

const installJs: Install = async (of, userId, platformId = 5) => {
  const token = await of.userToken(userId, platformId);
  return { userId, platformId, token, start: (url = of.url) => startJsApp(url, userId, token, platformId) };
};

const installGo: Install = async (of, userId, platformId = 2) => {
  const token = await of.userToken(userId, platformId);
  const disk: GoDisk = new Map();
  return { userId, platformId, token, start: (url = of.url) => startGoApp(url, userId, token, platformId, disk) };
};

async function send(to: string, data: string, level: 1 | 2 = 2, more: object = {}): Promise<string> {
  const body = { sendUserID: "imAdmin", recvUserID: to, key: "test", data, reliabilityLevel: level, ...more };
  const { json } = await server.post("/msg/send_business_notification", body, await server.adminToken());
  expect(json).toMatchObject({ errCode: 0 });
  return String(json.data?.serverMsgID);
}

async function sendAll(to: string, list: readonly string[]): Promise<string> {
  let last = "";
  for (const data of list) last = await send(to, data);
  return last;
}

const got = (app: OpenimApp) => app.received().map(({ data }) => data);

const until = (app: OpenimApp, expected: readonly string[]) => expect.poll(() => got(app), soon).toEqual(expected);

/** Waits until a device of the only recipient has acknowledged. */
async function untilAcknowledged(serverMsgID: string): Promise<void> {
  const admin = await server.adminToken();
  await vi.waitFor(async () => {
    const { json } = await server.post("/msg/get_delivery_status", { serverMsgID }, admin);
    expect(json.data).toMatchObject({ counts: { delivered: 1 } });
  }, soon);
}

describe.each([
  ["JavaScript", installJs],
  ["Go", installGo],
])("an app with the SDK for %s", (_, install) => {
  async function start(userId = newUserId()) {
    const installed = await install(server, userId);
    const app = installed.start();
    await app.saw("OnConnectSuccess");
    return { ...installed, app };
  }

  test("logs in, and its synchronization ends well", async () => {
    const { app } = await start();
    await app.saw("OnSyncServerFinish");
    expect(app.events.map(({ event }) => event)).not.toContain("OnSyncServerFailed");
  });

  test("gets both levels while it is online, with exactly the key and the data that were sent", async () => {
    const { app, userId } = await start();
    await app.saw("OnSyncServerFinish");
    await send(userId, "first");
    await until(app, ["first"]);
    const data = [
      '{"id":77,"text":"\\"quoted\\""}',
      "\u2028\u2029",
      "a\0b",
      "😀 爱丽丝 e\u0301",
      "<b>&</b>\\ \t\r\n/",
      "",
    ];
    for (const level of [1, 2] as const) for (const one of data) await send(userId, one, level);
    await until(app, ["first", ...data, ...data]);
    await send(userId, "x", 1, { key: 'k"\\\u2028<' });
    await send(userId, "x", 2, { key: 'k"\\\u2028<' });
    const last = { key: 'k"\\\u2028<', data: "x" };
    await expect.poll(() => app.received().slice(-2), soon).toEqual([last, last]);
  });

  test("gets what was sent before its first login, and acknowledges it", async () => {
    const userId = newUserId();
    const last = await sendAll(userId, numbers(1, 20));
    const { app } = await start(userId);
    await until(app, numbers(1, 20));
    await untilAcknowledged(last);
  });

  test("gets what was sent while it was away, killed without goodbye, each once and in order", async () => {
    const installed = await install(server, newUserId());
    const { userId } = installed;
    const first = installed.start();
    await first.saw("OnConnectSuccess");
    await untilAcknowledged(await sendAll(userId, numbers(1, 5)));
    expect(got(first)).toEqual(numbers(1, 5));
    await first.kill();
    await sendAll(userId, numbers(6, 30));
    const second = installed.start();
    await until(second, numbers(6, 30));
    await send(userId, "31");
    await until(second, numbers(6, 31));
    expect(got(first)).toEqual(numbers(1, 5));
  });

  test("gets it after a logout, too", async () => {
    const installed = await install(server, newUserId());
    const first = installed.start();
    await first.saw("OnConnectSuccess");
    await untilAcknowledged(await sendAll(installed.userId, ["1", "2"]));
    await first.leave();
    await sendAll(installed.userId, ["3", "4"]);
    await until(installed.start(), ["3", "4"]);
  });

  test("gets everything on a second device", async () => {
    const userId = newUserId();
    await sendAll(userId, numbers(1, 40));
    const { app } = await start(userId);
    await until(app, numbers(1, 40));
    const tablet = (await install(server, userId, 9)).start();
    await until(tablet, numbers(1, 40));
    await sendAll(userId, numbers(41, 77));
    await until(app, numbers(1, 77));
    await until(tablet, numbers(1, 77));
  });

  test("gets 30 that were sent at once, in the order that they are stored in", async () => {
    const { app, userId, token } = await start();
    await app.saw("OnSyncServerFinish");
    const sender = openSender(server.url, await server.adminToken());
    await sendMany(sender, userId, 30, String, 30);
    const other = await openDevice(server.url, token, "other").subscribe();
    await until(app, dataOf(await other.take(30)));
  });

  test("gets a backlog of 5,000", async () => {
    const userId = newUserId();
    const admin = await server.adminToken();
    const backlog = numbers(1, 5_000);
    for (let i = 0; i < backlog.length; i += 1_000) {
      const notifications = backlog
        .slice(i, i + 1_000)
        .map((data) => ({ sendUserID: "imAdmin", recvUserID: userId, key: "test", data, reliabilityLevel: 2 }));
      const { json } = await server.post("/msg/batch_send_business_notification", { notifications }, admin);
      expect(json).toMatchObject({ errCode: 0 });
    }
    const other = await openDevice(server.url, await server.userToken(userId), "other").subscribe({ window: 1_000 });
    expect(other.ready.pending).toBe(5_000n);
    const app = (await install(server, userId)).start();
    await expect.poll(() => got(app).length, { ...soon, timeout: 60_000 }).toBe(5_000);
    expect(got(app)).toEqual(backlog);
  }, 120_000);

  test("gets a backlog of ten of 200 KB", async () => {
    const userId = newUserId();
    const large = Array.from({ length: 10 }, () => randomBytes(150_000).toString("base64"));
    await sendAll(userId, large);
    const { app } = await start(userId);
    await expect.poll(() => got(app).length, soon).toBe(10);
    expect(got(app).map((data, i) => data === large[i])).toEqual(large.map(() => true));
  });

  test("gets what is sent to a group, among what is sent to the user", async () => {
    const { app, userId } = await start();
    await app.saw("OnSyncServerFinish");
    const groupID = `crew-of-${userId}`;
    const body = { ownerUserID: userId, memberUserIDs: [], groupInfo: { groupID, groupType: 2, groupName: "crew" } };
    await server.post("/group/create_group", body, await server.adminToken());
    const toGroup = { recvUserID: "", recvGroupID: groupID };
    for (const data of ["1", "2"]) {
      await send("", `group ${data}`, 2, toGroup);
      await vi.waitFor(() => expect(got(app)).toContain(`group ${data}`), soon);
      await send(userId, data);
    }
    await until(app, ["group 1", "1", "group 2", "2"]);
    await send("", "online", 1, toGroup);
    await until(app, ["group 1", "1", "group 2", "2", "online"]);
  });

  test("is not told of what was withdrawn, or of chat copies, and gets what follows", async () => {
    const userId = newUserId();
    await send(userId, "1", 2, { sendMsg: true });
    const withdrawn = await send(userId, "withdrawn");
    const recall = "/msg/recall_business_notification";
    await server.post(recall, { serverMsgID: withdrawn }, await server.adminToken());
    const { app } = await start(userId);
    await until(app, ["1"]);
    const last = await send(userId, "2");
    await until(app, ["1", "2"]);
    await untilAcknowledged(last);
  });

  test("is kicked by force_logout, and is refused with the same token", async () => {
    const { app, userId, platformId, token } = await start();
    await app.saw("OnSyncServerFinish");
    const body = { userID: userId, platformID: platformId };
    const { json } = await server.post("/auth/force_logout", body, await server.adminToken());
    expect(json.errCode).toBe(0);
    await app.saw("OnKickedOffline");
    await send(userId, "later");
    expect(got(app)).toEqual([]);
    expect((await server.post("/auth/parse_token", { token })).json.errCode).toBe(1506);
    const again = await install(server, userId, platformId);
    await until(again.start(), ["later"]);
  });

  test("is kicked when its user logs in on another device of the platform", async () => {
    const { app, userId } = await start();
    await app.saw("OnSyncServerFinish");
    const other = (await install(server, userId)).start();
    await app.saw("OnKickedOffline");
    await other.saw("OnConnectSuccess");
    await send(userId, "1");
    await until(other, ["1"]);
    expect(got(app)).toEqual([]);
  });
});
