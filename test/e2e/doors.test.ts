// One body of tests over every door: what a device is promised does not depend on how it is connected.

import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { createTokenMinter } from "../../src/auth/mint-token.ts";
import type { Ability, Arrival, Door, DoorDevice, DoorEnd, DoorSession } from "../helpers/door.ts";
import { ownDoors } from "../helpers/doors.ts";
import { type ExternalBroker, startExternalBroker } from "../helpers/external-broker.ts";
import { foreignDoors } from "../helpers/foreign-doors.ts";
import { startTestServer, type TestServer, testSecret } from "../helpers/server.ts";

const started: { broker?: ExternalBroker; server?: TestServer } = {};

beforeAll(async () => {
  started.broker = await startExternalBroker();
  started.server = await startTestServer({ NATS_URL: started.broker.url, PARTITIONS: "1" });
});
afterAll(async () => {
  await started.server?.stop();
  await started.broker?.remove();
});

const service = (): TestServer => {
  if (started.server === undefined) throw new Error("there is no service yet");
  return started.server;
};
const connectBroker = () => {
  if (started.broker === undefined) throw new Error("there is no broker yet");
  return started.broker.connect();
};

const numbers = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => String(from + i));

/** Asks as an admin; resolves to the answer's data. */
async function ask(path: string, body: object): Promise<Record<string, unknown>> {
  const { json } = await service().post(path, body, await service().adminToken());
  expect(json).toMatchObject({ errCode: 0 });
  return json.data ?? {};
}

let users = 0;

/** A user, and what is sent to them. */
function newUser() {
  const userId = `user-${++users}`;
  const toBody = (data: string, level: 1 | 2 = 2) => ({
    ...{ sendUserID: "imAdmin", recvUserID: userId, key: "test", data, reliabilityLevel: level },
  });
  const send = async (data: string, level: 1 | 2 = 2) =>
    String((await ask("/msg/send_business_notification", toBody(data, level))).serverMsgID);
  /** A device of the user; each platform is another one to the doors that know no names. */
  const device = async (deviceId: string, platformId: number, token?: string): Promise<DoorDevice> => ({
    ...{ url: service().url, userId, deviceId, platformId, disk: new Map() },
    token: token ?? (await service().userToken(userId, platformId)),
  });
  return {
    userId,
    send,
    device,
    phone: (token?: string) => device("phone", 5, token),
    tablet: () => device("tablet", 9),
    sendAll: async (all: readonly string[]) => {
      const notifications = all.map((data) => toBody(data));
      await ask("/msg/batch_send_business_notification", { notifications });
    },
    /** Sends to a group in which the user is the only member. */
    async sendToGroup(data: string) {
      const groupID = `crew-${userId}`;
      const groupInfo = { groupID, groupType: 2, groupName: "crew" };
      await ask("/group/create_group", { ownerUserID: userId, memberUserIDs: [], groupInfo });
      await ask("/msg/send_business_notification", { ...toBody(data), recvUserID: "", recvGroupID: groupID });
    },
  };
}

/** Waits until it is stored that the only device of the only recipient has handled it. */
async function untilHandled(serverMsgID: string): Promise<void> {
  await vi.waitFor(async () =>
    expect(await ask("/msg/get_delivery_status", { serverMsgID })).toMatchObject({ counts: { delivered: 1 } }),
  );
}

async function enter(door: Door, device: DoorDevice): Promise<DoorSession> {
  const session = await door.open(device);
  if ("kind" in session) throw new Error(`it ended with ${session.how}`);
  return session;
}

/** The next notifications, each acknowledged unless they are not to be. What else comes is an error. */
async function take(session: DoorSession, count: number, isAcknowledged = true): Promise<Arrival[]> {
  const taken: Arrival[] = [];
  while (taken.length < count) {
    const arrival = await session.next();
    if (arrival.kind !== "notification") throw new Error(`got ${JSON.stringify(arrival, text)}`);
    if (isAcknowledged && arrival.sequence > 0n) await session.acknowledge(arrival);
    taken.push(arrival);
  }
  return taken;
}

