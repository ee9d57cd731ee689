import { pino } from "pino";
import { afterEach, describe, expect, test } from "vitest";
import { connectBroker } from "../../src/broker/connect.ts";
import { declare } from "../../src/broker/declare.ts";
import { createDirectGet } from "../../src/broker/reads/create-direct-get.ts";
import { createPublisher } from "../../src/publishing/publish.ts";
import { reportingSpecs } from "../../src/reporting/layout.ts";
import { createReportLooks, type Outstanding } from "../../src/reporting/looks.ts";
import { createReportPages } from "../../src/reporting/page.ts";
import { createReports, type Finding } from "../../src/reporting/reports.ts";
import { useBroker } from "../helpers/broker.ts";

const server = useBroker();
const log = pino({ level: "silent" });
const closers: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});

/** Reports on streams of the test's own. */
async function open({ maxBytes = 50_000_000 } = {}) {
  const broker = await connectBroker({ servers: [server.url], dial: server.dial, requestTimeoutMs: 5_000, log });
  const specs = reportingSpecs({ retentionMs: 3_600_000, maxBytes });
  await declare(broker, specs, 1);
  const publisher = createPublisher(broker, { sendTimeoutMs: 5_000, isFsynced: () => true });
  const get = createDirectGet(broker, { timeoutMs: 5_000 });
  closers.push(async () => {
    for (const { name } of specs) await broker.jsm.streams.delete(name);
    get.close();
    await broker.close();
  });
  const reports = createReports(publisher, get, 2);
  return { broker, reports, pages: createReportPages(broker, get), looks: createReportLooks(broker, publisher, log) };
}

const finding = (userId: string, change: Partial<Finding> = {}): Finding => ({
  notification: { serverMsgId: "0123", clientMsgId: "order 77", key: "paid", sendTimeMs: 1_700_000_000_000 },
  userId,
  state: "delivered",
  ...change,
});

describe("a report", () => {
  test("is told once for a recipient and a state, by however many at the same moment", async () => {
    const { reports, pages } = await open();
    await reports.tell(Array.from({ length: 100 }, (_, i) => finding("ann", { deviceId: `device ${i}` })));
    await reports.tell([finding("ann"), finding("ann", { state: "escalated" }), finding("bob")]);
    const { reports: told, gap } = await pages.read(0, 1_000);
    expect(told.map(({ userId, state }) => [userId, state])).toEqual(
      expect.arrayContaining([
        ["ann", 1],
        ["ann", 4],
        ["bob", 1],
      ]),
    );
    expect(told).toHaveLength(3);
    expect(told.map(({ sequence }) => sequence)).toEqual([1n, 2n, 3n]);
    expect(gap).toBeUndefined();
    expect(reports.counts).toEqual({ delivered: 2, escalated: 1, expired: 0, recalled: 0, collapsed: 0 });
  });

  test("settles its notification for its recipient, unless another is to follow", async () => {
    const { reports } = await open();
    const users = Array.from({ length: 600 }, (_, i) => `user ${i}`);
    await reports.tell(
      users.filter((_, i) => i % 3 > 0).map((userId, i) => finding(userId, { state: i % 2 ? "expired" : "recalled" })),
    );
    await reports.tell(users.filter((_, i) => i % 3 === 0).map((userId) => finding(userId, { state: "escalated" })));
    const settled = await reports.settled(users.map((userId) => ({ userId, serverMsgId: "0123" })));
    expect([...settled].toSorted((a, b) => a - b)).toEqual(users.flatMap((_, i) => (i % 3 > 0 ? [i] : [])));
    expect(await reports.settled([{ userId: "user 1", serverMsgId: "another" }])).toEqual(new Set());
  });
});

test("the oldest make room, nothing is refused, and what is lost is told", async () => {
  const { reports, pages } = await open({ maxBytes: 20_000 });
  for (let i = 0; i < 10; i++) {
    await reports.tell(Array.from({ length: 50 }, (_, j) => finding(`user ${i} ${j}`)));
  }
  const page = await pages.read(3, 10);
  const first = Number(page.reports[0]?.sequence);
  expect(first).toBeGreaterThan(400);
  expect(page.gap).toEqual({ from: 4, to: first - 1 });
  expect(page.through).toBe(first + 9);
  expect(page.pending).toBe(500 - page.through);
  // Who begins with the oldest misses nothing.
  expect((await pages.open(0, 1)).gap).toBeUndefined();
  expect(await pages.newest()).toBe(500);
  const last = await pages.open(500, 10);
  expect(last).toEqual({ reports: [], gap: undefined, through: 500, pending: 0 });
});

test("a place of a store that was replaced is told, and what is there is read from the beginning", async () => {
  const { reports, pages } = await open();
  await reports.tell([finding("ann"), finding("bob")]);
  const page = await pages.open(77, 10);
  expect(page.gap).toEqual({ from: 78, to: 0 });
  // What JSON can say exactly ends here.
  const furthest = await pages.open(Number.MAX_SAFE_INTEGER, 10);
  expect(furthest.gap).toEqual({ from: Number.MAX_SAFE_INTEGER, to: 0 });
  expect(page.reports.map(({ userId }) => userId)).toHaveLength(2);
});

test("what is to be looked at again comes at its time, whole, and until it was looked at", async () => {
  const { looks } = await open();
  const outstanding = Array.from(
    { length: 450 },
    (_, i): Outstanding => ({
      userId: `日本 ${i}`,
      sequence: i + 1,
      storedAtMs: 1_700_000_000_000,
      expiresAtMs: i % 2 === 0 ? undefined : 1_800_000_000_000,
      devices: i % 3 === 0 ? { recvDeviceId: "phone", exceptDeviceId: "" } : undefined,
      notification: finding("").notification,
    }),
  );
  const seen: Outstanding[] = [];
  let failures = 1;
  const stop = await looks.consume(async (some) => {
    if (failures-- > 0) throw new Error("the broker is away");
    seen.push(...some);
  });
  await looks.add(outstanding, Date.now() + 1_000);
  await expect.poll(() => seen.length).toBe(450);
  await stop();
  expect(seen.toSorted((a, b) => a.sequence - b.sequence)).toEqual(outstanding);
});
