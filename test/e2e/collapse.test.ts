import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { beforeAll, describe, expect, test } from "vitest";
import { Start } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { MsgService } from "../../src/gen/mustreach/msg/v1/msg_pb.ts";
import { type DeviceEvent, dataOf, useDevices } from "../helpers/device.ts";
import { startProcess } from "../helpers/process.ts";
import { useServer } from "../helpers/server.ts";

const server = useServer({ HEARTBEAT: "1s", PARTITIONS: "2" });
const openDevice = useDevices();
const path = "/msg/send_business_notification";
const collapseKey = "order-77-status";

let admin: string;
beforeAll(async () => {
  admin = await server.adminToken();
});

let made = 0;
/** An id that no other test has. */
const newId = (kind: string) => `${kind}-${++made}`;

async function call(to: string, body: object) {
  return (await server.post(to, body, admin)).json;
}

async function must(to: string, body: object): Promise<Record<string, unknown>> {
  const json = await call(to, body);
  expect(json).toMatchObject({ errCode: 0 });
  return json.data ?? {};
}

/** A must-reach notification of the key, but for the change. */
const body = (recvUserID: string, data: string, more: object = {}) => ({
  ...{ sendUserID: "system", recvUserID, key: "order", data, reliabilityLevel: 2, collapseKey },
  ...more,
});

const send = (...given: Parameters<typeof body>) => must(path, body(...given));
const statusOf = (serverMsgID: unknown) => must("/msg/get_delivery_status", { serverMsgID });
const device = async (userId: string, deviceId = "phone") =>
  openDevice(server.url, await server.userToken(userId), deviceId);

/** What a device that connects for the first time has in front of it. */
async function storedFor(userId: string): Promise<DeviceEvent[]> {
  const opened = await device(userId, newId("device"));
  const events = await (await opened.subscribe({ start: Start.ALL, window: 1_000 })).eventsUntilIdle();
  opened.kill();
  return events;
}

const notificationsOf = (events: readonly DeviceEvent[]) =>
  events.flatMap((event) => (event?.case === "notification" ? [event.value] : []));

