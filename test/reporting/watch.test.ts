import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { DeviceCursor } from "../../src/cursors/device-cursors.ts";
import type { Outstanding } from "../../src/reporting/looks.ts";
import type { Finding } from "../../src/reporting/reports.ts";
import { createReportWatch } from "../../src/reporting/watch.ts";

const now = 1_700_000_000_000;
const hour = 3_600_000;
const week = 7 * 86_400_000;

beforeEach(() => void vi.useFakeTimers({ now }));
afterEach(() => void vi.useRealTimers());

/** A watch over what the test says. */
function watchOver(world: {
  readonly cursors?: readonly DeviceCursor[];
  readonly recalledAtMs?: number;
  readonly isReplaced?: boolean;
  readonly settled?: readonly string[];
  readonly isForgotten?: boolean;
}) {
  const told: Finding[] = [];
  const kept: { readonly one: Outstanding; readonly inMs: number }[] = [];
  const found: string[] = [];
  const watch = createReportWatch({
    reports: {
      settled: async (of) =>
        new Set(of.flatMap(({ serverMsgId }, i) => (world.settled?.includes(serverMsgId) ? [i] : []))),
      tell: async (findings) => void told.push(...findings),
    },
    looks: {
      add: async (outstanding, atMs) => void kept.push(...outstanding.map((one) => ({ one, inMs: atMs - Date.now() }))),
    },
    cursors: { ofUsers: async (userIds) => new Map(userIds.map((userId) => [userId, world.cursors ?? []])) },
    findWithdrawal: async () =>
      world.recalledAtMs === undefined
        ? undefined
        : { state: world.isReplaced ? "collapsed" : "recalled", atMs: world.recalledAtMs },
    find: async (serverMsgId) => {
      found.push(serverMsgId);
      return world.isForgotten ? undefined : { serverMsgId, clientMsgId: "c", key: "k", sendTimeMs: now - 5_000 };
    },
    retentionMs: week,
  });
  return { watch, told, kept, found };
}

const stored = (change: { storedAtMs?: number; expiresAtMs?: number; serverMsgId?: string } = {}) => ({
  userId: "alice",
  sequence: 7,
  storedAtMs: now - 5_000,
  expiresAtMs: undefined,
  serverMsgId: "s",
  ...change,
});

const cursor = (deviceId: string, sequence: number, storedAtMs = now - 1_000): DeviceCursor => ({
  deviceId,
  sequence,
  storedAtMs,
});

describe("of a notification that nobody has reported", () => {
  test("a device's cursor past it says that it was delivered, and the first such device is told", async () => {
    const { watch, told, kept } = watchOver({
      cursors: [cursor("tablet", 9), cursor("phone", 7, now - 3_000), cursor("tv", 6, now - 4_000)],
    });
    await watch.begin([stored()]);
    const notification = { serverMsgId: "s", clientMsgId: "c", key: "k", sendTimeMs: now - 5_000 };
    expect(told).toEqual([{ notification, userId: "alice", state: "delivered", deviceId: "phone" }]);
    expect(kept).toEqual([]);
  });

  test("a recall says that it was recalled, also when a device has passed its place since", async () => {
    const { watch, told } = watchOver({ recalledAtMs: now - 60_000, cursors: [cursor("phone", 9, now - 1_000)] });
    await watch.begin([stored({ storedAtMs: now - 120_000 })]);
    expect(told).toMatchObject([{ state: "recalled" }]);
  });

  test("one that another has replaced says that it was collapsed", async () => {
    const { watch, told } = watchOver({ recalledAtMs: now - 60_000, isReplaced: true });
    await watch.begin([stored({ storedAtMs: now - 120_000 })]);
    expect(told).toMatchObject([{ state: "collapsed" }]);
  });

  test("an acknowledgement before the recall says that it was delivered", async () => {
    const { watch, told } = watchOver({ recalledAtMs: now - 60_000, cursors: [cursor("phone", 7, now - 61_000)] });
    await watch.begin([stored({ storedAtMs: now - 120_000 })]);
    expect(told).toMatchObject([{ state: "delivered", deviceId: "phone" }]);
  });

  test("its ttl says that it has expired, though a device was told so by a gap and acknowledged that", async () => {
    const { watch, told } = watchOver({ cursors: [cursor("phone", 7, now - 1_000)] });
    await watch.begin([stored({ storedAtMs: now - 90_000, expiresAtMs: now - 30_000 })]);
    expect(told).toMatchObject([{ state: "expired", reason: "ttl" }]);
  });

  test("a cursor that was stored a moment after the expiry may be of before", async () => {
    const { watch, told } = watchOver({ cursors: [cursor("phone", 7, now - 28_500)] });
    await watch.begin([stored({ storedAtMs: now - 90_000, expiresAtMs: now - 30_000 })]);
    expect(told).toMatchObject([{ state: "delivered" }]);
  });

  test("the end of the retention says so, a minute before", async () => {
    const { watch, told, kept } = watchOver({});
    await watch.begin([stored({ storedAtMs: now - week + 60_001 })]);
    expect(told).toEqual([]);
    expect(kept[0]?.inMs).toBeLessThanOrEqual(1_000);
    vi.setSystemTime(now + 1_000);
    await watch.look(kept.map(({ one }) => one));
    expect(told).toMatchObject([{ state: "expired", reason: "retention" }]);
  });

  test("what has no record any more is told by its id", async () => {
    const { watch, told } = watchOver({ isForgotten: true, recalledAtMs: now });
    await watch.begin([stored()]);
    expect(told).toMatchObject([{ state: "recalled", notification: { serverMsgId: "s", key: "", clientMsgId: "" } }]);
  });
});

test("what is outstanding is looked at again at ages that triple, an hour apart at most, and at its end", async () => {
  const { watch, kept, told } = watchOver({});
  await watch.begin([stored({ expiresAtMs: now + 5 * hour })]);
  const pauses: number[] = [];
  while (told.length === 0) {
    const next = kept.shift();
    if (next === undefined) throw new Error("nobody looks after it any more");
    pauses.push(Math.round(next.inMs / 1_000));
    vi.setSystemTime(Date.now() + next.inMs);
    await watch.look([next.one]);
  }
  expect(pauses.slice(0, 6)).toEqual([10, 30, 90, 270, 810, 2_430]);
  expect(Math.max(...pauses)).toBe(3_600);
  expect(pauses.reduce((sum, pause) => sum + pause)).toBe((5 * hour) / 1_000);
  expect(told).toMatchObject([{ state: "expired", reason: "ttl" }]);
});

test("what is reported already costs no look at anything else", async () => {
  const { watch, told, kept, found } = watchOver({ settled: ["s"], cursors: [cursor("phone", 9)] });
  await watch.begin([stored(), stored({ serverMsgId: "other" })]);
  expect(found).toEqual(["other"]);
  expect(told).toMatchObject([{ notification: { serverMsgId: "other" } }]);
  expect(kept).toEqual([]);
});
