import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { Start } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { DeliveryState, Durability, MsgService } from "../../src/gen/mustreach/msg/v1/msg_pb.ts";
import { type DeviceSession, useDevices } from "../helpers/device.ts";
import { useServer } from "../helpers/server.ts";

const server = useServer({ HEARTBEAT: "1s", PARTITIONS: "2" });
const openDevice = useDevices();
let admin: string;
let grpc: Http2SessionManager;

beforeAll(async () => {
  admin = await server.adminToken();
  grpc = new Http2SessionManager(server.url);
});
afterAll(() => grpc.abort());

const statusPath = "/msg/get_delivery_status";
const recallPath = "/msg/recall_business_notification";
const batchPath = "/msg/batch_send_business_notification";

let made = 0;
/** An id that no other test uses. */
const newId = (kind: string) => `${kind}-${++made}`;

const toBody = (change: object) => ({
  sendUserID: "imAdmin",
  recvUserID: newId("user"),
  key: "order.paid",
  data: "{}",
  reliabilityLevel: 2,
  ...change,
});

/** Posts as the admin, and answers the data of a success. */
async function call(path: string, body: object): Promise<Record<string, unknown>> {
  const { status, json } = await server.post(path, body, admin);
  expect({ status, ...json }).toMatchObject({ status: 200, errCode: 0, errMsg: "", errDlt: "" });
  return json.data ?? {};
}

async function send(change: object = {}) {
  const data = await call("/msg/send_business_notification", toBody(change));
  return data as { serverMsgID: string; clientMsgID: string; sendTime: number };
}

const getStatus = (reference: object) => call(statusPath, reference);

/** A session of a device of a user. */
async function open(userId: string, deviceId: string, start: Start = Start.RESUME) {
  const device = openDevice(server.url, await server.userToken(userId), deviceId);
  return { device, session: await device.subscribe({ start }) };
}

/** The next event that is no heartbeat. */
async function nextEvent(session: DeviceSession) {
  for (;;) {
    const event = await session.next();
    if (event?.case !== "heartbeat") return event;
  }
}

const counts = (change: object) => ({
  total: 0,
  delivered: 0,
  pending: 0,
  expired: 0,
  recalled: 0,
  scheduled: 0,
  collapsed: 0,
  ...change,
});

describe.concurrent("the status of a notification", () => {
  test("is told over REST with the documented keys, and states in lower case", async () => {
    const userId = newId("user");
    const sent = await send({ recvUserID: userId });
    expect(await getStatus({ clientMsgID: sent.clientMsgID })).toEqual({
      ...sent,
      counts: counts({ total: 1, pending: 1 }),
      recipients: [{ userID: userId, state: "pending", devices: [] }],
    });

    const { device, session } = await open(userId, "phone");
    const [notification] = await session.take(1);
    const before = Date.now();
    await device.ack(notification?.sequence ?? 0n);
    const delivered = await vi.waitFor(
      async () => {
        const status = await getStatus({ serverMsgID: sent.serverMsgID });
        expect(status.counts).toEqual(counts({ total: 1, delivered: 1 }));
        return status;
      },
      { interval: 50 },
    );
    expect(delivered.recipients).toEqual([
      {
        userID: userId,
        state: "delivered",
        devices: [{ deviceID: "phone", state: "delivered", acknowledgedTime: expect.any(Number) }],
      },
    ]);
    const [recipient] = delivered.recipients as { devices: { acknowledgedTime: number }[] }[];
    expect(recipient?.devices[0]?.acknowledgedTime).toBeGreaterThanOrEqual(before - 1_000);
    expect(recipient?.devices[0]?.acknowledgedTime).toBeLessThanOrEqual(Date.now() + 1_000);
  });

  test("is the same over gRPC and Connect", async () => {
    const userId = newId("user");
    const { serverMsgID } = await send({ recvUserID: userId });
    for (const transport of [
      createGrpcTransport({ baseUrl: server.url, sessionManager: grpc }),
      createConnectTransport({ baseUrl: server.url, httpVersion: "1.1" }),
    ]) {
      const client = createClient(MsgService, transport);
      const status = await client.getDeliveryStatus({ serverMsgId: serverMsgID }, { headers: { token: admin } });
      expect(status).toMatchObject({
        counts: { total: 1, pending: 1 },
        recipients: [{ userId, state: DeliveryState.PENDING, devices: [] }],
      });
    }
  });

  test("of a send to a group has its members at the time of the send, by page and state", async () => {
    const groupID = newId("group");
    const members = ["ann", "bob", "cat"].map((name) => `${groupID}/${name}`);
    await call("/group/create_group", {
      ownerUserID: members[0],
      memberUserIDs: members.slice(1),
      groupInfo: { groupID, groupName: "team", groupType: 2 },
    });
    const { clientMsgID } = await send({ recvUserID: "", recvGroupID: groupID });
    await call("/group/kick_group", { groupID, kickedUserIDs: [members[2]] });
    const { device, session } = await open(members[1] ?? "", "phone");
    const [notification] = await session.take(1);
    await device.ack(notification?.sequence ?? 0n);
    await vi.waitFor(
      async () => {
        const status = await getStatus({ clientMsgID });
        expect(status.counts).toEqual(counts({ total: 3, delivered: 1, pending: 2 }));
      },
      { interval: 50 },
    );
    const page = await getStatus({ clientMsgID, state: "pending", pageNumber: 2, showNumber: 1 });
    expect(page).toMatchObject({
      counts: { total: 3, pending: 2 },
      recipients: [{ userID: members[2], state: "pending" }],
    });
    expect(await call(recallPath, { clientMsgID })).toEqual({ withdrawn: 2, delivered: 1 });
    expect(await getStatus({ clientMsgID })).toMatchObject({ counts: { total: 3, delivered: 1, recalled: 2 } });
    expect((await nextEvent(session))?.case).toBe("recall");
  });
});

