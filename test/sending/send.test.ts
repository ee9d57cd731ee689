import { afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { type Notification, Start } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { type DeviceSession, useDevices } from "../helpers/device.ts";
import { useServer } from "../helpers/server.ts";

const server = useServer({ PARTITIONS: "2" });
const openDevice = useDevices();
let admin: string;

beforeAll(async () => {
  admin = await server.adminToken();
});
afterEach(() => {
  vi.useRealTimers();
});

/** What a send has in its JSON body. */
interface SendBody {
  readonly sendUserID: string;
  readonly recvUserID: string;
  readonly recvGroupID?: string;
  readonly key: string;
  readonly data: string;
  readonly sendMsg?: boolean;
  readonly reliabilityLevel: number;
  readonly clientMsgID?: string;
  readonly ttlSeconds?: number;
  readonly report?: boolean;
}

/** The documented `data`, and what travels in headers. */
interface Accepted {
  readonly serverMsgID: string;
  readonly clientMsgID: string;
  readonly sendTime: number;
  readonly durability: string | null;
}

let made = 0;
/** An id that no other test uses. */
const newId = (kind: string) => `${kind}-${++made}`;

/** A must-reach notification to a user of the test's own under an id of the caller's own, but for the change. */
function body(change: Partial<SendBody> = {}): SendBody {
  return {
    sendUserID: "imAdmin",
    recvUserID: newId("user"),
    key: "order.paid",
    data: '{"id":77}',
    reliabilityLevel: 2,
    clientMsgID: newId("order"),
    ...change,
  };
}

async function post(request: SendBody) {
  const { status, headers, json } = await server.post("/msg/send_business_notification", request, admin);
  expect(status).toBe(200);
  return { durability: headers.get("mustreach-durability"), json };
}

async function send(request: SendBody): Promise<Accepted> {
  const { durability, json } = await post(request);
  expect(json).toMatchObject({ errCode: 0, errMsg: "", errDlt: "" });
  return { ...(json.data as unknown as Omit<Accepted, "durability">), durability };
}

async function refusalOf(request: SendBody) {
  const { json } = await post(request);
  expect(json.errCode).not.toBe(0);
  return json;
}

/** Sends a mark and takes everything that is delivered before it. */
async function takeUntilMark(session: DeviceSession, userId: string, level: 1 | 2): Promise<Notification[]> {
  const mark = newId("mark");
  await send(body({ recvUserID: userId, data: mark, reliabilityLevel: level }));
  const taken: Notification[] = [];
  for (;;) {
    const [notification] = await session.take(1);
    if (notification?.data === mark) return taken;
    if (notification !== undefined) taken.push(notification);
  }
}

/** The must-reach notifications that a new device of a user gets. */
async function stored(userId: string): Promise<Notification[]> {
  const device = openDevice(server.url, await server.userToken(userId), newId("device"));
  const session = await device.subscribe({ start: Start.ALL, window: 1_000 });
  const taken = await takeUntilMark(session, userId, 2);
  device.kill();
  return taken;
}

/** The online pushes that a user gets from now on, up to the call of `pushes`. */
async function listen(userId: string) {
  const device = openDevice(server.url, await server.userToken(userId), newId("device"));
  const session = await device.subscribe({ window: 1_000 });
  return {
    async pushes() {
      const taken = await takeUntilMark(session, userId, 1);
      device.kill();
      return taken.filter(({ reliabilityLevel }) => reliabilityLevel === 1);
    },
  };
}

const dataOf = (notifications: readonly Notification[]) => notifications.map(({ data }) => data);

describe("level 2", () => {
  test("is delivered as it was sent, with the ids and the time of the answer", async () => {
    const wanted = body({ sendUserID: "system", key: '"key" 😀', data: '"quotes" \u0000 \\ \ufeff 😀' });
    const before = Date.now();
    const accepted = await send(wanted);
    expect(accepted.sendTime).toBeGreaterThanOrEqual(before);
    expect(accepted.sendTime).toBeLessThanOrEqual(Date.now());
    expect(accepted.durability).toBe("FSYNCED");
    expect(await stored(wanted.recvUserID)).toMatchObject([
      {
        serverMsgId: accepted.serverMsgID,
        clientMsgId: wanted.clientMsgID,
        sendTime: BigInt(accepted.sendTime),
        sendUserId: "system",
        recvUserId: wanted.recvUserID,
        recvGroupId: "",
        key: wanted.key,
        data: wanted.data,
        reliabilityLevel: 2,
      },
    ]);
  });

  test("is in the order in which it was accepted", async () => {
    const recvUserID = newId("user");
    const numbers = Array.from({ length: 20 }, (_, n) => String(n));
    for (const data of numbers) await send(body({ recvUserID, data }));
    expect(dataOf(await stored(recvUserID))).toEqual(numbers);
  });

  test("is not an online push as well", async () => {
    const wanted = body();
    const listener = await listen(wanted.recvUserID);
    await send(wanted);
    expect(await listener.pushes()).toEqual([]);
  });
});

describe("level 1", () => {
  test("is pushed to who listens now, and not stored", async () => {
    const wanted = body({ reliabilityLevel: 1 });
    const listener = await listen(wanted.recvUserID);
    const other = await listen(newId("user"));
    const accepted = await send(wanted);
    expect(accepted.durability).toBe("NONE");
    expect(await listener.pushes()).toMatchObject([
      { serverMsgId: accepted.serverMsgID, data: wanted.data, reliabilityLevel: 1, sequence: 0n },
    ]);
    expect(await other.pushes()).toEqual([]);
    expect(await stored(wanted.recvUserID)).toEqual([]);
  });

  test("to a user that nobody listens for is accepted", async () => {
    expect(await send(body({ reliabilityLevel: 1 }))).toMatchObject({ durability: "NONE" });
  });
});

describe("generated ids", () => {
  test.each([1, 2])(
    "are 32 hex digits, new for each send, and in the order of what is sent to a user (level %i)",
    async (reliabilityLevel) => {
      vi.useFakeTimers({ toFake: ["Date"] });
      const ids: Accepted[] = [];
      const recvUserID = newId("user");
      for (let n = 0; n < 5; n++) {
        vi.setSystemTime(Date.now() + 1);
        ids.push(await send(body({ recvUserID, clientMsgID: "", reliabilityLevel })));
      }
      for (const kind of ["serverMsgID", "clientMsgID"] as const) {
        const ofKind = ids.map((accepted) => accepted[kind]);
        for (const id of ofKind) expect(id).toMatch(/^[0-9a-f]{32}$/);
        expect(new Set(ofKind).size).toBe(5);
        expect(ofKind).toEqual(ofKind.toSorted());
      }
    },
  );

  test("make two sends of one body two notifications", async () => {
    const { clientMsgID: _, ...wanted } = body();
    const first = await send(wanted);
    const second = await send(wanted);
    expect((await stored(wanted.recvUserID)).map(({ clientMsgId }) => clientMsgId)).toEqual([
      first.clientMsgID,
      second.clientMsgID,
    ]);
  });

  test("that the caller sends back are the same notification", async () => {
    const wanted = body({ clientMsgID: "" });
    const first = await send(wanted);
    expect(await send({ ...wanted, clientMsgID: first.clientMsgID })).toEqual(first);
    expect(await stored(wanted.recvUserID)).toHaveLength(1);
  });

  test("that the caller sends back are the same notification, with reports as well", async () => {
    const wanted = { ...body({ clientMsgID: "" }), report: true };
    const first = await send(wanted);
    expect(await send({ ...wanted, clientMsgID: first.clientMsgID })).toEqual(first);
    expect(await refusalOf({ ...wanted, clientMsgID: first.clientMsgID, report: false })).toMatchObject({
      errCode: 1003,
    });
    expect(await stored(wanted.recvUserID)).toHaveLength(1);
  });

  test("that the caller sends back with another body are refused, not accepted and lost", async () => {
    const wanted = body({ clientMsgID: "" });
    const { clientMsgID } = await send(wanted);
    expect(await refusalOf({ ...wanted, clientMsgID, data: "another" })).toMatchObject({ errCode: 1003 });
    expect(await refusalOf({ ...wanted, clientMsgID, report: true })).toMatchObject({ errCode: 1003 });
    expect(dataOf(await stored(wanted.recvUserID))).toEqual([wanted.data]);
  });
});

describe.each([
  ["level 2", 2],
  ["level 1", 1],
])("an id of the caller's own, %s", (_, reliabilityLevel) => {
  /** What came of the sends to a user: stored, or pushed to a listener who was there before. */
  const arrivedAt = async (userId: string, listener: { pushes(): Promise<Notification[]> }) => {
    const [pushed, kept] = [await listener.pushes(), await stored(userId)];
    expect(reliabilityLevel === 2 ? pushed : kept).toEqual([]);
    return reliabilityLevel === 2 ? kept : pushed;
  };

  test("with the same body gives the first result again, and one notification", async () => {
    const wanted = body({ reliabilityLevel });
    const listener = await listen(wanted.recvUserID);
    const first = await send(wanted);
    expect(first.clientMsgID).toBe(wanted.clientMsgID);
    for (let n = 0; n < 3; n++) expect(await send(wanted)).toEqual(first);
    expect(await arrivedAt(wanted.recvUserID, listener)).toHaveLength(1);
  });

  test("with defaults written out is the same body", async () => {
    const wanted = body({ reliabilityLevel });
    const first = await send(wanted);
    expect(await send({ ...wanted, recvGroupID: "", sendMsg: false, ttlSeconds: 0 })).toEqual(first);
    if (reliabilityLevel === 1) expect(await send({ ...wanted, reliabilityLevel: 0 })).toEqual(first);
  });

  test.each<[what: string, change: () => Partial<SendBody>]>([
    ["sender", () => ({ sendUserID: "system" })],
    ["recipient", () => ({ recvUserID: newId("mallory") })],
    ["key", () => ({ key: "order.refunded" })],
    ["data", () => ({ data: '{"id":78}' })],
    ["sendMsg", () => ({ sendMsg: true })],
    ["reliabilityLevel", () => ({ reliabilityLevel: 3 - reliabilityLevel })],
    ["reliabilityLevel and ttlSeconds", () => ({ reliabilityLevel: 2, ttlSeconds: 60 })],
    ["report", () => ({ reliabilityLevel: 2, report: true })],
  ])("with another %s is refused with 1003, and changes nothing", async (_what, change) => {
    const wanted = body({ reliabilityLevel });
    const other = { ...wanted, ...change() };
    const listener = await listen(wanted.recvUserID);
    const otherListener = other.recvUserID === wanted.recvUserID ? undefined : await listen(other.recvUserID);
    const first = await send(wanted);
    expect(await refusalOf(other)).toMatchObject({
      errCode: 1003,
      errMsg: "DuplicateKeyError",
      errDlt: expect.stringContaining("clientMsgID"),
    });
    expect(await send(wanted)).toEqual(first);
    expect(await arrivedAt(wanted.recvUserID, listener)).toMatchObject([{ serverMsgId: first.serverMsgID }]);
    if (otherListener !== undefined) expect(await arrivedAt(other.recvUserID, otherListener)).toEqual([]);
  });

  test("that is sent many times at the same moment is one notification", async () => {
    const wanted = body({ reliabilityLevel });
    const listener = await listen(wanted.recvUserID);
    const results = await Promise.all(Array.from({ length: 50 }, () => send(wanted)));
    expect(new Set(results.map((result) => JSON.stringify(result))).size).toBe(1);
    expect(await arrivedAt(wanted.recvUserID, listener)).toMatchObject([{ serverMsgId: results[0]?.serverMsgID }]);
  });

  test("that is sent at the same moment with two bodies is one of them, and 1003 for the other", async () => {
    const wanted = body({ reliabilityLevel });
    const listener = await listen(wanted.recvUserID);
    const outcomes = await Promise.all(
      Array.from({ length: 20 }, async (_, n) => {
        const data = n % 2 === 0 ? "even" : "odd";
        return { data, errCode: (await post({ ...wanted, data })).json.errCode };
      }),
    );
    const accepted = new Set(outcomes.filter(({ errCode }) => errCode === 0).map(({ data }) => data));
    expect(accepted.size).toBe(1);
    for (const { data, errCode } of outcomes) expect(errCode).toBe(accepted.has(data) ? 0 : 1003);
    expect(dataOf(await arrivedAt(wanted.recvUserID, listener))).toEqual([...accepted]);
  });

  test("is the same id after midnight, and days later", async () => {
    const wanted = body({ reliabilityLevel });
    const listener = await listen(wanted.recvUserID);
    vi.useFakeTimers({ toFake: ["Date"] });
    const midnight = Math.ceil(Date.now() / 86_400_000) * 86_400_000;
    vi.setSystemTime(midnight - 1);
    const first = await send(wanted);
    expect(first.sendTime).toBe(midnight - 1);
    for (const now of [midnight, midnight + 1, midnight + 6 * 86_400_000]) {
      vi.setSystemTime(now);
      expect(await send(wanted)).toEqual(first);
      expect(await refusalOf({ ...wanted, data: "another" })).toMatchObject({ errCode: 1003 });
      expect(await refusalOf({ ...wanted, recvUserID: newId("user") })).toMatchObject({ errCode: 1003 });
    }
    vi.useRealTimers();
    expect(await arrivedAt(wanted.recvUserID, listener)).toMatchObject([{ serverMsgId: first.serverMsgID }]);
  });

  test.each([
    ["a wildcard", "*"],
    ["the other wildcard", ">"],
    ["a subject", "claim.0.*"],
    ["not ASCII", "日本"],
    ["a path", "../.."],
    ["spaces", "  "],
    ["256 bytes long", "x".repeat(255)],
  ])("may be %s", async (_what, start) => {
    const wanted = body({ reliabilityLevel, clientMsgID: `${start}${reliabilityLevel}` });
    await send(body({ reliabilityLevel }));
    const first = await send(wanted);
    expect(first.clientMsgID).toBe(wanted.clientMsgID);
    expect(await send(wanted)).toEqual(first);
    expect(await refusalOf({ ...wanted, data: "another" })).toMatchObject({ errCode: 1003 });
  });
});

test("ids that differ in case, in a trailing space or in normal form only are different ids", async () => {
  const id = newId("e\u0301");
  for (const clientMsgID of [id, id.toUpperCase(), `${id} `, id.normalize("NFC")]) {
    expect(await send(body({ clientMsgID }))).toMatchObject({ clientMsgID });
  }
});

test.each([1, 2])("an unknown group is 1004 and does not use up the id (level %i)", async (reliabilityLevel) => {
  const wanted = body({ reliabilityLevel, recvUserID: "", recvGroupID: newId("group") });
  expect(await refusalOf(wanted)).toMatchObject({ errCode: 1004, errMsg: "RecordNotFoundError" });
  expect(await send({ ...wanted, recvGroupID: "", recvUserID: newId("user") })).toMatchObject({
    clientMsgID: wanted.clientMsgID,
  });
});

test("data of exactly 262,144 bytes of UTF-8 arrives whole, one byte more is refused", async () => {
  for (const character of ["x", "é", "😀"]) {
    const wanted = body({ data: character.repeat(262_144 / Buffer.byteLength(character)) });
    await send(wanted);
    const [arrived] = await stored(wanted.recvUserID);
    expect(arrived?.data === wanted.data).toBe(true);
    expect(await refusalOf({ ...wanted, data: `${wanted.data}x` })).toMatchObject({ errCode: 1001 });
  }
});

test("a ttl lasts from a second to the retention", async () => {
  const week = 7 * 86_400;
  for (const ttlSeconds of [1, week]) await send(body({ ttlSeconds }));
  for (const ttlSeconds of [-1, week + 1])
    expect(await refusalOf(body({ ttlSeconds }))).toMatchObject({ errCode: 1001 });
  const wanted = body({ ttlSeconds: 60 });
  await send(wanted);
  expect(dataOf(await stored(wanted.recvUserID))).toEqual([wanted.data]);
});