describe("a newer notification of the same collapse key", () => {
  test("replaces the older: who connects later gets only it, and the status says so", async () => {
    const userId = newId("user");
    const first = await send(userId, "packed");
    const second = await send(userId, "sent");
    const events = await storedFor(userId);
    expect(notificationsOf(events)).toMatchObject([{ data: "sent", collapseKey }]);
    expect(events.slice(1)).toMatchObject([
      {
        case: "recall",
        value: { serverMsgId: first.serverMsgID, replacedByServerMsgId: second.serverMsgID },
      },
    ]);
    expect(await statusOf(first.serverMsgID)).toMatchObject({
      counts: { total: 1, collapsed: 1, recalled: 0, pending: 0 },
      recipients: [{ userID: userId, state: "collapsed" }],
    });
    expect(await statusOf(second.serverMsgID)).toMatchObject({ counts: { total: 1, pending: 1 } });
  });

  test("tells the devices that have the older, also those that have acknowledged it, which stays delivered", async () => {
    const userId = newId("user");
    const phone = await device(userId);
    const [onPhone, onTablet] = [await phone.subscribe(), await (await device(userId, "tablet")).subscribe()];
    const first = await send(userId, "packed");
    const [packed] = await onPhone.take(1);
    await onTablet.take(1);
    await phone.ack(packed?.sequence ?? 0n);
    await expect.poll(() => statusOf(first.serverMsgID)).toMatchObject({ counts: { delivered: 1 } });
    const second = await send(userId, "sent");
    for (const session of [onPhone, onTablet]) {
      expect(await session.take(1)).toMatchObject([{ data: "sent", collapseKey }]);
      const event = await session.nextEvent();
      expect(event).toMatchObject({
        case: "recall",
        value: { serverMsgId: first.serverMsgID, replacedByServerMsgId: second.serverMsgID },
      });
    }
    expect(await statusOf(first.serverMsgID)).toMatchObject({ counts: { delivered: 1, collapsed: 0 } });
  });

  test("leaves those of other keys and users, and of no key", async () => {
    const [ann, bob] = [newId("user"), newId("user")];
    await send(ann, "1");
    await send(ann, "2", { collapseKey: "another" });
    await send(ann, "3", { collapseKey: "" });
    await send(ann, "4", { collapseKey: "" });
    await send(bob, "5");
    expect(dataOf(notificationsOf(await storedFor(ann)))).toEqual(["1", "2", "3", "4"]);
    expect(dataOf(notificationsOf(await storedFor(bob)))).toEqual(["5"]);
  });

  test("is one send under its clientMsgID: a repeat of either brings nothing back", async () => {
    const userId = newId("user");
    const [a, b] = [newId("send"), newId("send")];
    const first = await send(userId, "packed", { clientMsgID: a });
    const second = await send(userId, "sent", { clientMsgID: b });
    expect(await send(userId, "packed", { clientMsgID: a })).toEqual(first);
    expect(await send(userId, "sent", { clientMsgID: b })).toEqual(second);
    expect(await call(path, body(userId, "sent", { clientMsgID: b, collapseKey: "x" }))).toMatchObject({
      errCode: 1003,
    });
    expect(dataOf(notificationsOf(await storedFor(userId)))).toEqual(["sent"]);
  });

  test("recalled by its sender leaves nothing, and what follows is delivered", async () => {
    const userId = newId("user");
    await send(userId, "packed");
    const { serverMsgID } = await send(userId, "sent");
    await must("/msg/recall_business_notification", { serverMsgID });
    expect(await statusOf(serverMsgID)).toMatchObject({ counts: { recalled: 1, collapsed: 0 } });
    expect(notificationsOf(await storedFor(userId))).toEqual([]);
    await send(userId, "sent again");
    expect(dataOf(notificationsOf(await storedFor(userId)))).toEqual(["sent again"]);
  });

  test("leaves the chat copies of the older", async () => {
    const userId = newId("user");
    await send(userId, "packed", { sendMsg: true });
    await send(userId, "sent", { sendMsg: true });
    const events = await storedFor(userId);
    expect(dataOf(notificationsOf(events))).toEqual(["sent"]);
    const copies = events.flatMap((event) => (event?.case === "message" ? [event.value.notification?.data] : []));
    expect(copies).toEqual(["packed", "sent"]);
  });

  test("with sendAt replaces what is there at its time", async () => {
    const userId = newId("user");
    await send(userId, "later", { sendAt: Date.now() + 1_500 });
    await send(userId, "now");
    expect(dataOf(notificationsOf(await storedFor(userId)))).toEqual(["now"]);
    await expect
      .poll(async () => dataOf(notificationsOf(await storedFor(userId))), { timeout: 20_000 })
      .toEqual(["later"]);
  });

  test("of one batch is the last in it, over gRPC", async () => {
    const users = Array.from({ length: 5 }, () => newId("user"));
    const notifications = Array.from({ length: 4 }, (_, n) =>
      users.map((recvUserId) => ({
        ...{ sendUserId: "system", recvUserId, key: "order", data: String(n), reliabilityLevel: 2, collapseKey },
      })),
    ).flat();
    const client = createClient(MsgService, createGrpcTransport({ baseUrl: server.url }));
    const { results } = await client.sendBusinessNotificationBatch({ notifications }, { headers: { token: admin } });
    expect(new Set(results.map(({ errCode }) => errCode))).toEqual(new Set([0]));
    for (const userId of users) expect(dataOf(notificationsOf(await storedFor(userId)))).toEqual(["3"]);
  });

  test("to a group replaces the older in the inbox of each member", async () => {
    const groupID = newId("group");
    const members = Array.from({ length: 3 }, () => newId("member"));
    const [ownerUserID, ...memberUserIDs] = members;
    await must("/group/create_group", { ownerUserID, memberUserIDs, groupInfo: { groupID, groupType: 2 } });
    const sent = [];
    for (const data of ["1", "2", "3"]) sent.push(await send("", data, { recvGroupID: groupID }));
    for (const { serverMsgID } of sent.slice(0, 2)) {
      await expect.poll(() => statusOf(serverMsgID), { timeout: 20_000 }).toMatchObject({ counts: { collapsed: 3 } });
    }
    for (const userId of members) {
      expect(notificationsOf(await storedFor(userId))).toMatchObject([
        { data: "3", recvGroupId: groupID, collapseKey },
      ]);
    }
  });

  test("sent by many at the same moment is exactly one, the one with the highest place", async () => {
    const userId = newId("user");
    const session = await (await device(userId)).subscribe({ window: 1_000 });
    const sent = await Promise.all(Array.from({ length: 60 }, (_, n) => send(userId, String(n))));
    const [left, ...more] = notificationsOf(await storedFor(userId));
    expect(more).toEqual([]);
    const online = notificationsOf(await session.eventsUntilIdle());
    expect(online.map(({ sequence }) => sequence).every((sequence) => sequence <= (left?.sequence ?? 0n))).toBe(true);
    for (const { serverMsgID } of sent) {
      const state = serverMsgID === left?.serverMsgId ? "pending" : "collapsed";
      expect(await statusOf(serverMsgID)).toMatchObject({ recipients: [{ state }] });
    }
  });
});

