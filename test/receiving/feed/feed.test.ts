import { enumToJson } from "@bufbuild/protobuf";
import fc from "fast-check";
import { afterEach, describe, expect, test, vi } from "vitest";
import { systemClock } from "../../../src/clock.ts";
import { failure } from "../../../src/errors.ts";
import { Gap_ReasonSchema } from "../../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { Feed } from "../../../src/receiving/feed/feed.ts";
import type { FeedItem } from "../../../src/receiving/feed/feed-item.ts";
import { createTimerWheel } from "../../../src/timer-wheel.ts";
import { dataIn } from "../../helpers/frames.ts";
import { fuzz } from "../../helpers/fuzz.ts";
import { createStore, type Store } from "../store.ts";

afterEach(() => {
  vi.useRealTimers();
});

function openFeed(store: Store, { resumeSequence = 0, oldestSequence = 0, isStoreChanged = false } = {}) {
  const onMore = vi.fn();
  const onStoreChanged = vi.fn();
  const { readCursors } = store;
  const timers = createTimerWheel();
  const source = {
    ...{ read: store.readInbox, oldestSequence: async () => oldestSequence, readCursors, timers },
    clock: systemClock,
  };
  const feed = new Feed({ epoch: "", sequence: resumeSequence, isStoreChanged }, source, {
    deviceId: "phone",
    onMore,
    onStoreChanged,
  });
  return { feed, onMore, onStoreChanged };
}

const describeItem = (item: FeedItem | undefined) => {
  if (item === undefined) return undefined;
  if (item.kind === "gap")
    return `gap ${item.from}-${item.sequence} ${String(enumToJson(Gap_ReasonSchema, item.reason)).replace("REASON_", "")}`;
  return item.kind === "notification" ? dataIn(item.frame) : item.kind;
};

/** Everything that the feed gives now, with reads of `limit`. */
async function drain(feed: Feed, limit = 100): Promise<(string | undefined)[]> {
  const taken: (string | undefined)[] = [];
  for (;;) {
    taken.push(...takeAll(feed));
    if (!feed.mayHaveMore()) return taken;
    await feed.load(limit);
  }
}

const numbers = (count: number) => Array.from({ length: count }, (_, i) => String(i));

function takeAll(feed: Feed): (string | undefined)[] {
  const taken: (string | undefined)[] = [];
  for (let item = feed.take(); item !== undefined; item = feed.take()) taken.push(describeItem(item));
  return taken;
}

/** A feed that reads the page after the one in memory, or cannot. */
async function openAhead({ count = 2_000, fails = false } = {}) {
  const store = createStore();
  for (const data of numbers(count)) store.add(data);
  const { feed } = openFeed(store);
  const taken: (string | undefined)[] = [];
  for (let page = 0; page < 3; page++) {
    await feed.load(1_000);
    taken.push(...takeAll(feed));
  }
  const loading = feed.load(1_000);
  while (store.reads.length < 5) await new Promise((resolve) => setImmediate(resolve));
  if (fails) store.failure = failure("NetworkError", "test");
  await loading;
  return { store, feed, taken };
}

