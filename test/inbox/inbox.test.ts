import { create } from "@bufbuild/protobuf";
import { pino } from "pino";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { type Broker, connectBroker } from "../../src/broker/connect.ts";
import { declare } from "../../src/broker/declare.ts";
import { createDirectGet } from "../../src/broker/reads/create-direct-get.ts";
import { type DirectGetRequest, readsOver } from "../../src/broker/reads/direct-get.ts";
import { toErrorFacts } from "../../src/errors.ts";
import { NotificationSchema } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { createInbox, type Inbox } from "../../src/inbox/inbox.ts";
import { inboxSpecs } from "../../src/inbox/layout.ts";
import type { InboxPage, ReadOptions, ReadWay } from "../../src/inbox/read-page.ts";
import { createPublisher } from "../../src/publishing/publish.ts";
import { openEpochs } from "../helpers/epochs.ts";
import { type ExternalBroker, startExternalBroker } from "../helpers/external-broker.ts";
import { readEntry } from "../helpers/frames.ts";

const dayMs = 86_400_000;
const shared: { server?: ExternalBroker; broker?: Broker } = {};
/** Of one partition, so that all users share a stream. */
let inbox: Inbox;
/** What the broker was asked for its reads. */
const asked: DirectGetRequest[] = [];

async function connectTo(server: ExternalBroker, maxStoreBytes: number): Promise<{ broker: Broker; inbox: Inbox }> {
  const broker = await connectBroker({
    servers: [server.url],
    requestTimeoutMs: 5_000,
    log: pino({ level: "silent" }),
  });
  await declare(broker, inboxSpecs({ partitions: 1, retentionMs: 30 * dayMs, maxStoreBytes }), 1);
  const publisher = createPublisher(broker, { sendTimeoutMs: 1_000, isFsynced: () => true });
  const { ask, close } = createDirectGet(broker, { timeoutMs: 1_000 });
  const directGet = readsOver((stream, request) => {
    asked.push(request);
    return ask(stream, request);
  }, close);
  return { broker, inbox: createInbox(broker, publisher, directGet, 1, openEpochs(broker)) };
}

beforeAll(async () => {
  shared.server = await startExternalBroker();
  const connected = await connectTo(shared.server, 500_000_000);
  shared.broker = connected.broker;
  inbox = connected.inbox;
});
afterAll(async () => {
  await shared.broker?.close();
  await shared.server?.remove();
});

let users = 0;
const newUser = () => `user-${++users}`;

const toItem = (data: string, sendTime = Date.now(), serverMsgId = `id of ${data.slice(0, 100)}`) =>
  ({
    kind: "notification",
    notification: create(NotificationSchema, { data, serverMsgId, sendTime: BigInt(sendTime), reliabilityLevel: 2 }),
  }) as const;

const write = (userId: string, data: string, { sendTime = Date.now(), expiresAtMs = 0, into = inbox } = {}) =>
  into.write(userId, toItem(data, sendTime), { operationId: "test", expiresAtMs: expiresAtMs || undefined });

const dataOf = ({ entries }: InboxPage) =>
  entries.map(readEntry).map((entry) => (entry.kind === "notification" ? entry.notification.data : entry.kind));

const readAll = (userId: string, options: Partial<ReadOptions> = {}) =>
  inbox.read(userId, { after: 0, limit: 1_000, ...options });