const text = (_: string, value: unknown) => (typeof value === "bigint" ? String(value) : value);
const dataOf = (arrivals: readonly Arrival[]) => arrivals.map(({ data }) => data);

/** The end of a session that gets nothing more. */
async function endOf(session: DoorSession | DoorEnd): Promise<string> {
  const end = "kind" in session ? session : await session.next();
  if (end.kind !== "end") throw new Error(`got ${end.kind}`);
  return end.how;
}

describe.each([...ownDoors, ...foreignDoors(connectBroker)])("by $name, a device", (door) => {
  /** A test for the doors that have what it takes; for another one, its name says why not. */
  const testWith = (needed: readonly Ability[], name: string, body: () => Promise<void>) => {
    const [reason] = needed.flatMap((ability) => door.lacks[ability] ?? []);
    if (reason === undefined) test(name, body);
    else test.skip(`${name} (not here: ${reason})`, body);
  };

  testWith(["online"], "gets online pushes while it is connected, in their order", async () => {
    const { send, phone } = newUser();
    await send("before", 1);
    const session = await enter(door, await phone());
    for (const data of numbers(1, 20)) await send(data, 1);
    expect(dataOf(await take(session, 20))).toEqual(numbers(1, 20));
  });

  test("gets what was stored before it was ever there, and what is stored then", async () => {
    const { send, phone } = newUser();
    await send("1");
    await send("2");
    const session = await enter(door, await phone());
    expect(dataOf(await take(session, 2))).toEqual(["1", "2"]);
    await send("3");
    expect(dataOf(await take(session, 1))).toEqual(["3"]);
  });

  test("gets 200, each once and in order, stored before and while it is there", async () => {
    const { sendAll, phone } = newUser();
    await sendAll(numbers(1, 100));
    const session = await enter(door, await phone());
    await sendAll(numbers(101, 200));
    expect(dataOf(await take(session, 200))).toEqual(numbers(1, 200));
    // One that came twice would be in its place.
    await sendAll(["end"]);
    expect(dataOf(await take(session, 1))).toEqual(["end"]);
  });

  testWith(["acknowledgements"], "goes on behind what it has acknowledged", async () => {
    const { sendAll, phone } = newUser();
    await sendAll(numbers(1, 10));
    const device = await phone();
    const first = await enter(door, device);
    const taken = await take(first, 10, false);
    const [fourth] = taken.slice(3);
    if (fourth === undefined) throw new Error("there are ten");
    await first.acknowledge(fourth);
    await first.close();
    const second = await enter(door, device);
    expect(dataOf(await take(second, 6))).toEqual(numbers(5, 10));
    await sendAll(["11"]);
    expect(dataOf(await take(second, 1))).toEqual(["11"]);
  });

  test("that was killed without goodbye gets what it has not handled, each once and in order", async () => {
    const { send, sendAll, phone } = newUser();
    const device = await phone();
    const first = await enter(door, device);
    await sendAll(numbers(1, 4));
    const fifth = await send("5");
    expect(dataOf(await take(first, 5))).toEqual(numbers(1, 5));
    if (door.lacks.status === undefined) await untilHandled(fifth);
    await first.kill();
    await sendAll(numbers(6, 30));
    const second = await enter(door, device);
    expect(dataOf(await take(second, 25))).toEqual(numbers(6, 30));
    await send("31");
    expect(dataOf(await take(second, 1))).toEqual(["31"]);
  });

  test("gets all, and a second one, that comes later, all as well", async () => {
    const { send, sendAll, phone, tablet } = newUser();
    await sendAll(numbers(1, 20));
    const first = await enter(door, await phone());
    expect(dataOf(await take(first, 20))).toEqual(numbers(1, 20));
    const second = await enter(door, await tablet());
    expect(dataOf(await take(second, 20))).toEqual(numbers(1, 20));
    await send("21");
    expect(dataOf([...(await take(first, 1)), ...(await take(second, 1))])).toEqual(["21", "21"]);
  });

  test("gets what is sent to a group of its user", async () => {
    const { send, sendToGroup, phone } = newUser();
    await send("1");
    const session = await enter(door, await phone());
    expect(dataOf(await take(session, 1))).toEqual(["1"]);
    await sendToGroup("to all");
    expect(dataOf(await take(session, 1))).toEqual(["to all"]);
    await send("2");
    expect(dataOf(await take(session, 1))).toEqual(["2"]);
  });

  test("gets the data exactly as it was sent", async () => {
    const { send, sendAll, phone } = newUser();
    const all = [
      '{"id":77,"text":"\\"quoted\\""}',
      "\u2028\u2029",
      "a\0b",
      "😀 爱丽丝 e\u0301",
      "<b>&amp;</b>\\ \t\r\n/",
      "data: x\n\nevent: end\n",
      "\ufeff",
      "",
      `${"x".repeat(70_000)}😀`,
    ];
    await sendAll(all);
    const session = await enter(door, await phone());
    expect(dataOf(await take(session, all.length))).toEqual(all);
    if (door.lacks.online !== undefined) return;
    for (const data of all) await send(data, 1);
    expect(dataOf(await take(session, all.length))).toEqual(all);
  });

  test("does not get what was withdrawn before it was there", async () => {
    const { send, phone } = newUser();
    await send("1");
    const serverMsgID = await send("withdrawn");
    await ask("/msg/recall_business_notification", { serverMsgID });
    const session = await enter(door, await phone());
    expect(dataOf(await take(session, 1))).toEqual(["1"]);
    if (door.lacks.recalls === undefined) {
      const recall = await session.next();
      expect(recall.kind).toBe("recall");
      if (recall.kind === "recall") await session.acknowledge(recall);
    }
    await send("2");
    expect(dataOf(await take(session, 1))).toEqual(["2"]);
  });

  /** A device whose session is to end, and others: one of the same user and one of another. */
  async function amongOthers(token?: (userId: string) => Promise<string>) {
    const [user, stranger] = [newUser(), newUser()];
    const device = await user.phone(await token?.(user.userId));
    const others = [await enter(door, await user.tablet()), await enter(door, await stranger.phone())];
    return {
      ...user,
      device,
      /** Each of the others gets the next, and no more. */
      async expectOthersGo() {
        for (const data of ["still", "there"]) {
          await user.send(data);
          await stranger.send(data);
          for (const other of others) expect(dataOf(await take(other, 1))).toEqual([data]);
        }
      },
    };
  }

  testWith(
    ["tokens"],
    "is told that its token was revoked, then and when it comes back; others notice nothing",
    async () => {
      const { userId, device, send, phone, expectOthersGo } = await amongOthers();
      const session = await enter(door, device);
      await ask("/auth/force_logout", { userID: userId, platformID: device.platformId });
      expect(await endOf(session)).toBe(door.ends.revoked);
      expect(await endOf(await door.open(device))).toBe(door.ends.refused);
      await expectOthersGo();
      // With a new one it gets what it has missed.
      const again = await enter(door, { ...(await phone()), disk: device.disk });
      expect(dataOf(await take(again, 2))).toEqual(["still", "there"]);
      await send("then");
      expect(dataOf(await take(again, 1))).toEqual(["then"]);
    },
  );

  testWith(["tokens"], "is told that its token has expired; others notice nothing", async () => {
    // Where opening takes longer than that, it is told as well.
    const mint = createTokenMinter({ secret: testSecret, ttlMs: 1_000 });
    const { device, expectOthersGo } = await amongOthers();
    const { token } = await mint({ userId: device.userId, platformId: device.platformId });
    expect(await endOf(await door.open({ ...device, token }))).toBe(door.ends.expired);
    await expectOthersGo();
  });

  test("that is cut off leaves others as they were", async () => {
    const { device, expectOthersGo } = await amongOthers();
    const session = await enter(door, device);
    await session.kill();
    await expectOthersGo();
  });
});
