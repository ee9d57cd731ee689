import { create, toBinary } from "@bufbuild/protobuf";
import { afterEach, describe, expect, test, vi } from "vitest";
import { failure } from "../../src/errors.ts";
import {
  NotificationSchema,
  ReconnectSchema,
  type SubscribeResponse,
} from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { createPushMemory, toPush } from "../../src/live/push-queue.ts";
import { Session } from "../../src/receiving/session.ts";
import { dataIn, eventsOf } from "../helpers/frames.ts";
import { createStore, homeOf } from "./store.ts";

const sessions: Session[] = [];
afterEach(() => {
  vi.useRealTimers();
  for (const session of sessions.splice(0)) session.end({});
});

/** A session on a store, whose heartbeat comes when 20 ms have been idle, and its reader. */
function openSession({
  window = 64,
  heartbeatMs = 20,
  resumeSequence = 0,
  store = createStore(),
  readCursor = async (): Promise<number | undefined> => undefined,
  isBrokerAway = (): boolean => false,
  pushMemory = createPushMemory(10_000_000),
} = {}) {
  const home = { ...homeOf(store, heartbeatMs), readCursor, isBrokerAway };
  const session = new Session({ home, deviceId: "phone", window, pushes: pushMemory.openQueue() });
  session.begin({ epoch: "", sequence: resumeSequence, isStoreChanged: false });
  sessions.push(session);
  const events = eventsOf(session);
  const next = async (): Promise<SubscribeResponse["event"] | undefined> => {
    const { done, value } = await events.next();
    return done === true ? undefined : value.event;
  };
  return {
    session,
    store,
    next,
    /** What comes next, as text: the data of notifications, else the case of the event. */
    async read(count: number): Promise<(string | undefined)[]> {
      const texts: (string | undefined)[] = [];
      while (texts.length < count) {
        const event = await next();
        texts.push(event?.case === "notification" ? event.value.data : event?.case);
      }
      return texts;
    },
  };
}

const push = (data: string) =>
  toPush(toBinary(NotificationSchema, create(NotificationSchema, { data, reliabilityLevel: 1 })));
const numbers = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => String(from + i));

describe("a session", () => {
  test("begins with ready, which tells where it continues and how much follows", async () => {
    const store = createStore();
    for (const data of numbers(1, 5)) store.add(data);
    const { next } = openSession({ store, resumeSequence: 2 });
    expect(await next()).toMatchObject({
      case: "ready",
      value: { resumeSequence: 2n, pending: 3n, deviceId: "phone" },
    });
  });

  test("gives the backlog, then what is stored later when a hint tells of it", async () => {
    const { session, store, read } = openSession();
    for (const data of ["1", "2"]) store.add(data);
    expect(await read(3)).toEqual(["ready", "1", "2"]);
    const waiting = read(1);
    session.hint(store.add("3"));
    expect(await waiting).toEqual(["3"]);
  });

  test("finds at its next heartbeat what no hint told of", async () => {
    const { store, read } = openSession();
    expect(await read(1)).toEqual(["ready"]);
    store.add("1");
    expect(await read(2)).toEqual(["heartbeat", "1"]);
  });

  test("finds at once what no hint told of when it is told to reconcile", async () => {
    const { session, store, read } = openSession({ heartbeatMs: 60_000 });
    expect(await read(1)).toEqual(["ready"]);
    const waiting = read(1);
    store.add("1");
    session.reconcile();
    expect(await waiting).toEqual(["1"]);
  });

  test("reads nothing from the store before the device has taken what came before", async () => {
    const { store, read } = openSession({ window: 1_000 });
    for (const data of numbers(1, 1_000)) store.add(data);
    await read(1);
    await read(16);
    expect(store.reads).toHaveLength(1);
    await read(64);
    expect(store.reads).toHaveLength(2);
    await read(1);
    expect(store.reads).toHaveLength(3);
    for (const { limit } of store.reads) expect(limit).toBeLessThanOrEqual(512);
  });

  test("tells in a heartbeat the highest sequence that is there, delivered or not", async () => {
    const { session, store, next, read } = openSession({ window: 1 });
    for (const data of ["1", "2"]) store.add(data);
    expect(await read(2)).toEqual(["ready", "1"]);
    session.hint(store.add("3", { skip: 4 }));
    expect(await next()).toMatchObject({ case: "heartbeat", value: { latestSequence: 7n, droppedOnlinePushes: 0n } });
  });

  test("goes on with heartbeats while nothing happens", async () => {
    expect(await openSession().read(4)).toEqual(["ready", "heartbeat", "heartbeat", "heartbeat"]);
  });
});

