import { create } from "@bufbuild/protobuf";
import { pino } from "pino";
import { afterEach, describe, expect, test, vi } from "vitest";
import { connectBroker } from "../../src/broker/connect.ts";
import { declare } from "../../src/broker/declare.ts";
import { createDirectGet } from "../../src/broker/reads/create-direct-get.ts";
import { failure, retryAfterMsOf, toErrorFacts } from "../../src/errors.ts";
import { NotificationSchema } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { createInbox, type Inbox } from "../../src/inbox/inbox.ts";
import { inboxSpecs } from "../../src/inbox/layout.ts";
import type { Place } from "../../src/inbox/places.ts";
import { liveSpecs } from "../../src/live/layout.ts";
import { createPushMemory } from "../../src/live/push-queue.ts";
import { createOpenSession } from "../../src/live/session-order.ts";
import { createLive, type Live } from "../../src/live/signals.ts";
import { createPublisher } from "../../src/publishing/publish.ts";
import { createAdmission } from "../../src/receiving/admission.ts";
import { createHub, type Hub } from "../../src/receiving/hub.ts";
import { createReplays } from "../../src/receiving/replays.ts";
import type { Session } from "../../src/receiving/session.ts";
import { createTimerWheel } from "../../src/timer-wheel.ts";
import { Traffic } from "../../src/traffic/traffic.ts";
import { useBroker } from "../helpers/broker.ts";
import { openEpochs } from "../helpers/epochs.ts";
import { eventsOf } from "../helpers/frames.ts";

const log = pino({ level: "silent" });
const server = useBroker();
const opened: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close();
});

let users = 0;
const newUser = () => `user-${++users}`;

/** The hub of one instance, on a connection of its own. */
async function openHub({
  maxSessions = 100,
  replays = createReplays(48),
  wrapLive = (live: Live) => live,
  wrapRead = (read: Inbox["read"]) => read,
} = {}) {
  const { url, dial } = server;
  const broker = await connectBroker({ servers: [url], dial, requestTimeoutMs: 2_000, log });
  opened.push(() => broker.close());
  await declare(
    broker,
    [...inboxSpecs({ partitions: 1, retentionMs: 3_600_000, maxStoreBytes: 100_000_000 }), ...liveSpecs],
    1,
  );
  const publisher = createPublisher(broker, { sendTimeoutMs: 2_000, isFsynced: () => true });
  const directGet = createDirectGet(broker, { timeoutMs: 2_000 });
  const inbox = createInbox(broker, publisher, directGet, 1, openEpochs(broker));
  const live = createLive(broker, { partitions: 1, timeoutMs: 2_000 });
  const hub = createHub({
    inbox: { ...inbox, read: wrapRead(inbox.read) },
    replays,
    live: wrapLive(live),
    openSession: await createOpenSession(broker, { partitions: 1, replicas: 1, timeoutMs: 2_000, log }),
    cursors: { read: async () => undefined, ofUsers: async () => new Map(), advance: () => 0, flush: async () => {} },
    groupPush: {
      join: () => ({
        refresh: async () => {},
        change() {},
        close() {},
        isHolding: () => false,
        follow: (pass) => pass(),
      }),
    },
    admission: createAdmission({ maxSessions, maxSessionsPerUser: 50, maxSessionsPerAddress: 0 }),
    pushMemory: createPushMemory(10_000_000),
    isBrokerAway: () => !broker.isConnected(),
    heartbeatMs: 60_000,
    timers: createTimerWheel(),
    onGap: () => {},
    traffic: new Traffic({ observe() {} }),
    log,
  });
  return { hub, inbox };
}

const beginning: Place = { epoch: "", sequence: 0, isStoreChanged: false };

interface OpenTestOptions {
  readonly deviceId?: string;
  readonly window?: number;
  readonly isRevoked?: () => boolean;
  readonly findPlace?: () => Promise<Place>;
}

