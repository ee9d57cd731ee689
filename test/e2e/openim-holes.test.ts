// The holes that OpenIM's must-reach has (server 7848d7c, SDK core 9267a25, @openim/client-sdk 0.0.14), each as a test
// of what a user expects instead.

import { createClient as createRpcClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { createClient, type MustreachClient, memoryCursorStore } from "../../src/client/index.ts";
import { toErrorFacts } from "../../src/errors.ts";
import { Start } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { MsgService } from "../../src/gen/mustreach/msg/v1/msg_pb.ts";
import { dataOf, useDevices } from "../helpers/device.ts";
import { type ExternalBroker, startExternalBroker } from "../helpers/external-broker.ts";
import { startTestServer, type TestServer } from "../helpers/server.ts";

const openDevice = useDevices();

let broker: ExternalBroker;
let server: TestServer;
let admin: string;
beforeAll(async () => {
  broker = await startExternalBroker();
  server = await startTestServer({ HEARTBEAT: "1s", PARTITIONS: "2", SEND_TIMEOUT: "1s", NATS_URL: broker.url });
  admin = await server.adminToken();
});
afterAll(async () => {
  await server?.stop();
  await broker?.remove();
});

const clients: MustreachClient[] = [];
afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close({ deadlineMs: 1_000 })));
});

/** Calls a REST path as an admin, and returns its data; it is to succeed. */
async function must(path: string, body: object): Promise<Record<string, unknown>> {
  const { json } = await server.post(path, body, admin);
  expect(json).toMatchObject({ errCode: 0 });
  return json.data ?? {};
}

/** Sends must-reach notifications, in this order, as imAdmin and without a chat copy. */
async function sendAll(recvUserID: string, all: readonly string[], more: object = {}) {
  const notifications = all.map((data) => ({
    sendUserID: "imAdmin",
    recvUserID,
    key: "order.paid",
    data,
    sendMsg: false,
    reliabilityLevel: 2,
    ...more,
  }));
  const { results } = await must("/msg/batch_send_business_notification", { notifications });
  expect((results as { errCode: number }[]).filter(({ errCode }) => errCode !== 0)).toEqual([]);
}

/** An app on a device, from its start on: what its callback was called with, and what its client could not do. */
async function startApp(token: string, options: { deviceId?: string; window?: number } = {}) {
  const received: string[] = [];
  const errors: unknown[] = [];
  const client = createClient({
    baseUrl: server.url,
    token,
    deviceId: "phone",
    cursorStore: memoryCursorStore(),
    reconnect: { minDelayMs: 50, maxDelayMs: 200 },
    retry: { minDelayMs: 50, maxDelayMs: 200 },
    onError: (error) => errors.push(error),
    ...options,
  });
  clients.push(client);
  client.onRecvCustomBusinessMessage(({ data }) => void received.push(data));
  const connected = client.connect();
  // A test that closes the client before it was connected knows that.
  connected.catch(() => {});
  return { client, received, errors, connected };
}

let users = 0;
const newUserId = () => `user-${++users}`;
const numbers = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => String(from + i));
const often = { interval: 20 };

describe("hole 1, offline first contact", () => {
  test("one who has never connected, and has no conversation with the sender, gets it on the first connect", async () => {
    const userId = newUserId();
    await sendAll(userId, ["first contact"]);
    const app = await startApp(await server.userToken(userId));
    await expect.poll(() => app.received, often).toEqual(["first contact"]);
  });

  test("each of many senders is heard on the first connect, in the order in which they sent", async () => {
    const userId = newUserId();
    for (const n of numbers(1, 5)) await sendAll(userId, [`from ${n}`], { sendUserID: `system-${n}` });
    const app = await startApp(await server.userToken(userId));
    await expect.poll(() => app.received, often).toEqual(numbers(1, 5).map((n) => `from ${n}`));
  });

  test("one who was offline since before, with other conversations, gets it on the next connect", async () => {
    const userId = newUserId();
    const token = await server.userToken(userId);
    await sendAll(userId, ["chat"], { sendUserID: "friend", sendMsg: true });
    const before = await startApp(token);
    await expect.poll(() => before.received, often).toEqual(["chat"]);
    await before.client.close();
    await sendAll(userId, ["first contact"]);
    const after = await startApp(token);
    await expect.poll(() => after.received, often).toEqual(["first contact"]);
  });
});