describe("a feed", () => {
  test("gives what follows its start, in order, whatever the size of the reads", async () => {
    for (const limit of [1, 2, 3, 100]) {
      const store = createStore();
      for (const data of ["1", "2", "3", "4", "5"]) store.add(data, { skip: 2 });
      const { feed } = openFeed(store, { resumeSequence: 3 });
      expect(await drain(feed, limit)).toEqual(["2", "3", "4", "5"]);
      expect(feed.mayHaveMore()).toBe(false);
      expect(feed.latestSequence()).toBe(15);
    }
  });

  test("tells how many follow what was taken", async () => {
    const store = createStore();
    for (const data of ["1", "2", "3", "4", "5"]) store.add(data);
    const { feed } = openFeed(store);
    await feed.load(3);
    expect(feed.pending()).toBe(5);
    feed.take();
    expect(feed.pending()).toBe(4);
  });

  test("reads a small page first, and larger ones up to a limit while there are more, whatever it is asked for", async () => {
    const store = createStore();
    for (let i = 0; i < 500; i++) store.add(String(i));
    const { feed } = openFeed(store);
    expect((await drain(feed, 1_000)).length).toBe(500);
    expect(store.reads.map(({ limit }) => limit)).toEqual([16, 64, 256, 512]);
  });

  test("asks for everything when the clock was set back since it was at the end", async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    const store = createStore();
    store.add("1");
    const { feed } = openFeed(store);
    expect(await drain(feed)).toEqual(["1"]);
    const now = Date.now();
    feed.hint(store.add("2"));
    expect(await drain(feed)).toEqual(["2"]);
    vi.setSystemTime(now - 172_800_000);
    feed.hint(store.add("3"));
    expect(await drain(feed)).toEqual(["3"]);
    feed.hint(store.add("4"));
    expect(await drain(feed)).toEqual(["4"]);
    const knownUntil = store.reads.map(({ knownUntilMs }) => knownUntilMs);
    expect(knownUntil).toEqual([undefined, now, undefined, now - 172_800_000]);
  });

  test("reads on while a device that keeps up is sent one of the largest pages, and gives all in order", async () => {
    const { store, feed, taken } = await openAhead();
    expect(store.reads.map(({ limit }) => limit)).toEqual([16, 64, 256, 512, 512]);
    expect([...taken, ...(await drain(feed, 1_000))]).toEqual(numbers(2_000));
  });

  test("tells that it could not read on when it is asked for that, and reads it then", async () => {
    const { store, feed, taken } = await openAhead({ fails: true });
    taken.push(...takeAll(feed));
    await expect(feed.load(1_000)).rejects.toBe(store.failure);
    store.failure = undefined;
    expect([...taken, ...(await drain(feed, 1_000))]).toEqual(numbers(2_000));
  });

  test("looks again after it has read on when there was a hint meanwhile", async () => {
    const { store, feed, taken } = await openAhead({ count: 1_000 });
    feed.hint(store.add("1000"));
    expect([...taken, ...(await drain(feed, 1_000))]).toEqual(numbers(1_001));
    expect(feed.mayHaveMore()).toBe(false);
  });

  test("asks for everything at first, and for what is newer than a complete read afterwards", async () => {
    const store = createStore();
    for (const data of ["1", "2", "3"]) store.add(data);
    const { feed } = openFeed(store);
    const startedMs = Date.now();
    await drain(feed, 2);
    feed.reconcile();
    await drain(feed, 2);
    const known = store.reads.map(({ knownUntilMs }) => knownUntilMs);
    expect(known.slice(0, 2)).toEqual([undefined, undefined]);
    expect(known[2]).toBeGreaterThanOrEqual(startedMs);
    expect(known[2]).toBeLessThanOrEqual(Date.now());
  });

  test("of an inbox that is too long for the index reads along the stream, and one by one what comes then", async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    const store = createStore({ isLong: true });
    for (const data of numbers(150)) store.add(data);
    const { feed } = openFeed(store);
    const next = () => store.reads.splice(0).map(({ way }) => way);
    const come = (data: string) => {
      feed.hint(store.add(data, { skip: 3 }));
      return drain(feed);
    };
    expect(await drain(feed)).toEqual(numbers(150));
    expect(next()).toEqual(["index", "along", "along"]);
    // Now it could be few, since it asks for the last days only.
    expect(await come("first")).toEqual(["first"]);
    expect(next()).toEqual(["index"]);
    for (const data of ["second", "third"]) expect(await come(data)).toEqual([data]);
    feed.reconcile();
    expect(await drain(feed)).toEqual([]);
    expect(next()).toEqual(["next", "next", "next"]);
    const many = numbers(20);
    const [limit, last] = [15, many.map((data) => store.add(data)).at(-1) ?? 0];
    feed.hint(last);
    expect(await drain(feed, limit)).toEqual(many);
    expect(next()).toEqual(["next", "along"]);

    vi.setSystemTime(Date.now() + 599_999);
    expect(await come("in time")).toEqual(["in time"]);
    expect(next()).toEqual(["next"]);
    vi.setSystemTime(Date.now() + 1);
    expect(await come("10 minutes later")).toEqual(["10 minutes later"]);
    expect(await come("and then")).toEqual(["and then"]);
    expect(next()).toEqual(["index", "next"]);
    vi.setSystemTime(Date.now() - 172_800_000);
    expect(await come("the clock was set back")).toEqual(["the clock was set back"]);
    expect(next()).toEqual(["index"]);
  });

  test("of an inbox that is long only because of earlier days asks the index once it is up to date", async () => {
    const store = createStore();
    for (const data of numbers(150)) store.add(data);
    const early = createStore({ isLong: true });
    for (const data of numbers(150)) early.add(data);
    const { feed } = openFeed({
      ...store,
      readInbox: (request) => (request.knownUntilMs === undefined ? early : store).readInbox(request),
    });
    expect(await drain(feed)).toEqual(numbers(150));
    for (const data of ["new", "newer"]) {
      feed.hint(store.add(data));
      expect(await drain(feed)).toEqual([data]);
    }
    expect(early.reads.map(({ way }) => way)).toEqual(["index", "along", "along"]);
    expect(store.reads.map(({ way }) => way)).toEqual(["index", "index"]);
  });

  test.each([false, true])(
    "loses, repeats and reorders nothing, however sends, reads, failures and lost hints mix (too long for the index: %s)",
    async (isLong) => {
      const step = fc.oneof(
        fc.record({ kind: fc.constant("send" as const), skip: fc.nat(3), hinted: fc.boolean() }),
        fc.record({ kind: fc.constant("load" as const), limit: fc.integer({ min: 1, max: 4 }), fails: fc.boolean() }),
        fc.record({ kind: fc.constant("take" as const), count: fc.integer({ min: 1, max: 5 }) }),
        fc.record({ kind: fc.constant("reconcile" as const) }),
      );
      await fc.assert(
        fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
          const store = createStore({ isLong });
          const { feed } = openFeed(store);
          const sent: string[] = [];
          const taken: (string | undefined)[] = [];
          const take = () => {
            const item = feed.take();
            if (item !== undefined) taken.push(describeItem(item));
            return item;
          };
          let loading = Promise.resolve();
          for (const one of steps) {
            if (one.kind === "send") {
              sent.push(String(sent.length));
              const sequence = store.add(sent.at(-1) ?? "", { skip: one.skip });
              // A hint may come while a read is under way, or never.
              if (one.hinted) feed.hint(sequence);
            } else if (one.kind === "load") {
              await loading;
              // A page that is not used up is not replaced.
              while (take() !== undefined);
              store.failure = one.fails ? failure("NetworkError", "test") : undefined;
              loading = feed.load(one.limit).catch(() => {});
            } else if (one.kind === "take") {
              await loading;
              for (let i = 0; i < one.count; i++) take();
            } else {
              feed.reconcile();
            }
          }
          await loading;
          store.failure = undefined;
          feed.reconcile();
          expect([...taken, ...(await drain(feed, 3))]).toEqual(sent);
        }),
        fuzz(300),
      );
    },
  );
});