const open = (hub: Hub, userId: string, options: OpenTestOptions = {}) =>
  hub.open({
    userId,
    deviceId: "phone",
    peer: "127.0.0.1",
    window: 10,
    isRevoked: () => false,
    findPlace: async () => beginning,
    ...options,
  });

/** What ends a session: the code of its error, or the case of its last event; pending while it lives. */
async function whenEnded(session: Session): Promise<number | string | undefined> {
  let last: string | undefined;
  try {
    for await (const { event } of eventsOf(session)) last = event.case;
    return last;
  } catch (error) {
    return toErrorFacts(error).errCode;
  }
}

const isPending = async (promise: Promise<unknown>) => {
  const pending = Symbol("pending");
  return (await Promise.race([promise, Promise.resolve(pending)])) === pending;
};

describe("sessions of one instance", () => {
  test("are counted, and refused with 1601 beyond the maximum, until one is closed", async () => {
    const { hub } = await openHub({ maxSessions: 2 });
    const alice = newUser();
    const first = await open(hub, alice, { deviceId: "phone" });
    await open(hub, alice, { deviceId: "tablet" });
    expect(hub.size()).toBe(2);
    expect(await open(hub, newUser()).catch(toErrorFacts)).toMatchObject({ errCode: 1601 });
    hub.close(alice, first);
    expect(hub.size()).toBe(1);
    await open(hub, newUser());
  });

  test("do not count when they could not be opened", async () => {
    const { hub } = await openHub({ maxSessions: 1 });
    const error = failure("NetworkError", "test");
    const opening = open(hub, newUser(), { findPlace: () => Promise.reject(error) });
    await expect(opening).rejects.toBe(error);
    expect(hub.size()).toBe(0);
    await open(hub, newUser());
  });

  test("replay in turn: one whose turn does not come in time is refused with 1601, and others get theirs", async () => {
    const held = Promise.withResolvers<void>();
    let reads = 0;
    const { hub } = await openHub({
      replays: createReplays(1, 50),
      wrapRead:
        (read) =>
        async (...asked) => {
          if (++reads === 1) await held.promise;
          return read(...asked);
        },
    });
    const [slow, refused, last] = [newUser(), newUser(), newUser()];
    const begun = eventsOf(await open(hub, slow))[Symbol.asyncIterator]();
    const ready = begun.next();
    await vi.waitFor(() => expect(reads).toBe(1));
    const refusal: unknown = await eventsOf(await open(hub, refused))
      .next()
      .catch((error: unknown) => error);
    expect(toErrorFacts(refusal)).toMatchObject({ errCode: 1601 });
    expect(retryAfterMsOf(refusal)).toBeGreaterThanOrEqual(1_000);
    expect(reads).toBe(1);
    expect(await isPending(ready)).toBe(true);
    held.resolve();
    expect((await ready).value?.event.case).toBe("ready");
    const session = eventsOf(await open(hub, last))[Symbol.asyncIterator]();
    expect((await session.next()).value?.event.case).toBe("ready");
  });

  test("begin anew for a user whose live signals could not be received at first", async () => {
    const subscribe = vi.fn<Live["subscribe"]>();
    const { hub } = await openHub({
      wrapLive(live) {
        const fail = () => {
          throw failure("NetworkError", "test");
        };
        subscribe.mockImplementationOnce(fail).mockImplementation(live.subscribe);
        return { ...live, subscribe };
      },
    });
    const alice = newUser();
    expect(await open(hub, alice).catch(toErrorFacts)).toMatchObject({ errCode: 90004 });
    expect(hub.size()).toBe(0);
    await open(hub, alice);
    expect(subscribe).toHaveBeenCalledTimes(2);
  });

  test("of one user share one subscription, which ends with the last of them", async () => {
    const stop = vi.fn();
    const subscribe = vi.fn<Live["subscribe"]>();
    const { hub } = await openHub({
      wrapLive(live) {
        subscribe.mockImplementation((...args) => {
          const subscription = live.subscribe(...args);
          return { stop: () => stop(subscription.stop()) };
        });
        return { ...live, subscribe };
      },
    });
    const alice = newUser();
    const sessions = await Promise.all(["phone", "tablet"].map((deviceId) => open(hub, alice, { deviceId })));
    expect(subscribe).toHaveBeenCalledOnce();
    for (const session of sessions) {
      expect(stop).not.toHaveBeenCalled();
      hub.close(alice, session);
    }
    expect(stop).toHaveBeenCalledOnce();
    await open(hub, alice);
    expect(subscribe).toHaveBeenCalledTimes(2);
  });

  test("read the store for the first time when they hear of what is stored", async () => {
    // Otherwise what is stored in between would be neither read nor heard of.
    const order: string[] = [];
    const { hub } = await openHub({
      wrapLive: (live) => ({
        ...live,
        subscribe(...args) {
          const subscription = live.subscribe(...args);
          order.push("heard");
          return subscription;
        },
      }),
    });
    await open(hub, newUser(), {
      async findPlace() {
        order.push("resumed");
        return beginning;
      },
    });
    expect(order).toEqual(["heard", "resumed"]);
  });
});