describe("hole 2, fresh device", () => {
  test("a new device gets the whole backlog, although another device has acknowledged it", async () => {
    const userId = newUserId();
    const token = await server.userToken(userId);
    await sendAll(userId, numbers(1, 20));
    const phone = await startApp(token);
    await expect.poll(() => phone.received, often).toEqual(numbers(1, 20));
    await phone.client.close();
    const tablet = await startApp(token, { deviceId: "tablet" });
    await expect.poll(() => tablet.received, often).toEqual(numbers(1, 20));
  });

  test("a device whose local store was cleared goes on after what it has acknowledged, and skips nothing", async () => {
    const userId = newUserId();
    const token = await server.userToken(userId);
    await sendAll(userId, numbers(1, 5));
    const installed = await startApp(token);
    await expect.poll(() => installed.received, often).toEqual(numbers(1, 5));
    await installed.client.close();
    await sendAll(userId, numbers(6, 10));
    // With a cursor store of its own, which holds nothing.
    const reinstalled = await startApp(token);
    await expect.poll(() => reinstalled.received, often).toEqual(numbers(6, 10));
  });

  test("a device that asks for it gets everything retained once more", async () => {
    const userId = newUserId();
    const token = await server.userToken(userId);
    await sendAll(userId, numbers(1, 3));
    const phone = openDevice(server.url, token);
    const taken = await (await phone.subscribe()).take(3);
    await phone.ack(taken.at(-1)?.sequence ?? 0n);
    phone.kill();
    const again = await openDevice(server.url, token).subscribe({ start: Start.ALL });
    expect(dataOf(await again.take(3))).toEqual(numbers(1, 3));
  });
});

describe("hole 4, foreign conversation", () => {
  /** A stranger with a token of its own, and what belongs to others: notifications and chat copies of both kinds. */
  async function newStranger() {
    const [alice, bob] = [newUserId(), newUserId()];
    const groupID = `group-of-${alice}`;
    await must("/group/create_group", { ownerUserID: alice, memberUserIDs: [], groupInfo: { groupID, groupType: 2 } });
    await sendAll(alice, ["secret"], { sendMsg: true });
    await sendAll("", ["secret"], { recvGroupID: groupID, sendMsg: true });
    const reader = await openDevice(server.url, await server.userToken(alice), "reader").subscribe();
    let events = 0;
    while (events < 4) if ((await reader.next())?.case !== "heartbeat") events++;
    return { alice, bob, groupID, token: await server.userToken(bob) };
  }

  test("one who names another's conversation reads nothing of it, over REST and Connect", async () => {
    const { alice, groupID, token } = await newStranger();
    const names = [
      `si_${["imAdmin", alice].toSorted().join("_")}`,
      `sg_${groupID}`,
      `n_imAdmin_${alice}`,
      `n_${groupID}`,
    ];
    const service = createRpcClient(MsgService, createConnectTransport({ baseUrl: server.url, httpVersion: "1.1" }));
    const headers = { token };
    for (const conversationID of names) {
      for (const path of ["/msg/pull_messages", "/msg/mark_as_read"]) {
        const { json } = await server.post(path, { userID: alice, conversationID, begin: 1, end: 10 }, token);
        expect(json).toEqual({
          errCode: 1002,
          errMsg: "NoPermissionError",
          errDlt: expect.not.stringContaining("secret"),
        });
      }
      const pulled = service.pullMessages({ conversationId: conversationID }, { headers });
      expect(await pulled.catch(toErrorFacts)).toMatchObject({ errCode: 1002 });
    }
    const own = await server.userToken(alice);
    for (const conversationID of names.slice(0, 2)) {
      const { json } = await server.post("/msg/pull_messages", { conversationID }, own);
      expect(json).toMatchObject({ data: { messages: [{ notification: { data: "secret" } }] } });
    }
  });

  test("one who takes another's device name and cursor gets an inbox of its own, which is empty", async () => {
    const { bob, token } = await newStranger();
    const stranger = openDevice(server.url, token, "reader");
    for (const options of [{ afterSequence: 0n }, { afterSequence: 1n }]) {
      expect((await stranger.subscribe(options)).ready.pending).toBe(0n);
    }
    expect(await (await stranger.subscribe({ start: Start.ALL })).takeUntilIdle()).toEqual([]);
    const { json } = await server.post("/msg/get_conversations", { userID: "imAdmin", ownerUserID: "imAdmin" }, token);
    expect(json.data).toEqual({ conversations: [] });
    await sendAll(bob, ["its own"]);
    expect(dataOf(await (await stranger.subscribe()).take(1))).toEqual(["its own"]);
  });

  test("one who acknowledges under another's device name moves nothing of the other's", async () => {
    const { alice, token } = await newStranger();
    const session = await openDevice(server.url, await server.userToken(alice), "other").subscribe();
    const first = await session.next();
    if (first?.case !== "notification") throw new Error(`expected a notification, got ${first?.case}`);
    await openDevice(server.url, token, "phone")
      .ack(first.value.sequence)
      .catch(() => {});
    const phone = await openDevice(server.url, await server.userToken(alice), "phone").subscribe();
    expect(phone.ready).toMatchObject({ resumeSequence: 0n, pending: 4n });
  });
});