describe("a read", () => {
  test("finds what was written, in order, each with its sequence", async () => {
    const user = newUser();
    for (const data of ["1", "2", "3"]) await write(user, data);
    const page = await readAll(user);
    expect(dataOf(page)).toEqual(["1", "2", "3"]);
    expect(page.pending).toBe(0);
    const sequences = page.entries.map(({ sequence }) => sequence);
    expect(sequences).toEqual(sequences.toSorted((a, b) => a - b));
    expect(new Set(sequences).size).toBe(3);
    for (const entry of page.entries.map(readEntry)) {
      expect(entry.kind === "notification" && Number(entry.notification.sequence)).toBe(entry.sequence);
      expect(entry.expiresAtMs).toBeUndefined();
    }
  });

  test("begins after a sequence, ends at a limit, and tells how many follow", async () => {
    const user = newUser();
    for (const data of ["1", "2", "3", "4", "5"]) await write(user, data);
    const [first, , third] = (await readAll(user)).entries;
    const page = await readAll(user, { after: first?.sequence ?? 0, limit: 2 });
    expect(dataOf(page)).toEqual(["2", "3"]);
    expect(page.pending).toBe(2);
    // Not further than what is in hand: what follows is not known yet.
    expect(page.throughSequence).toBe(third?.sequence);
  });

  test("that finds everything knows the inbox up to the end of the stream", async () => {
    const [user, other] = [newUser(), newUser()];
    await write(user, "1");
    await write(other, "later");
    const page = await readAll(user);
    const [last] = (await readAll(other)).entries;
    expect(page.throughSequence).toBeGreaterThanOrEqual(last?.sequence ?? Infinity);
    expect(dataOf(await readAll(user, { after: page.throughSequence }))).toEqual([]);
  });

  test("of an empty inbox finds nothing", async () => {
    expect(await readAll(newUser())).toMatchObject({ entries: [], pending: 0 });
  });

  test("never finds another user's, whatever the ids look like", async () => {
    const ids = ["*", ">", "a", "a.b", "a.b.c", "a b", "日本", "x".repeat(300), "x".repeat(301), "A", "a*"];
    for (const id of ids) await write(id, `for ${id}`);
    for (const id of ids) expect(dataOf(await readAll(id))).toEqual([`for ${id}`]);
  });

  test("pages by size: a page ends at about 1 MiB, and the next goes on where it ended", async () => {
    const user = newUser();
    for (let i = 0; i < 6; i++) await write(user, `${i} `.padEnd(400_000, "."));
    const seen: string[] = [];
    for (let after = 0, pending = 1; pending > 0; ) {
      const page = await readAll(user, { after });
      expect(page.entries.length).toBeGreaterThan(0);
      expect(page.entries.length).toBeLessThan(5);
      seen.push(...dataOf(page).map((data) => data.slice(0, 1)));
      expect(page.pending).toBe(6 - seen.length);
      ({ throughSequence: after, pending } = page);
    }
    expect(seen).toEqual(["0", "1", "2", "3", "4", "5"]);
  });

  test("of more than 1,024 is complete, page by page", async () => {
    const user = newUser();
    await Promise.all(Array.from({ length: 1_100 }, (_, i) => write(user, String(i))));
    const seen: string[] = [];
    let last = 0;
    for (let after = 0, pending = 1, way: ReadWay = "index"; pending > 0; way = "along") {
      const page = await readAll(user, { after, limit: 200, way });
      expect(page.isLong).toBe(way === "index");
      for (const { sequence } of page.entries) {
        expect(sequence).toBeGreaterThan(last);
        last = sequence;
      }
      seen.push(...dataOf(page));
      ({ throughSequence: after, pending } = page);
    }
    expect(seen.toSorted()).toEqual(Array.from({ length: 1_100 }, (_, i) => String(i)).toSorted());
    await write(user, "newest");
    expect(dataOf(await readAll(user, { after: last }))).toEqual(["newest"]);
  });

  test("tells when a notification expires", async () => {
    const user = newUser();
    await write(user, "1", { expiresAtMs: 4_102_444_800_000 });
    expect((await readAll(user)).entries[0]?.expiresAtMs).toBe(4_102_444_800_000);
  });
});