describe("a newer session of a device", () => {
  test("ends the older one with 1506, on its instance and on others", async () => {
    const [one, two] = [(await openHub()).hub, (await openHub()).hub];
    const alice = newUser();
    const first = whenEnded(await open(one, alice));
    const second = whenEnded(await open(one, alice));
    expect(await first).toBe(1506);
    const third = whenEnded(await open(two, alice));
    expect(await second).toBe(1506);
    expect(await isPending(third)).toBe(true);
  });

  test("leaves other devices and users alone", async () => {
    const { hub } = await openHub();
    const [alice, bob] = [newUser(), newUser()];
    const others = [open(hub, alice, { deviceId: "tablet" }), open(hub, bob)];
    const ends = (await Promise.all(others)).map(whenEnded);
    const older = whenEnded(await open(hub, alice));
    await open(hub, alice);
    expect(await older).toBe(1506);
    for (const end of ends) expect(await isPending(end)).toBe(true);
  });

  // By clocks and random ids, each ended the other about every second time.
  test.each([1, 2])(
    "is the only one that stays of two of the same moment, on %i instances, 200 times",
    async (count) => {
      vi.useFakeTimers({ toFake: ["Date"] });
      const hubs = [(await openHub({ maxSessions: 1_000 })).hub];
      if (count === 2) hubs.push((await openHub({ maxSessions: 1_000 })).hub);
      const [one, two = one] = hubs;
      const alive: Promise<unknown>[] = [];
      const play = async (): Promise<unknown[]> => {
        const alice = newUser();
        const sessions = await Promise.all([one, two].map((hub) => open(hub as Hub, alice)));
        const ends = sessions.map(whenEnded);
        const isFirst = Symbol("the first has ended");
        const first = await Promise.race([ends[0]?.then(() => isFirst), ends[1]]);
        const [ended, living] = first === isFirst ? ends : ends.toReversed();
        alive.push(living as Promise<unknown>);
        return [await ended, await isPending(living as Promise<unknown>)];
      };
      for (let i = 0; i < 200; i++) expect(await play()).toEqual([1506, true]);
      expect(await Promise.all(alive.map(isPending))).toEqual(Array(200).fill(true));
    },
  );

  test("keeps its place when the older one is closed afterwards", async () => {
    const { hub } = await openHub();
    const alice = newUser();
    const older = await open(hub, alice);
    const newer = await open(hub, alice);
    hub.close(alice, older);
    hub.drain();
    expect(await whenEnded(newer)).toBe("reconnect");
  });
});

