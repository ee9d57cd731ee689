import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { toErrorFacts } from "../../src/errors.ts";
import { DeliveryState, GetDeliveryStatusRequestSchema } from "../../src/gen/mustreach/msg/v1/msg_pb.ts";
import { requireStatusQuery } from "../../src/sending/status.ts";
import { useBroker } from "../helpers/broker.ts";
import { retentionMs, type Tracking, useTracking } from "../helpers/tracking.ts";

const instances = useTracking(useBroker());
let tracking: Tracking;

beforeAll(async () => {
  tracking = await instances.open();
});
afterEach(() => {
  vi.useRealTimers();
});

const { PENDING, DELIVERED, EXPIRED, RECALLED, SCHEDULED } = DeliveryState;
const none = { total: 0, delivered: 0, pending: 0, expired: 0, recalled: 0, scheduled: 0, collapsed: 0 };

let made = 0;
/** An id that no other test uses. */
const newId = (kind: string) => `${kind}-${++made}`;

/** A send to a user of the test's own. */
async function sendToUser(change: Parameters<Tracking["accept"]>[1] = {}) {
  const userId = newId("user");
  const record = await tracking.accept(newId("order"), { recvUserId: userId, ...change });
  return { userId, record, status: () => tracking.status(record.clientMsgId) };
}

/** A send to a group of the test's own, with members in the order of their ids. */
async function sendToGroup(count: number, change: Parameters<Tracking["accept"]>[1] = {}) {
  const groupId = newId("group");
  const members = Array.from({ length: count }, (_, i) => `${groupId}/${String(i).padStart(5, "0")}`);
  instances.groups.set(`${groupId}@3`, members.toReversed());
  const record = await tracking.accept(newId("order"), { recvGroupId: groupId, groupVersion: 3, ...change });
  return { members, record };
}

describe("of a user", () => {
  test("it is pending until a device has acknowledged, also for a user without devices", async () => {
    const { userId, record, status } = await sendToUser();
    expect(await status()).toEqual({
      serverMsgId: record.serverMsgId,
      clientMsgId: record.clientMsgId,
      sendTime: record.sendTime,
      counts: { ...none, total: 1, pending: 1 },
      recipients: [{ userId, state: PENDING, devices: [] }],
    });
    const before = Date.now();
    await tracking.acknowledgeNewest("phone", userId);
    const { counts, recipients } = await status();
    expect(counts).toEqual({ ...none, total: 1, delivered: 1 });
    expect(recipients).toEqual([
      {
        userId,
        state: DELIVERED,
        devices: [{ deviceId: "phone", state: DELIVERED, acknowledgedTime: expect.any(Number) }],
      },
    ]);
    const time = recipients[0]?.devices[0]?.acknowledgedTime;
    expect(time).toBeGreaterThanOrEqual(before);
    expect(time).toBeLessThanOrEqual(Date.now());
  });

  test("each device has its own state, by id, and the user the best of them", async () => {
    const userId = newId("user");
    await tracking.accept(newId("order"), { recvUserId: userId });
    await tracking.acknowledgeNewest("web", userId);
    const { clientMsgId } = await tracking.accept(newId("order"), { recvUserId: userId });
    await tracking.acknowledgeNewest("phone", userId);
    await tracking.acknowledgeNewest("a tablet", userId);
    expect((await tracking.status(clientMsgId)).recipients).toMatchObject([
      {
        state: DELIVERED,
        devices: [
          { deviceId: "a tablet", state: DELIVERED },
          { deviceId: "phone", state: DELIVERED },
          { deviceId: "web", state: PENDING, acknowledgedTime: 0 },
        ],
      },
    ]);
  });

  test("a device that has acknowledged something later since is delivered, at a time that is not known", async () => {
    const { userId, status } = await sendToUser();
    await tracking.accept(newId("order"), { recvUserId: userId });
    await tracking.acknowledgeNewest("phone", userId);
    expect((await status()).recipients[0]?.devices).toEqual([
      { deviceId: "phone", state: DELIVERED, acknowledgedTime: 0 },
    ]);
  });

  test("one whose time has passed is expired for those who have not acknowledged it", async () => {
    const { userId, record, status } = await sendToUser({ expiresAtMs: Date.now() + 60_000 });
    await tracking.acknowledgeNewest("phone", userId);
    await tracking.acknowledge(userId, "web", 1);
    expect((await status()).recipients[0]?.devices).toMatchObject([{ state: DELIVERED }, { state: PENDING }]);
    vi.useFakeTimers({ toFake: ["Date"] });
    vi.setSystemTime(record.expiresAtMs);
    expect((await status()).recipients[0]?.devices).toMatchObject([{ state: DELIVERED }, { state: EXPIRED }]);
    const other = await sendToUser({ expiresAtMs: Date.now() - 1 });
    expect(await other.status()).toMatchObject({
      counts: { total: 1, expired: 1 },
      recipients: [{ state: EXPIRED, devices: [] }],
    });
  });

  test("a scheduled one is scheduled until its time, and then pending", async () => {
    const deliverAtMs = Date.now() + 60_000;
    const { record, status, userId } = await sendToUser({ deliverAtMs, storedFor: [] });
    expect(await status()).toMatchObject({ counts: { total: 1, scheduled: 1 }, recipients: [{ state: SCHEDULED }] });
    vi.useFakeTimers({ toFake: ["Date"] });
    vi.setSystemTime(deliverAtMs);
    expect((await status()).counts).toEqual({ ...none, total: 1, pending: 1 });
    await tracking.write(record, [userId]);
    await tracking.acknowledgeNewest("phone", userId);
    expect((await status()).counts).toEqual({ ...none, total: 1, delivered: 1 });
  });

  test("one that is in no inbox is pending while it may still get there, and expired when the retention is over", async () => {
    const { userId, record, status } = await sendToUser({ storedFor: [] });
    await tracking.acknowledge(userId, "phone", 1_000_000);
    expect(await status()).toMatchObject({
      counts: { total: 1, pending: 1 },
      recipients: [{ devices: [{ deviceId: "phone", state: PENDING }] }],
    });
    vi.useFakeTimers({ toFake: ["Date"] });
    vi.setSystemTime(record.sendTime + retentionMs);
    expect((await status()).counts).toEqual({ ...none, total: 1, expired: 1 });
  });

  test("one that is not known is 1004", async () => {
    expect(await tracking.status(newId("unknown")).catch(toErrorFacts)).toMatchObject({ errCode: 1004 });
  });
});