describe("hole 5, re-login", () => {
  test("a first login pulls: what was sent before it comes without a reconnect", async () => {
    const userId = newUserId();
    await sendAll(userId, numbers(1, 3));
    const statuses: string[] = [];
    const app = await startApp(await server.userToken(userId));
    app.client.onStatus((status) => statuses.push(status));
    await app.connected;
    await expect.poll(() => app.received, often).toEqual(numbers(1, 3));
    expect(statuses.filter((status) => status !== "ready")).toEqual([]);
  });

  test("one who was logged out gets at the next login what was sent meanwhile, and nothing twice", async () => {
    const userId = newUserId();
    const token = await server.userToken(userId);
    const first = await startApp(token);
    await first.connected;
    await sendAll(userId, ["1"]);
    await expect.poll(() => first.received, often).toEqual(["1"]);
    await must("/auth/force_logout", { userID: userId, platformID: 5 });
    await vi.waitFor(() => expect(first.client.status()).toBe("closed"), often);
    await sendAll(userId, ["2", "3"]);
    const refused = await startApp(token);
    expect(await refused.connected.catch((error: unknown) => error)).toMatchObject({ errCode: 1506 });

    const { token: fresh } = await must("/auth/get_user_token", { userID: userId, platformID: 5 });
    const again = await startApp(String(fresh));
    await expect.poll(() => again.received, often).toEqual(["2", "3"]);
    expect([first.received, refused.received]).toEqual([["1"], []]);
  });

  test("one who logs in on the device of another gets its own notifications, all of them", async () => {
    const [alice, bob] = [newUserId(), newUserId()];
    await sendAll(alice, numbers(1, 3));
    await sendAll(bob, numbers(4, 6));
    const ofAlice = await startApp(await server.userToken(alice));
    await expect.poll(() => ofAlice.received, often).toEqual(numbers(1, 3));
    await ofAlice.client.close();
    const ofBob = await startApp(await server.userToken(bob));
    await expect.poll(() => ofBob.received, often).toEqual(numbers(4, 6));
  });
});

describe("hole 3, read error during pull", () => {
  let isAway = false;
  const outage = {
    async begin() {
      isAway = true;
      await broker.pause();
    },
    async end() {
      if (isAway) await broker.resume();
      isAway = false;
    },
  };
  afterEach(outage.end);

  test("nothing is skipped when the broker is killed while a device reads its backlog", async () => {
    const userId = newUserId();
    const backlog = numbers(1, 400);
    await sendAll(userId, backlog);
    const app = await startApp(await server.userToken(userId), { window: 8 });
    app.client.onRecvCustomBusinessMessage(async ({ data }) => {
      if (data === "40") await outage.begin();
    });
    const failedReads = () => server.log.filter(({ msg }) => /cannot read inboxes/.test(String(msg)));
    await vi.waitFor(() => expect(failedReads().length).toBeGreaterThan(0), often);
    expect(app.received.length).toBeLessThan(backlog.length);
    const newcomer = await startApp(await server.userToken(userId), { deviceId: "newcomer", window: 8 });
    await vi.waitFor(() => expect(newcomer.errors).toContainEqual(expect.objectContaining({ errCode: 90004 })), often);
    expect(newcomer.received).toEqual([]);
    await outage.end();
    for (const { received } of [app, newcomer]) {
      await vi.waitFor(() => expect(received.length).toBeGreaterThanOrEqual(backlog.length), often);
      expect(received).toEqual(backlog);
    }
  });

  test("a pull that cannot read is answered with 90004, not with an empty page", async () => {
    const userId = newUserId();
    const token = await server.userToken(userId);
    await sendAll(userId, ["1"], { sendUserID: "friend", sendMsg: true });
    const pull = async (path: string) =>
      (await server.post(path, { conversationID: `si_friend_${userId}`, begin: 1, end: 9 }, token)).json;
    const paths = ["/msg/pull_messages", "/msg/get_conversations"];
    await outage.begin();
    for (const json of await Promise.all(paths.map(pull))) {
      expect(json).toEqual({ errCode: 90004, errMsg: "NetworkError", errDlt: expect.any(String) });
    }
    await outage.end();
    await vi.waitFor(async () => {
      const [pulled, listed] = await Promise.all(paths.map(pull));
      expect(pulled).toMatchObject({ errCode: 0, data: { messages: [{ notification: { data: "1" } }], isEnd: true } });
      expect(listed).toMatchObject({ errCode: 0, data: { conversations: [{ maxSeq: 1, unreadCount: 1 }] } });
    }, often);
  });

  test("nothing is skipped when the device acknowledged while the broker was away", async () => {
    const userId = newUserId();
    const token = await server.userToken(userId);
    await sendAll(userId, numbers(1, 6));
    const phone = openDevice(server.url, token);
    const session = await phone.subscribe({ window: 3 });
    const taken = await session.take(3);
    await outage.begin();
    await phone.ack(taken[2]?.sequence ?? 0n);
    // Reads the next ones in vain, until the broker is there.
    const rest = session.take(3);
    await vi.waitFor(async () => expect((await fetch(`${server.url}/readyz`)).status).toBe(503), often);
    await outage.end();
    expect(dataOf([...taken, ...(await rest)])).toEqual(numbers(1, 6));
    phone.kill();
    await vi.waitFor(async () => {
      const again = await openDevice(server.url, token).subscribe();
      expect(again.ready).toMatchObject({ resumeSequence: taken[2]?.sequence, pending: 3n });
    }, often);
  });
});