describe("the window", () => {
  test("closes when that many are unacknowledged, and opens by as many as are acknowledged", async () => {
    const { session, store, read } = openSession({ window: 2 });
    const [first = 0] = numbers(1, 6).map((data) => store.add(data));
    expect(await read(4)).toEqual(["ready", "1", "2", "heartbeat"]);
    session.acknowledge(first);
    expect(await read(2)).toEqual(["3", "heartbeat"]);
    session.acknowledge(3);
    expect(await read(3)).toEqual(["4", "5", "heartbeat"]);
  });

  test("does not open for what was acknowledged before", async () => {
    const { session, store, read } = openSession({ window: 1 });
    for (const data of ["1", "2", "3"]) store.add(data);
    await read(2);
    session.acknowledge(1);
    expect(await read(1)).toEqual(["2"]);
    session.acknowledge(1);
    session.acknowledge(0);
    expect(await read(1)).toEqual(["heartbeat"]);
  });

  test("opens at a heartbeat for what the stored cursor says, when word of it was lost", async () => {
    let cursor: number | undefined;
    const { store, read } = openSession({ window: 2, readCursor: async () => cursor });
    for (const data of numbers(1, 5)) store.add(data);
    expect(await read(4)).toEqual(["ready", "1", "2", "heartbeat"]);
    cursor = 2;
    expect((await read(3)).filter((text) => text !== "heartbeat")).toEqual(["3", "4"]);
  });

  test("stays closed, and the session open, while the stored cursor cannot be read", async () => {
    const readCursor = vi.fn(() => Promise.reject(failure("NetworkError", "test")));
    const { session, store, read } = openSession({ window: 1, readCursor });
    for (const data of ["1", "2"]) store.add(data);
    expect(await read(4)).toEqual(["ready", "1", "heartbeat", "heartbeat"]);
    expect(readCursor).toHaveBeenCalled();
    session.acknowledge(1);
    expect(await read(1)).toEqual(["2"]);
  });

  test("counts a gap as one", async () => {
    const { session, store, read } = openSession({ window: 1 });
    store.add("expired", { expiresAtMs: Date.now() - 1 });
    store.add("1");
    expect(await read(3)).toEqual(["ready", "gap", "heartbeat"]);
    session.acknowledge(1);
    expect(await read(1)).toEqual(["1"]);
  });
});

describe("online pushes", () => {
  test("come in their order, also while the window is closed", async () => {
    const { session, store, read } = openSession({ window: 1 });
    for (const data of ["1", "2"]) store.add(data);
    await read(2);
    for (const data of ["a", "b", "c"]) session.push(push(data));
    expect(await read(4)).toEqual(["a", "b", "c", "heartbeat"]);
  });

  test("and must-reach notifications take turns, so that neither holds back the other", async () => {
    const { session, store, read } = openSession();
    for (const data of numbers(1, 20)) store.add(data);
    await read(1);
    for (let i = 0; i < 20; i++) session.push(push("push"));
    const texts = await read(40);
    for (let i = 0; i < 40; i += 2) expect(texts.slice(i, i + 2)).toContain("push");
    expect(texts.filter((text) => text !== "push")).toEqual(numbers(1, 20));
  });

  test("beyond 256 that wait drop the oldest, which is counted", async () => {
    const { session, next, read } = openSession();
    await read(1);
    for (const data of numbers(1, 300)) session.push(push(data));
    expect(await read(256)).toEqual(numbers(45, 300));
    expect(await next()).toMatchObject({ case: "heartbeat", value: { droppedOnlinePushes: 44n } });
  });
});

describe("a sink", () => {
  /** A session that is piped into a sink, which takes `room` frames and then no more until it says so. */
  const pipe = async ({ store = createStore(), room = Number.POSITIVE_INFINITY } = {}) => {
    const { session } = openSession({ store, heartbeatMs: 60_000 });
    const frames: Uint8Array[] = [];
    const end = vi.fn();
    let left = room;
    session.pipe({ write: (frame) => frames.push(frame) > 0 && --left > 0, end });
    await vi.waitFor(() => expect(frames.length).toBeGreaterThan(0));
    return {
      ...{ session, frames, end },
      resume(count: number) {
        left = count;
        session.resume();
      },
    };
  };

  test("gets the same bytes of a push as every other", async () => {
    const [one, two] = [await pipe(), await pipe()];
    const shared = push("shared");
    for (const { session } of [one, two]) session.push(shared);
    expect(one.frames.at(-1)).toBe(shared.frame);
    expect(two.frames.at(-1)).toBe(shared.frame);
    expect(dataIn(shared.frame)).toBe("shared");
  });

  test("that is full gets no more until it has room, and the end all the same", async () => {
    const store = createStore();
    for (const data of numbers(1, 10)) store.add(data);
    const { session, frames, resume, end } = await pipe({ store, room: 3 });
    session.push(push("push"));
    expect(frames.slice(1).map(dataIn)).toEqual(["1", "2"]);
    resume(3);
    expect(frames).toHaveLength(6);
    expect(frames.slice(3).map(dataIn)).toContain("push");
    const error = failure("TokenKickedError", "test");
    session.end({ error });
    expect(end).toHaveBeenCalledExactlyOnceWith(error);
    resume(3);
    expect(frames).toHaveLength(6);
  });

  test("that is gone gets nothing, not even the end", async () => {
    const { session, frames, end } = await pipe();
    session.cancel();
    session.push(push("late"));
    session.end({ error: failure("TokenKickedError", "test") });
    expect(frames).toHaveLength(1);
    expect(end).not.toHaveBeenCalled();
  });
});