describe.concurrent("a recall", () => {
  test("is told to the devices that are connected, and leaves nothing else for those that connect later", async () => {
    const userId = newId("user");
    const { session } = await open(userId, "phone");
    const sent = await send({ recvUserID: userId, clientMsgID: newId("order") });
    const [notification] = await session.take(1);
    expect(await call(recallPath, { serverMsgID: sent.serverMsgID })).toEqual({ withdrawn: 1, delivered: 0 });
    const ids = { serverMsgId: sent.serverMsgID, clientMsgId: sent.clientMsgID };
    const event = await nextEvent(session);
    expect(event).toMatchObject({ case: "recall", value: ids });
    if (event?.case !== "recall") throw new Error("no recall");
    expect(event.value.sequence).toBeGreaterThan(notification?.sequence ?? Infinity);

    const later = await open(userId, "tablet", Start.ALL);
    expect(later.session.ready.pending).toBe(1n);
    expect(await nextEvent(later.session)).toMatchObject({ case: "recall", value: ids });
    await later.device.ack(event.value.sequence);

    expect(await call(recallPath, { clientMsgID: sent.clientMsgID })).toEqual({ withdrawn: 1, delivered: 0 });
    expect((await open(userId, "watch", Start.ALL)).session.ready.pending).toBe(1n);
    // A repeat of the send is that of the recalled one.
    expect(await send({ recvUserID: userId, clientMsgID: sent.clientMsgID })).toEqual(sent);
    expect((await open(userId, "web", Start.ALL)).session.ready.pending).toBe(1n);
    expect(await getStatus({ clientMsgID: sent.clientMsgID })).toMatchObject({ counts: { total: 1, recalled: 1 } });
  });

  test("of a scheduled send cancels it", async () => {
    const userId = newId("user");
    const { session } = await open(userId, "phone");
    const sendAt = Date.now() + 2_000;
    const { clientMsgID } = await send({ recvUserID: userId, sendAt });
    const other = await send({ recvUserID: userId, sendAt: sendAt + 1 });
    expect(await getStatus({ clientMsgID })).toMatchObject({
      counts: { total: 1, scheduled: 1 },
      recipients: [{ userID: userId, state: "scheduled" }],
    });
    expect(await call(recallPath, { clientMsgID })).toEqual({ withdrawn: 1, delivered: 0 });
    expect(await getStatus({ clientMsgID })).toMatchObject({ counts: { total: 1, recalled: 1, scheduled: 0 } });
    // The other one comes, and this one has not come before it.
    expect(await session.take(1)).toMatchObject([{ clientMsgId: other.clientMsgID }]);
    expect(await call(recallPath, { clientMsgID })).toEqual({ withdrawn: 1, delivered: 0 });
  });
});