describe("an acknowledgement", () => {
  const write = (inbox: Inbox, userId: string, data: string) =>
    inbox.write(
      userId,
      {
        kind: "notification",
        notification: create(NotificationSchema, { data, serverMsgId: data, sendTime: BigInt(Date.now()) }),
      },
      { operationId: "test" },
    );

  /** The data of the next notification; what a session says besides is skipped. */
  const nextData = async (events: ReturnType<typeof eventsOf>) => {
    for (;;) {
      const { value } = await events.next();
      if (value?.event.case === "notification") return value.event.value;
    }
  };

  test.each(["the same", "another"])("opens the window through %s instance", async (which) => {
    const [one, two] = [await openHub(), await openHub()];
    const alice = newUser();
    for (const data of ["1", "2"]) await write(one.inbox, alice, data);
    const events = eventsOf(await open(one.hub, alice, { window: 1 }));
    const first = await nextData(events);
    (which === "another" ? two : one).hub.acknowledge(alice, "phone", Number(first.sequence));
    expect((await nextData(events)).data).toBe("2");
  });

  test("opens the window also through an instance with a dead session of the device", async () => {
    const [one, two] = [await openHub(), await openHub()];
    const alice = newUser();
    for (const data of ["1", "2"]) await write(one.inbox, alice, data);
    // Its reader has taken one and is gone, and nobody has noticed yet.
    const first = await nextData(eventsOf(await open(one.hub, alice)));
    const events = eventsOf(await open(two.hub, alice, { window: 1 }));
    expect(await nextData(events)).toEqual(first);
    one.hub.acknowledge(alice, "phone", Number(first.sequence));
    expect((await nextData(events)).data).toBe("2");
  });
});

describe("the end of sessions", () => {
  test("by a revoked token is 1506, and only theirs", async () => {
    const { hub } = await openHub();
    const [alice, bob] = [newUser(), newUser()];
    let isRevoked = false;
    const revoked = whenEnded(await open(hub, alice, { isRevoked: () => isRevoked }));
    const others = [
      whenEnded(await open(hub, alice, { deviceId: "tablet" })),
      whenEnded(await open(hub, bob, { isRevoked: () => isRevoked })),
    ];
    hub.endRevoked(alice);
    expect(await isPending(revoked)).toBe(true);
    isRevoked = true;
    hub.endRevoked(alice);
    expect(await revoked).toBe(1506);
    for (const other of others) expect(await isPending(other)).toBe(true);
  });

  test("by a stop is a reconnect for each, and new ones are refused with 90103", async () => {
    const { hub } = await openHub();
    const ends = (await Promise.all([open(hub, newUser()), open(hub, newUser())])).map(whenEnded);
    const resuming = Promise.withResolvers<Place>();
    const late = open(hub, newUser(), { findPlace: () => resuming.promise });
    await vi.waitFor(() => expect(hub.size()).toBe(3));
    hub.drain();
    expect(await Promise.all(ends)).toEqual(["reconnect", "reconnect"]);
    expect(await open(hub, newUser()).catch(toErrorFacts)).toMatchObject({ errCode: 90103 });
    // Also one that was being opened when the stop began.
    resuming.resolve(beginning);
    expect(await late.catch(toErrorFacts)).toMatchObject({ errCode: 90103 });
  });

  test("by a stop tells each when to come back, and not all the same", async () => {
    const { hub } = await openHub({ maxSessions: 200 });
    const sessions = await Promise.all(Array.from({ length: 200 }, () => open(hub, newUser())));
    const told = sessions.map(async (session) => {
      const waits: number[] = [];
      for await (const { event } of eventsOf(session)) if (event.case === "reconnect") waits.push(event.value.afterMs);
      return waits;
    });
    hub.drain();
    const waits = (await Promise.all(told)).map(([afterMs, ...more]) => {
      expect(more).toEqual([]);
      return afterMs ?? Number.NaN;
    });
    // Each of 0.5 s, of which there are four.
    const parts = new Set(waits.map((afterMs) => Math.floor(afterMs / 500)));
    expect([...parts].sort()).toEqual([1, 2, 3, 4]);
    expect(new Set(waits).size).toBeGreaterThan(100);
  });
});