describe("the ways to read", () => {
  const ways: readonly ReadWay[] = ["index", "along", "next"];

  /** All pages from a sequence on: the data of each, how many follow it, and up to where it is known. */
  async function pagesOf(user: string, way: ReadWay, limit: number, from = 0) {
    const pages: { readonly data: readonly string[]; readonly pending: number; readonly through: number }[] = [];
    for (let after = from, pending = 1; pending > 0; ) {
      const page = await readAll(user, { after, limit, way });
      ({ throughSequence: after, pending } = page);
      const last = page.entries.at(-1)?.sequence ?? 0;
      // By the index, an inbox that was read to its end is known up to that of the stream.
      pages.push({ data: dataOf(page), pending, through: pending === 0 ? Math.min(after, last) : after });
    }
    return pages;
  }

  /** Notifications of a user, with another's in between, and some that were withdrawn for good. */
  async function fill(count: number, sizeOf: (n: number) => number): Promise<string> {
    const [user, other] = [newUser(), newUser()];
    for (let first = 0; first < count; first += 50) {
      const batch = Array.from({ length: Math.min(50, count - first) }, (_, i) => first + i);
      await Promise.all(
        batch.flatMap((n) => [
          inbox.write(user, toItem(`${n} `.padEnd(sizeOf(n), "."), Date.now(), `n-${n}`), { operationId: "test" }),
          ...(n % 3 === 0 ? [write(other, String(n))] : []),
        ]),
      );
    }
    for (let n = 5; n < count; n += 37) await inbox.remove(await inbox.find([user], `n-${n}`));
    return user;
  }

  test.each([300, 1_150])("give the same pages of an inbox of %i", async (count) => {
    const user = await fill(count, () => 10);
    const whole = await readAll(user, { limit: 2_000 });
    const all = dataOf(whole);
    expect(all.length).toBe(count - Math.ceil((count - 5) / 37));
    // From the beginning by large pages, and the end by small ones.
    const places = [
      ...[100, 333].map((limit) => ({ limit, from: 0 })),
      ...[1, 2, 4, 5, 6].map((limit) => ({ limit, from: whole.entries.at(-14)?.sequence ?? 0 })),
    ];
    for (const { limit, from } of places) {
      const [indexed, ...others] = await Promise.all(ways.map((way) => pagesOf(user, way, limit, from)));
      for (const pages of others) expect(pages).toEqual(indexed);
      const seen = indexed?.flatMap(({ data }) => data) ?? [];
      expect(seen).toEqual(all.slice(all.length - seen.length));
      expect(seen.length).toBe(from === 0 ? all.length : 13);
    }
  });

  test("end a page with the notification that reaches its size", async () => {
    const large = [1, 4, 9, 10, 11, 12];
    const user = await fill(16, (n) => (large.includes(n) ? 100_000 : 30));
    for (const limit of [1, 2, 3, 5, 8, 100]) {
      const [indexed, ...others] = await Promise.all(ways.map((way) => pagesOf(user, way, limit)));
      for (const pages of others) expect(pages).toEqual(indexed);
      if (limit > 1 && limit <= 8) {
        for (const { data } of indexed ?? []) expect(data.slice(0, -1).join("").length).toBeLessThan(limit * 8_192);
      }
    }
  });

  test.each([0, 1, 3, 4, 5, 40])(
    "find all of %i that are new, one by one, and leave the index alone",
    async (count) => {
      const user = newUser();
      await write(user, "known");
      const { throughSequence: after } = await readAll(user);
      for (let n = 0; n < count; n++) await write(user, String(n));
      await write(newUser(), "another's");
      asked.length = 0;
      const page = await readAll(user, { after, limit: 16, way: "next" });
      const requests = asked.splice(0);
      const found = Math.min(count, 16);
      expect(dataOf(page)).toEqual(Array.from({ length: found }, (_, n) => String(n)));
      expect(page).toMatchObject({ pending: count - found, isLong: false });
      expect(page.throughSequence).toBe(page.entries.at(-1)?.sequence ?? after);
      const [single, batched] = [false, true].map((isPage) =>
        requests.filter(({ next_by_subj, batch }) => next_by_subj !== undefined && (batch !== undefined) === isPage),
      );
      expect(single).toHaveLength(Math.min(count + 1, 4));
      expect(batched).toHaveLength(count < 4 ? 0 : 1);
      const filters = requests.flatMap(({ multi_last = [] }) => multi_last);
      expect(filters.filter((filter) => filter.startsWith("inbox."))).toEqual([]);
    },
  );
});

describe("a read by one who knows everything up to a moment", () => {
  test("finds what came since", async () => {
    const user = newUser();
    await write(user, "old");
    const known = await readAll(user);
    const knownUntilMs = Date.now();
    await write(user, "new");
    expect(dataOf(await readAll(user, { after: known.throughSequence, knownUntilMs }))).toEqual(["new"]);
  });

  test("finds what came since over several days", async () => {
    const user = newUser();
    await write(user, "yesterday", { sendTime: Date.now() - dayMs });
    await write(user, "today");
    const page = await readAll(user, { knownUntilMs: Date.now() - dayMs });
    expect(dataOf(page)).toEqual(["yesterday", "today"]);
  });

  test("does not pass over one that was accepted days ago and stored just now", async () => {
    // A send that failed after its client message id had been recorded, and was tried again days later: it is stored
    // now, under the day of the first try.
    const user = newUser();
    await write(user, "old");
    const known = await readAll(user);
    const knownUntilMs = Date.now();
    await write(user, "retried", { sendTime: Date.now() - 3 * dayMs });
    const stored = await inbox.newestSequence(user);
    const page = await readAll(user, { after: known.throughSequence, knownUntilMs });
    const isInHand = dataOf(page).includes("retried") || page.throughSequence < stored;
    expect(isInHand, `known through ${page.throughSequence} without the notification at ${stored}`).toBe(true);
  });
});

