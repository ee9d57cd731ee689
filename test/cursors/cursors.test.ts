import { type Logger, pino } from "pino";
import { afterEach, describe, expect, test, vi } from "vitest";
import { connectBroker } from "../../src/broker/connect.ts";
import { declare } from "../../src/broker/declare.ts";
import { createDirectGet } from "../../src/broker/reads/create-direct-get.ts";
import { toToken } from "../../src/broker/subjects.ts";
import { createCursors } from "../../src/cursors/cursors.ts";
import type { CursorEpochs } from "../../src/cursors/device-cursors.ts";
import { cursorSpec, cursorStream, cursorSubject } from "../../src/cursors/layout.ts";
import { toErrorFacts } from "../../src/errors.ts";
import { inboxSpecs } from "../../src/inbox/layout.ts";
import type { Position } from "../../src/inbox/lineage.ts";
import { startBroker, type TestBroker, useBroker } from "../helpers/broker.ts";

const log = pino({ level: "silent" });
const server = useBroker();
const opened: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close();
});

/** A broker of the test's own, which ends after its instances. */
async function startOwn(): Promise<TestBroker> {
  const own = await startBroker();
  opened.push(() => own.remove());
  return own;
}

/** One instance's cursors. Acknowledgements are collected for longer than a test lasts, unless it says otherwise. */
async function openInstance(
  { of = server as TestBroker, coalesceMs = 3_600_000, afterRead = async () => {}, ...more } = {} as {
    of?: TestBroker;
    /** What happens while the answer to a read of one cursor is on its way. */
    afterRead?: () => Promise<void>;
    coalesceMs?: number;
    maxUnstored?: number;
    epochs?: CursorEpochs;
    log?: Logger;
  },
) {
  const { url, dial } = of;
  const broker = await connectBroker({ servers: [url], dial, requestTimeoutMs: 1_000, log });
  opened.push(() => broker.close());
  const directGet = createDirectGet(broker, { timeoutMs: 1_000 });
  await declare(
    broker,
    [...inboxSpecs({ partitions: 1, retentionMs: 3_600_000, maxStoreBytes: 10_000_000 }), cursorSpec(3_600_000)],
    1,
  );
  const last: typeof directGet.last = async (...args) => {
    const found = await directGet.last(...args);
    await afterRead();
    return found;
  };
  const cursors = createCursors(
    broker,
    { ...directGet, last },
    {
      coalesceMs,
      log,
      ...more,
    },
  );
  return { ...cursors, broker };
}

function catchFacts(call: () => unknown): unknown {
  try {
    return call();
  } catch (error) {
    return toErrorFacts(error);
  }
}

let users = 0;
const newUser = () => `user ${++users} of *.>`;