describe("of a group", () => {
  test("all members of the send are counted, and a page of them shown in the order of their ids", async () => {
    const { members, record } = await sendToGroup(2_100);
    const delivered = members.filter((_, i) => i % 50 === 0);
    await tracking.acknowledgeNewest("phone", ...delivered);
    const counts = { ...none, total: 2_100, delivered: delivered.length, pending: 2_100 - delivered.length };
    const seen: string[] = [];
    for (const pageNumber of [1, 2, 3]) {
      const page = await tracking.status(record.clientMsgId, { pageNumber, showNumber: 1_000 });
      expect(page.counts).toEqual(counts);
      seen.push(...page.recipients.map(({ userId }) => userId));
    }
    expect(seen).toEqual(members);
    const beyond = await tracking.status(record.clientMsgId, { pageNumber: 4, showNumber: 1_000 });
    expect(beyond).toMatchObject({ counts, recipients: [] });
  });

  test("pages by state hold the members in that state only, and the counts stay those of all", async () => {
    const { members, record } = await sendToGroup(30);
    const delivered = members.slice(10, 25);
    await tracking.acknowledgeNewest("phone", ...delivered);
    const query = { state: DELIVERED, showNumber: 10 } as const;
    const first = await tracking.status(record.clientMsgId, query);
    const second = await tracking.status(record.clientMsgId, { ...query, pageNumber: 2 });
    expect([...first.recipients, ...second.recipients].map(({ userId }) => userId)).toEqual(delivered);
    expect(first.recipients).toHaveLength(10);
    expect(second.counts).toEqual({ ...none, total: 30, delivered: 15, pending: 15 });
    expect((await tracking.status(record.clientMsgId, { state: RECALLED })).recipients).toEqual([]);
  });

  test("members to whom it has not been expanded yet are pending", async () => {
    const { members, record } = await sendToGroup(4, { storedFor: [] });
    await tracking.write(record, members.slice(0, 2));
    await tracking.acknowledgeNewest("phone", ...members.slice(0, 1));
    const { counts, recipients } = await tracking.status(record.clientMsgId);
    expect(counts).toEqual({ ...none, total: 4, delivered: 1, pending: 3 });
    expect(recipients.map(({ state }) => state)).toEqual([DELIVERED, PENDING, PENDING, PENDING]);
  });

  test("that had no members is of nobody", async () => {
    const { record } = await sendToGroup(0);
    expect(await tracking.status(record.clientMsgId)).toMatchObject({ counts: none, recipients: [] });
  });
});

describe("a request", () => {
  type Request = MessageInitShape<typeof GetDeliveryStatusRequestSchema>;
  const request = (change: Request) => create(GetDeliveryStatusRequestSchema, { clientMsgId: "order-77", ...change });

  test("has defaults: all states, the first page, 100 on it", () => {
    expect(requireStatusQuery(request({}))).toEqual({
      reference: { serverMsgId: "", clientMsgId: "order-77" },
      state: undefined,
      pageNumber: 1,
      showNumber: 100,
    });
  });

  test.each([
    ["delivered", DELIVERED],
    ["pending", PENDING],
    ["expired", EXPIRED],
    ["recalled", RECALLED],
    ["scheduled", SCHEDULED],
  ])("names the state %s in lower case", (name, state) => {
    expect(requireStatusQuery(request({ state: name }))).toMatchObject({ state });
  });

  test.each<[string, Request, RegExp]>([
    ["no id", { clientMsgId: "" }, /exactly one/],
    ["a state that there is not", { state: "DELIVERY_STATE_PENDING" }, /state must be one of delivered, pending/],
    ["a page before the first", { pageNumber: -1 }, /pageNumber/],
    ["a page that is too large", { showNumber: 1_001 }, /showNumber.*1000/],
    ["a page of less than none", { showNumber: -1 }, /showNumber/],
  ])("with %s is refused with 1001", (_, change, errDlt) => {
    expect(() => requireStatusQuery(request(change))).toThrow(errDlt);
  });
});
