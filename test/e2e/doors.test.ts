// One body of tests over every door: what a device is promised does not depend on how it is connected.

import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { createTokenMinter } from "../../src/auth/mint-token.ts";
import type { Ability } from "../helpers/door.ts";
import { createDoorUsers, dataOf, endOf, enter, take } from "../helpers/door-users.ts";
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

const { ask, newUser, amongOthers } = createDoorUsers(service);

/** Waits until it is stored that the only device of the only recipient has handled it. */
async function untilHandled(serverMsgID: string): Promise<void> {
  await vi.waitFor(async () =>
    expect(await ask("/msg/get_delivery_status", { serverMsgID })).toMatchObject({ counts: { delivered: 1 } }),
  );
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

  testWith(["settling"], "does not get what another device has settled for the user", async () => {
    const { send, sendForOne, phone, tablet } = newUser();
    await send("1");
    const serverMsgID = await sendForOne("for one of us");
    const [subscribing] = ownDoors;
    if (subscribing === undefined) throw new Error("there are doors of our own");
    const other = await enter(subscribing, await tablet());
    await take(other, 2);
    await untilHandled(serverMsgID);
    const session = await enter(door, await phone());
    expect(dataOf(await take(session, 1))).toEqual(["1"]);
    // OpenIM has no word for it.
    if (door.lacks.recalls === undefined) {
      const settled = await session.next();
      expect(settled.kind).toBe("settled");
      if (settled.kind === "settled") await session.acknowledge(settled);
    }
    await send("2");
    expect(dataOf(await take(session, 1))).toEqual(["2"]);
  });

  testWith(
    ["tokens"],
    "is told that its token was revoked, then and when it comes back; others notice nothing",
    async () => {
      const { userId, device, send, phone, expectOthersGo } = await amongOthers(door);
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
    const { device, expectOthersGo } = await amongOthers(door);
    const { token } = await mint({ userId: device.userId, platformId: device.platformId });
    expect(await endOf(await door.open({ ...device, token }))).toBe(door.ends.expired);
    await expectOthersGo();
  });

  test("that is cut off leaves others as they were", async () => {
    const { device, expectOthersGo } = await amongOthers(door);
    const session = await enter(door, device);
    await session.kill();
    await expectOthersGo();
  });
});