describe("a write", () => {
  test("that is repeated changes nothing", async () => {
    const user = newUser();
    const item = toItem("once");
    await inbox.write(user, item, { operationId: "1" });
    await inbox.write(user, item, { operationId: "2" });
    await Promise.all(Array.from({ length: 50 }, () => inbox.write(user, item, { operationId: "3" })));
    expect(dataOf(await readAll(user))).toEqual(["once"]);
  });

  test("to a full store fails with 90101, and a repeated one of what is there does not", async () => {
    const server = await startExternalBroker();
    try {
      const small = await connectTo(server, 1_048_576);
      const first = toItem("x".repeat(500_000), Date.now(), "first");
      await small.inbox.write("alice", first, { operationId: "test" });
      const second = toItem("y".repeat(600_000), Date.now(), "second");
      const refused = small.inbox.write("alice", second, { operationId: "test" });
      expect(await refused.catch(toErrorFacts)).toMatchObject({ errCode: 90101 });
      await small.inbox.write("alice", first, { operationId: "test" });
      expect((await small.inbox.read("alice", { after: 0, limit: 10 })).entries).toHaveLength(1);
      await small.broker.close();
    } finally {
      await server.remove();
    }
  });

  test("and a read fail with 90004 while the broker is away", async () => {
    const server = await startExternalBroker();
    try {
      const away = await connectTo(server, 1_048_576);
      await server.pause();
      expect(await write("alice", "1", { into: away.inbox }).catch(toErrorFacts)).toMatchObject({ errCode: 90004 });
      const reading = away.inbox.read("alice", { after: 0, limit: 1 });
      expect(await reading.catch(toErrorFacts)).toMatchObject({ errCode: 90004 });
      const newest = away.inbox.newestSequence("alice");
      expect(await newest.catch(toErrorFacts)).toMatchObject({ errCode: 90004 });
      const assigned = away.inbox.isAssigned("alice", 5);
      expect(await assigned.catch(toErrorFacts)).toMatchObject({ errCode: 90004 });
      await away.broker.nc.close();
    } finally {
      await server.remove();
    }
  });
});

test("the newest sequence of a user is that of the last notification, 0 without any", async () => {
  const [user, other] = [newUser(), newUser()];
  expect(await inbox.newestSequence(user)).toBe(0);
  await write(user, "1");
  await write(user, "2");
  await write(other, "later");
  expect(await inbox.newestSequence(user)).toBe((await readAll(user)).entries[1]?.sequence);
});

test("a sequence is assigned up to the newest, also when another instance wrote it", async () => {
  const { server } = shared;
  if (server === undefined) throw new Error("no broker");
  const user = newUser();
  const other = await connectTo(server, 500_000_000);
  await write(user, "1", { into: other.inbox });
  const newest = await other.inbox.newestSequence(user);
  await other.broker.close();
  expect(await inbox.isAssigned(user, newest)).toBe(true);
  expect(await inbox.isAssigned(user, newest + 1)).toBe(false);
  await write(user, "2");
  expect(await inbox.isAssigned(user, newest + 1)).toBe(true);
});

describe("an item that is written late", () => {
  const reads = async (userId: string, after: number) => {
    const page = await inbox.read(userId, { after, limit: 100, knownUntilMs: Date.now() });
    return page.entries
      .map(readEntry)
      .map((entry) => (entry.kind === "notification" ? entry.notification.data : entry.kind));
  };

  test("is found by one who has read everything up to now, whatever day it is of", async () => {
    const alice = newUser();
    await inbox.write(alice, toItem("before midnight", Date.now() - 2 * dayMs), { operationId: "late" });
    expect(await reads(alice, 0)).toEqual(["before midnight"]);
  });

  test("is not written again when it was written in time", async () => {
    const alice = newUser();
    const item = toItem("once", Date.now());
    await inbox.write(alice, item, { operationId: "in time" });
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + dayMs });
    try {
      await inbox.write(alice, item, { operationId: "late" });
      await inbox.writeMany([alice, newUser()], item, { operationId: "late" });
    } finally {
      vi.useRealTimers();
    }
    expect((await inbox.read(alice, { after: 0, limit: 100 })).entries).toHaveLength(1);
    expect((await inbox.find([alice], item.notification.serverMsgId)).size).toBe(1);
  });
});