describe("a hint", () => {
  test("of something new asks for another read", async () => {
    const store = createStore();
    const { feed, onMore } = openFeed(store);
    await drain(feed);
    onMore.mockClear();
    feed.hint(store.add("1"));
    expect(onMore).toHaveBeenCalledOnce();
    expect(feed.mayHaveMore()).toBe(true);
    expect(await drain(feed)).toEqual(["1"]);
    expect(store.reads.at(-1)?.wanted).toBe(1);
  });

  test("of what is in hand, or older, does not", async () => {
    const store = createStore();
    store.add("1");
    store.add("2");
    const { feed, onMore } = openFeed(store);
    await feed.load(10);
    onMore.mockClear();
    feed.hint(1);
    feed.hint(2);
    expect(onMore).not.toHaveBeenCalled();
    expect(feed.mayHaveMore()).toBe(false);
  });

  test("that comes while a read is under way leads to another one", async () => {
    const store = createStore();
    const { feed } = openFeed(store);
    const loading = feed.load(10);
    feed.hint(7);
    await loading;
    expect(feed.mayHaveMore()).toBe(true);
  });

  test("of something that a lagging replica does not have yet is looked for again, a few times", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date", "performance"] });
    const store = createStore();
    const { feed } = openFeed(store);
    await drain(feed);
    feed.hint(1);
    expect(await drain(feed)).toEqual([]);
    for (const ms of [5, 20]) {
      await vi.advanceTimersByTimeAsync(ms);
      expect(feed.mayHaveMore()).toBe(true);
      expect(await drain(feed)).toEqual([]);
    }
    store.add("1");
    await vi.advanceTimersByTimeAsync(80);
    expect(await drain(feed)).toEqual(["1"]);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(feed.mayHaveMore()).toBe(false);
  });

  test("of something that a replica has only after seconds, as one that was restarted, needs no reconciliation", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date", "performance"] });
    const store = createStore();
    const { feed } = openFeed(store);
    await drain(feed);
    feed.hint(1);
    for (let waitedMs = 0; waitedMs < 3_000; waitedMs += 500) {
      if (feed.mayHaveMore()) expect(await drain(feed)).toEqual([]);
      await vi.advanceTimersByTimeAsync(500);
    }
    store.add("1");
    await vi.advanceTimersByTimeAsync(4_000);
    expect(feed.mayHaveMore()).toBe(true);
    expect(await drain(feed)).toEqual(["1"]);
  });

  test("of something that never comes is given up, until the next reconciliation", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date", "performance"] });
    const store = createStore();
    const { feed } = openFeed(store);
    await drain(feed);
    feed.hint(1);
    for (let i = 0; i < 10; i++) {
      await drain(feed);
      await vi.advanceTimersByTimeAsync(1_000);
    }
    expect(store.reads.length).toBeLessThan(11);
    feed.reconcile();
    expect(feed.mayHaveMore()).toBe(true);
  });
});

test("a read that fails leaves the feed where it was, to be read again", async () => {
  const store = createStore();
  store.add("1");
  const { feed } = openFeed(store);
  store.failure = failure("NetworkError", "test");
  await expect(feed.load(10)).rejects.toBe(store.failure);
  expect(feed.mayHaveMore()).toBe(true);
  store.failure = undefined;
  expect(await drain(feed)).toEqual(["1"]);
});