test("a service that is killed while many send leaves exactly one: the next, and when all are repeated the last", async () => {
  const settings = { HEARTBEAT: "1s", PARTITIONS: "1" };
  const first = await startProcess(settings);
  try {
    const token = await first.adminToken();
    const sendTo = async (url: string, n: number) => {
      const response = await fetch(`${url}${path}`, {
        method: "POST",
        headers: { operationID: "test", token },
        body: JSON.stringify(body("ann", String(n), { clientMsgID: `send ${n}` })),
      });
      return response.json();
    };
    const numbers = Array.from({ length: 40 }, (_, n) => n);
    let answered = 0;
    const answers = numbers.map((n) =>
      sendTo(first.url, n).then(
        () => void answered++,
        () => {},
      ),
    );
    await expect.poll(() => answered, { timeout: 30_000, interval: 5 }).toBeGreaterThan(0);
    await first.kill("SIGKILL");
    await Promise.all(answers);
    const second = await startProcess(settings, first.dataDir);
    try {
      const leftOn = async (deviceId: string) => {
        const ann = openDevice(second.url, await second.userToken("ann"), deviceId);
        return dataOf(notificationsOf(await (await ann.subscribe({ window: 1_000 })).eventsUntilIdle()));
      };
      // Whatever the others have left behind, and nobody repeats, is replaced by the next.
      await sendTo(second.url, 1_000);
      expect(await leftOn("phone")).toEqual(["1000"]);
      for (const n of numbers) expect(await sendTo(second.url, n)).toMatchObject({ errCode: 0 });
      expect(await leftOn("tablet")).toHaveLength(1);
    } finally {
      await second.remove();
    }
  } finally {
    await first.remove();
  }
});

test.each([
  ["level 1", { reliabilityLevel: 1 }, "collapseKey"],
  ["a list", { recvUserID: "", recvUserIDs: ["ann"] }, "collapseKey"],
  ["one device", { recvDeviceID: "phone" }, "collapseKey"],
  ["all devices but one", { exceptDeviceID: "phone" }, "collapseKey"],
  ["a key of 257 bytes", { collapseKey: "k".repeat(257) }, "collapseKey"],
  ["a key with a line break", { collapseKey: "a\nb" }, "collapseKey"],
])("with %s it is refused with 1001", async (_, change, field) => {
  expect(await call(path, body("ann", "data", change))).toMatchObject({
    errCode: 1001,
    errDlt: expect.stringContaining(field),
  });
});

test("a key of 256 bytes is one", async () => {
  const userId = newId("user");
  for (const data of ["1", "2"]) await send(userId, data, { collapseKey: "é".repeat(128) });
  expect(dataOf(notificationsOf(await storedFor(userId)))).toEqual(["2"]);
});