describe("a cursor", () => {
  test("of a device that never acknowledged is not there", async () => {
    expect(await (await openInstance()).read(newUser(), "phone")).toBeUndefined();
  });

  test("is known here at once, and elsewhere when it is flushed", async () => {
    const user = newUser();
    const [here, elsewhere] = [await openInstance(), await openInstance()];
    here.advance(user, "phone", 7);
    expect(await here.read(user, "phone")).toBe(7);
    expect(await elsewhere.read(user, "phone")).toBeUndefined();
    await here.flush(user, "phone");
    expect(await elsewhere.read(user, "phone")).toBe(7);
  });

  test("that is stored while it is read is not the one before", async () => {
    const user = newUser();
    const writer = await openInstance();
    writer.advance(user, "phone", 7);
    await writer.flush(user, "phone");
    let isRead = false;
    const here = await openInstance({
      async afterRead() {
        if (isRead) return;
        isRead = true;
        await here.flush(user, "phone");
      },
    });
    here.advance(user, "phone", 9);
    expect(await here.read(user, "phone")).toBe(9);
  });

  test("is stored by itself after a while", async () => {
    const user = newUser();
    const [here, elsewhere] = [await openInstance({ coalesceMs: 20 }), await openInstance()];
    here.advance(user, "phone", 7);
    await vi.waitFor(async () => expect(await elsewhere.read(user, "phone")).toBe(7));
  });

  test("is stored when the instance stops", async () => {
    const user = newUser();
    const [here, elsewhere] = [await openInstance(), await openInstance()];
    for (const device of ["phone", "tablet", "x".repeat(256)]) here.advance(user, device, 7);
    await here.close();
    for (const device of ["phone", "tablet", "x".repeat(256)]) expect(await elsewhere.read(user, device)).toBe(7);
  });

  test("moves forward only", async () => {
    const user = newUser();
    const [here, elsewhere] = [await openInstance(), await openInstance()];
    expect(here.advance(user, "phone", 7)).toBe(7);
    expect(here.advance(user, "phone", 5)).toBe(7);
    expect(await here.read(user, "phone")).toBe(7);
    await here.flush(user, "phone");
    expect(here.advance(user, "phone", 6)).toBe(7);
    await here.flush(user, "phone");
    expect(await elsewhere.read(user, "phone")).toBe(7);
    expect(await here.read(user, "phone")).toBe(7);
  });

  test("does not go back when 100,000 other devices have moved since", async () => {
    const user = newUser();
    const [here, elsewhere] = [await openInstance(), await openInstance()];
    here.advance(user, "phone", 100);
    for (let i = 0; i < 100_000; i++) here.advance(`other ${i}`, "phone", 1);
    expect(here.advance(user, "phone", 50)).toBe(100);
    await here.flush(user, "phone");
    expect(await elsewhere.read(user, "phone")).toBe(100);
    // Not what the test is about, and a hundred thousand writes.
    await here.broker.close();
  });

  test("that another instance moved further is not lowered", async () => {
    const user = newUser();
    const [here, elsewhere] = [await openInstance(), await openInstance()];
    elsewhere.advance(user, "phone", 9);
    await elsewhere.flush(user, "phone");
    here.advance(user, "phone", 7);
    await here.flush(user, "phone");
    expect(await elsewhere.read(user, "phone")).toBe(9);
    expect(await here.read(user, "phone")).toBe(9);
  });

  test("ends at the highest when instances store it at the same moment", async () => {
    const instances = [await openInstance(), await openInstance(), await openInstance()];
    for (let round = 1; round <= 20; round++) {
      const user = newUser();
      // The first writes of all create it, the second update it.
      for (const base of [10, 20]) {
        instances.forEach((instance, i) => {
          instance.advance(user, "phone", base + i);
        });
        await Promise.all(instances.map((instance) => instance.flush(user, "phone")));
        for (const instance of instances) expect(await instance.read(user, "phone")).toBe(base + 2);
      }
    }
  });

  test("that moves while it is being stored is stored again by the same flush", async () => {
    const user = newUser();
    const [here, elsewhere] = [await openInstance(), await openInstance()];
    here.advance(user, "phone", 1);
    const flushing = here.flush(user, "phone");
    here.advance(user, "phone", 2);
    await flushing;
    expect(await elsewhere.read(user, "phone")).toBe(2);
  });

  test("is of one user and device", async () => {
    const { advance, read } = await openInstance();
    const user = newUser();
    advance(user, "phone", 7);
    expect(await read(user, "tablet")).toBeUndefined();
    expect(await read(`${user}.phone`, "phone")).toBeUndefined();
    expect(await read("*", "*")).toBeUndefined();
    expect(await read(user, "*")).toBeUndefined();
    expect(await read(">", ">")).toBeUndefined();
  });
});

test("many cursors are stored together, but for those that are new or that another instance moved meanwhile", async () => {
  const [here, elsewhere] = [await openInstance(), await openInstance()];
  const known = Array.from({ length: 40 }, newUser);
  const [first = "", overtaken = ""] = known;
  for (const user of known) here.advance(user, "phone", 1);
  for (const user of known) await here.flush(user, "phone");
  const fresh = newUser();
  for (const user of [...known, fresh]) here.advance(user, "phone", 2);
  elsewhere.advance(overtaken, "phone", 9);
  await elsewhere.flush(overtaken, "phone");
  await here.close();
  const stored = await Promise.all([...known, fresh].map((user) => elsewhere.read(user, "phone")));
  expect(stored).toEqual([...known, fresh].map((user) => (user === overtaken ? 9 : 2)));
  const subject = cursorSubject(toToken(first), toToken("phone"));
  const message = await elsewhere.broker.jsm.streams.getMessage(cursorStream, { last_by_subj: subject });
  expect(message?.header.get("Nats-Batch-Id")).not.toBe("");
});

test("cursors that cannot be stored together are stored one by one", async () => {
  const [here, elsewhere] = [await openInstance(), await openInstance()];
  const known = Array.from({ length: 20 }, newUser);
  for (const user of known) here.advance(user, "phone", 1);
  for (const user of known) await here.flush(user, "phone");
  for (const user of known) here.advance(user, "phone", 2);
  const [overtaken = ""] = known;
  elsewhere.advance(overtaken, "phone", 9);
  const { ask } = here.broker;
  // Between the read and the batch.
  const asking = vi.spyOn(here.broker, "ask").mockImplementationOnce(async (...asked) => {
    await elsewhere.flush(overtaken, "phone");
    return ask(...asked);
  });
  await here.close();
  expect(asking).toHaveBeenCalledTimes(known.length);
  const stored = await Promise.all(known.map((user) => elsewhere.read(user, "phone")));
  expect(stored).toEqual(known.map((user) => (user === overtaken ? 9 : 2)));
});