describe.concurrent("a batch", () => {
  test("over REST has a result for each notification, in its order, with the documented fields", async () => {
    const userId = newId("user");
    const taken = newId("taken");
    await send({ clientMsgID: taken });
    const { sendUserID: _, ...withoutSender } = toBody({});
    const clientMsgID = newId("order");
    const notifications = [
      toBody({ recvUserID: userId, data: "1", clientMsgID }),
      toBody({ clientMsgID: taken }),
      withoutSender,
      toBody({ recvUserID: "", recvGroupID: "nobody" }),
      toBody({ recvUserID: userId, data: "2", sendAt: 1 }),
      toBody({ recvUserID: userId, data: "3" }),
    ];
    const { results } = (await call(batchPath, { notifications })) as { results: Record<string, unknown>[] };
    const ok = (id: unknown) => ({
      errCode: 0,
      errMsg: "",
      errDlt: "",
      data: { serverMsgID: expect.stringMatching(/^[0-9a-f]{32}$/), clientMsgID: id, sendTime: expect.any(Number) },
    });
    const refused = (errCode: number, errMsg: string) => ({ errCode, errMsg, errDlt: expect.any(String) });
    expect(results).toEqual([
      ok(clientMsgID),
      refused(1003, "DuplicateKeyError"),
      refused(1001, "ArgsError"),
      refused(1004, "RecordNotFoundError"),
      ok(expect.any(String)),
      ok(expect.any(String)),
    ]);
    const { session } = await open(userId, "phone", Start.ALL);
    expect((await session.take(3)).map(({ data }) => data)).toEqual(["1", "2", "3"]);
  });

  test("of 1,000 over gRPC is accepted in the order of each recipient, and tells the durability of each", async () => {
    const users = Array.from({ length: 5 }, () => newId("user"));
    const client = createClient(MsgService, createGrpcTransport({ baseUrl: server.url, sessionManager: grpc }));
    const notifications = Array.from({ length: 1_000 }, (_, i) => ({
      sendUserId: "imAdmin",
      recvUserId: users[i % 5] ?? "",
      key: "k",
      data: String(i),
      reliabilityLevel: 2,
    }));
    const { results } = await client.sendBusinessNotificationBatch({ notifications }, { headers: { token: admin } });
    expect(results).toHaveLength(1_000);
    for (const { errCode, data } of results) {
      expect(errCode).toBe(0);
      expect(data?.durability).toBe(Durability.FSYNCED);
    }
    const { session } = await open(users[3] ?? "", "phone", Start.ALL);
    const device = openDevice(server.url, await server.userToken(users[3] ?? ""), "wide");
    const wide = await device.subscribe({ start: Start.ALL, window: 1_000 });
    expect((await wide.take(200)).map(({ data }) => data)).toEqual(
      Array.from({ length: 200 }, (_, i) => String(i * 5 + 3)),
    );
    expect(session.ready.pending).toBe(200n);
  });
});

describe("what is refused", () => {
  const hex = "0123456789abcdef0123456789abcdef";
  const both = [statusPath, recallPath];

  test.each<[what: string, paths: string[], errCode: number, body: object]>([
    ["no id", both, 1001, {}],
    ["two ids", both, 1001, { serverMsgID: hex, clientMsgID: "order" }],
    ["an id that cannot be one", both, 1001, { serverMsgID: "*" }],
    ["an unknown serverMsgID", both, 1004, { serverMsgID: hex }],
    ["an unknown clientMsgID", both, 1004, { clientMsgID: "nobody's" }],
    ["an unknown state", [statusPath], 1001, { clientMsgID: "order", state: "PENDING" }],
    ["a page that is too large", [statusPath], 1001, { clientMsgID: "order", showNumber: 1_001 }],
    ["an empty batch", [batchPath], 1001, { notifications: [] }],
    ["no batch", [batchPath], 1001, {}],
    ["1,001 in a batch", [batchPath], 1001, { notifications: Array.from({ length: 1_001 }, () => ({})) }],
  ])("%s", async (_, paths, errCode, body) => {
    for (const path of paths) {
      const { status, json } = await server.post(path, body, admin);
      expect({ path, status, ...json }).toMatchObject({ path, status: 200, errCode });
      expect(json).not.toHaveProperty("data");
    }
  });

  test("an online push, which leaves no trace", async () => {
    const { serverMsgID } = await send({ reliabilityLevel: 1, clientMsgID: newId("push") });
    for (const path of both) {
      expect((await server.post(path, { serverMsgID }, admin)).json).toMatchObject({ errCode: 1004 });
    }
  });

  test("a user's token, after the body was looked at", async () => {
    const token = await server.userToken("ann");
    for (const [path, good] of [
      [statusPath, { clientMsgID: "order" }],
      [recallPath, { clientMsgID: "order" }],
      [batchPath, { notifications: [toBody({})] }],
    ] as const) {
      expect((await server.post(path, {}, token)).json).toMatchObject({ errCode: 1001 });
      expect((await server.post(path, good, token)).json).toMatchObject({ errCode: 1002 });
    }
  });
});

test("on the command line, recall withdraws and status tells it", async () => {
  const run = async (...args: string[]) => {
    const child = spawn(process.execPath, ["src/cli/main.ts", ...args, "--url", server.url, "--token", admin], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const [output, [exitCode]] = await Promise.all([text(child.stdout), once(child, "exit")]);
    expect(exitCode).toBe(0);
    return output
      .split("\n")
      .filter(Boolean)
      .map((line) => JSON.parse(line));
  };
  const userId = newId("user");
  const sent = await send({ recvUserID: userId });
  expect(await run("recall", "--id", sent.serverMsgID)).toEqual([{ withdrawn: 1, delivered: 0 }]);
  expect(await run("status", "--id", sent.clientMsgID)).toEqual([
    { userID: userId, state: "recalled", devices: [] },
    { ...sent, counts: counts({ total: 1, recalled: 1 }) },
  ]);
});