describe("a store that cannot be read", () => {
  test("is the end of a session that has not begun", async () => {
    const store = createStore();
    store.failure = failure("NetworkError", "test");
    await expect(openSession({ store }).next()).rejects.toBe(store.failure);
  });

  test("is waited for by a session that is open, and nothing is lost", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date", "performance"] });
    const { session, store, read } = openSession({ heartbeatMs: 600_000 });
    store.add("1");
    await read(2);
    store.failure = failure("NetworkError", "test");
    const waiting = read(2);
    session.hint(store.add("2"));
    await vi.advanceTimersByTimeAsync(5_000);
    store.failure = undefined;
    store.add("3");
    await vi.advanceTimersByTimeAsync(5_000);
    expect(await waiting).toEqual(["2", "3"]);
  });
});

describe("while the broker is away", () => {
  test("heartbeats go on and say so, and pushes that are there come, however long a read takes", async () => {
    const store = createStore();
    const { session, next, read } = openSession({ store });
    await read(1);
    expect(await next()).toMatchObject({ case: "heartbeat", value: { brokerAway: false } });
    store.failure = failure("NetworkError", "test");
    await vi.waitFor(async () => expect(await next()).toMatchObject({ value: { brokerAway: true } }));
    // It does not answer any more, not even with an error.
    let answer = () => {};
    store.answers = new Promise((resolve) => {
      answer = resolve;
    });
    const askedBefore = store.reads.length;
    session.reconcile();
    for (let i = 0; i < 3; i++) expect(await next()).toMatchObject({ case: "heartbeat", value: { brokerAway: true } });
    expect(store.reads.length).toBe(askedBefore + 1);
    session.push(push("a"));
    expect((await read(3)).filter((text) => text !== "heartbeat")).toEqual(["a"]);
    store.failure = undefined;
    store.add("1");
    answer();
    await vi.waitFor(async () => expect(await next()).toMatchObject({ value: { data: "1" } }));
    expect(await next()).toMatchObject({ case: "heartbeat", value: { brokerAway: false } });
  });

  test("a session that has nothing to read says so by the connection", async () => {
    let isAway = true;
    const { read, next } = openSession({ isBrokerAway: () => isAway });
    await read(1);
    expect(await next()).toMatchObject({ case: "heartbeat", value: { brokerAway: true } });
    isAway = false;
    expect(await next()).toMatchObject({ case: "heartbeat", value: { brokerAway: false } });
  });
});

describe("the end of a session", () => {
  test("gives back the memory of pushes that wait", async () => {
    const pushMemory = createPushMemory(10_000_000);
    const { session } = openSession({ pushMemory });
    session.push(push("a"));
    expect(pushMemory.bytes()).toBeGreaterThan(0);
    session.end({});
    session.push(push("b"));
    expect(pushMemory.bytes()).toBe(0);
  });

  test("comes after one last event", async () => {
    const { session, next } = openSession({ heartbeatMs: 60_000 });
    await next();
    const waiting = next();
    session.end({ last: { case: "reconnect", value: create(ReconnectSchema, { afterMs: 5 }) } });
    expect(await waiting).toMatchObject({ case: "reconnect", value: { afterMs: 5 } });
    expect(await next()).toBeUndefined();
  });

  test("is the error that it was given first", async () => {
    const { session, next } = openSession({ heartbeatMs: 60_000 });
    await next();
    const [first, second] = [failure("TokenKickedError", "first"), failure("TokenExpiredError", "second")];
    session.end({ error: first });
    session.end({ error: second });
    await expect(next()).rejects.toBe(first);
    expect(await next()).toBeUndefined();
  });

  test("comes before notifications that wait", async () => {
    const { session, store, next } = openSession();
    for (const data of ["1", "2"]) store.add(data);
    await next();
    session.end({});
    expect(await next()).toBeUndefined();
  });
});

test("a timer is never set into the past, however long the device takes to read", async () => {
  vi.useFakeTimers({ toFake: ["Date"] });
  const { store, read } = openSession();
  store.add("1");
  await read(2);
  vi.setSystemTime(Date.now() + 3_600_000);
  const timers = vi.spyOn(globalThis, "setTimeout");
  expect(await read(1)).toEqual(["heartbeat"]);
  for (const [, ms = 0] of timers.mock.calls) expect(ms).toBeGreaterThanOrEqual(0);
  timers.mockRestore();
});