test("the cursors of all devices of users are found, and of nobody else", async () => {
  const { advance, close, ...here } = await openInstance();
  const [alice, bob, nobody] = [newUser(), newUser(), newUser()];
  advance(alice, "phone", 7);
  advance(alice, "日本", 9);
  advance(bob, "phone", 5);
  const startedMs = Date.now();
  await Promise.all([here.flush(alice, "phone"), here.flush(alice, "日本"), here.flush(bob, "phone")]);
  const found = await here.ofUsers([alice, nobody]);
  expect([...found.keys()]).toEqual([alice]);
  const cursors = found.get(alice)?.toSorted((a, b) => a.sequence - b.sequence);
  expect(cursors).toMatchObject([
    { deviceId: "phone", sequence: 7 },
    { deviceId: "日本", sequence: 9 },
  ]);
  for (const { storedAtMs } of cursors ?? []) expect(Math.abs(storedAtMs - startedMs)).toBeLessThan(60_000);
  await close();
});

test("a cursor counts as far as the store holds its epoch, and moves on in the next one", async () => {
  const user = newUser();
  const ends = new Map([
    ["one", 30],
    ["two", Number.POSITIVE_INFINITY],
  ]);
  let replaced = false;
  const of = {
    refresh: async () => {},
    meet: async () => {},
    placeOf: (_: number, { epoch, sequence }: Position) =>
      replaced ? Math.min(sequence, ends.get(epoch) ?? 0) : sequence,
    replacements: () => 0,
  };
  const options = { epochs: { of, partitions: 1 } };
  const [here, elsewhere] = [await openInstance(options), await openInstance(options)];
  expect(here.advance(user, "phone", 40, "one")).toBe(40);
  here.advance(user, "watch", 20, "one");
  await Promise.all([here.flush(user, "phone"), here.flush(user, "watch")]);
  replaced = true;
  const sequences = async () =>
    (await elsewhere.ofUsers([user])).get(user)?.map(({ deviceId, sequence }) => [deviceId, sequence]);
  expect((await sequences())?.toSorted()).toEqual([
    ["phone", 30],
    ["watch", 20],
  ]);
  expect(await elsewhere.position(user, "phone")).toEqual({ epoch: "one", sequence: 40 });
  // What is known here is not taken for more than it is now, and what is stored there neither.
  expect(here.advance(user, "phone", 33, "two")).toBe(33);
  expect(here.advance(user, "phone", 39, "one")).toBe(33);
  await here.flush(user, "phone");
  expect(await elsewhere.position(user, "phone")).toEqual({ epoch: "two", sequence: 33 });
  expect(await elsewhere.read(user, "watch")).toBe(20);
});

describe("while the broker is away", () => {
  test("a cursor cannot be read, but moves, and is stored when it is back", async () => {
    const own = await startOwn();
    const here = await openInstance({ of: own, coalesceMs: 50 });
    process.kill(own.pid(), "SIGKILL");
    await vi.waitFor(() => expect(here.broker.isConnected()).toBe(false), { interval: 1 });
    here.advance("alice", "phone", 7);
    await here.flush("alice", "phone");
    const elsewhere = await openInstance({ of: own });
    await vi.waitFor(async () => expect(await elsewhere.read("alice", "phone")).toBe(7));
  });

  test("cursors that wait are bounded: of another device it is refused with 90004, and none is lost", async () => {
    const own = await startOwn();
    const here = await openInstance({ of: own, coalesceMs: 50, maxUnstored: 2 });
    process.kill(own.pid(), "SIGKILL");
    await vi.waitFor(() => expect(here.broker.isConnected()).toBe(false), { interval: 1 });
    here.advance("alice", "phone", 7);
    here.advance("bob", "phone", 7);
    expect(catchFacts(() => here.advance("carol", "phone", 7))).toMatchObject({ errCode: 90004 });
    expect(here.advance("alice", "phone", 8)).toBe(8);
    await vi.waitFor(() => here.advance("carol", "phone", 7));
    await vi.waitFor(async () => expect((await here.ofUsers(["alice", "bob", "carol"])).size).toBe(3));
  });

  test("the log says once that cursors are not stored, however many they are", async () => {
    const own = await startOwn();
    const lines: string[] = [];
    const told = pino({ level: "warn" }, { write: (line) => void lines.push(line) });
    const here = await openInstance({ of: own, log: told });
    await own.stop();
    for (const user of ["alice", "bob", "carol"]) here.advance(user, "phone", 7);
    await Promise.all(["alice", "bob", "carol"].map((user) => here.flush(user, "phone")));
    await here.flushAll();
    expect(lines.map((line) => JSON.parse(line))).toMatchObject([
      { msg: expect.stringContaining("cursors"), cursors: 3 },
    ]);
  });

  test("a read fails with 90004", async () => {
    const own = await startOwn();
    const here = await openInstance({ of: own });
    await own.stop();
    expect(await here.read("alice", "phone").catch(toErrorFacts)).toMatchObject({ errCode: 90004 });
  });
});