describe("expired notifications", () => {
  test("are told as one gap for each run of them", async () => {
    const store = createStore();
    const past = Date.now() - 1;
    store.add("1");
    store.add("expired", { expiresAtMs: past, skip: 1 });
    store.add("expired", { expiresAtMs: past, skip: 1 });
    store.add("2", { expiresAtMs: Date.now() + 60_000 });
    store.add("expired", { expiresAtMs: past });
    const { feed } = openFeed(store);
    expect(await drain(feed)).toEqual(["1", "gap 3-5 EXPIRED", "2", "gap 7-7 EXPIRED"]);
  });

  test("that expire while they wait are told as a gap, too", async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    const store = createStore();
    store.add("1", { expiresAtMs: Date.now() + 1_000 });
    const { feed } = openFeed(store);
    await feed.load(10);
    vi.setSystemTime(Date.now() + 1_000);
    expect(await drain(feed)).toEqual(["gap 1-1 EXPIRED"]);
  });
});

describe("what the retention has removed", () => {
  test("is told as a gap before what is left", async () => {
    const store = createStore();
    store.add("left", { skip: 9 });
    const { feed } = openFeed(store, { resumeSequence: 3, oldestSequence: 8 });
    expect(await drain(feed)).toEqual(["gap 4-7 RETENTION", "left"]);
  });

  test("is told as a gap also when nothing is left", async () => {
    const store = createStore();
    const { feed } = openFeed(store, { resumeSequence: 3, oldestSequence: 8 });
    expect(await drain(feed)).toEqual(["gap 4-7 RETENTION"]);
    expect(feed.latestSequence()).toBe(7);
  });

  test("is nothing when the cursor is not older than the oldest notification", async () => {
    const store = createStore();
    store.add("next", { skip: 7 });
    expect(await drain(openFeed(store, { resumeSequence: 7, oldestSequence: 8 }).feed)).toEqual(["next"]);
  });

  test("is nothing to a device that begins at the beginning", async () => {
    const store = createStore();
    store.add("oldest", { skip: 7 });
    expect(await drain(openFeed(store, { oldestSequence: 8 }).feed)).toEqual(["oldest"]);
  });

  test("while the page was being read is not passed over", async () => {
    // The notification is in the page, and gone from the store when the store is asked for its oldest.
    const store = createStore();
    store.add("in hand", { skip: 4 });
    store.add("next", { skip: 4 });
    const { feed } = openFeed(store, { resumeSequence: 3, oldestSequence: 10 });
    expect(await drain(feed)).toEqual(["gap 4-4 RETENTION", "in hand", "next"]);
  });
});

describe("a store that was replaced", () => {
  test("is told of before anything else, where the device continues", async () => {
    const store = createStore();
    store.add("before", { skip: 2 });
    store.add("after");
    const { feed } = openFeed(store, { resumeSequence: 3, isStoreChanged: true });
    expect(await drain(feed)).toEqual(["gap 3-3 STORE_CHANGED", "after"]);
  });

  test("is not told of by a gap that nobody could acknowledge", async () => {
    const store = createStore();
    store.add("first");
    const { feed } = openFeed(store, { resumeSequence: 0, isStoreChanged: true });
    expect(await drain(feed)).toEqual(["first"]);
  });

  test("ends the feed that finds it so, with nothing taken from it", async () => {
    const store = createStore();
    store.add("1");
    const { feed, onStoreChanged } = openFeed({
      ...store,
      readInbox: async (request) => ({ ...(await store.readInbox(request)), isStoreChanged: true }),
    });
    await feed.load(10);
    expect(onStoreChanged).toHaveBeenCalledOnce();
    expect(feed.take()).toBeUndefined();
    expect(feed.mayHaveMore()).toBe(false);
  });
});

test("what is for other devices is passed over, also where all of a page is", async () => {
  const store = createStore();
  for (let i = 0; i < 40; i++) store.add(`tablet ${i}`, { devices: { recvDeviceId: "tablet", exceptDeviceId: "" } });
  store.add("not phone", { devices: { recvDeviceId: "", exceptDeviceId: "phone" }, expiresAtMs: 1 });
  store.add("expired", { expiresAtMs: 1 });
  const last = store.add("phone", { devices: { recvDeviceId: "phone", exceptDeviceId: "" } });
  const { feed } = openFeed(store);
  const taken: unknown[] = [];
  while (feed.mayHaveMore()) {
    await feed.load(64);
    for (let item = feed.take(); item !== undefined; item = feed.take()) taken.push(describeItem(item));
  }
  expect(taken).toEqual([`gap ${last - 1}-${last - 1} EXPIRED`, "phone"]);
  expect(feed.position().sequence).toBe(last);
});
