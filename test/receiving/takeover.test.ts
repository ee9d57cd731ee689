import { beforeEach, describe, expect, test } from "vitest";
import { toErrorFacts } from "../../src/errors.ts";
import { createPushMemory } from "../../src/live/push-queue.ts";
import { Session } from "../../src/receiving/session.ts";
import { createTakeover, type Takeover } from "../../src/receiving/takeover.ts";
import { eventsOf } from "../helpers/frames.ts";
import { createStore, homeOf } from "./store.ts";

const replaced: Session[] = [];
const told: [Session, number][] = [];
let takeover: Takeover;
beforeEach(() => {
  replaced.length = 0;
  told.length = 0;
  takeover = createTakeover({
    onReplaced: (session) => void replaced.push(session),
    tell: (session, order) => void told.push([session, order]),
  });
});

const newSession = (): Session => {
  const home = homeOf(createStore(), 60_000);
  const pushes = createPushMemory(10_000_000).openQueue();
  const session = new Session({ home, deviceId: "phone", window: 1, pushes });
  session.begin({ epoch: "", sequence: 0, isStoreChanged: false });
  return session;
};

/** Enters a session; `record` resolves to its place, now or when the test has it. */
const enter = async (order: number | Promise<number>, session = newSession(), device = "phone") => {
  await takeover.enter({ session, device }, async () => order);
  return session;
};

const endOf = async (session: Session) => {
  try {
    for await (const _ of eventsOf(session));
    return "closed";
  } catch (error) {
    return toErrorFacts(error).errCode;
  }
};

describe("of the sessions of a device", () => {
  test("the one of the highest order stays, whatever the order in which answers come", async () => {
    const [first, second] = [Promise.withResolvers<number>(), Promise.withResolvers<number>()];
    const [older, newer] = [newSession(), newSession()];
    const entering = [enter(first.promise, older), enter(second.promise, newer)];
    second.resolve(2);
    await entering[1];
    expect(replaced).toEqual([]);
    first.resolve(1);
    await entering[0];
    expect(replaced).toEqual([older]);
    expect(await endOf(older)).toBe(1506);
    expect(takeover.of("phone")).toEqual([newer]);
  });

  test("one is ended by a newer one that was heard of before its own place was known", async () => {
    const own = Promise.withResolvers<number>();
    const session = newSession();
    const entering = enter(own.promise, session);
    takeover.hear("phone", { order: 9, isRepeat: false });
    own.resolve(8);
    await entering;
    expect(replaced).toEqual([session]);
  });

  test("one is not ended by word of itself, of older ones and of other devices", async () => {
    const session = await enter(5);
    takeover.hear("phone", { order: 5, isRepeat: false });
    takeover.hear("phone", { order: 5, isRepeat: true });
    takeover.hear("phone", { order: 4, isRepeat: false });
    takeover.hear("tablet", { order: 6, isRepeat: false });
    expect(replaced).toEqual([]);
    expect(told).toEqual([]);
    takeover.hear("phone", { order: 6, isRepeat: false });
    expect(replaced).toEqual([session]);
    expect([...takeover]).toEqual([]);
  });

  test("one answers an older one that is told again: its instance was cut off", async () => {
    const session = await enter(5);
    takeover.hear("phone", { order: 4, isRepeat: true });
    expect(told).toEqual([[session, 5]]);
  });

  test("those are told again whose place is known", async () => {
    const own = Promise.withResolvers<number>();
    const [phone] = [await enter(5), enter(own.promise, newSession(), "tablet")];
    takeover.repeat();
    expect(told).toEqual([[phone, 5]]);
  });

  test("one that could not be recorded never was", async () => {
    const session = await enter(5);
    await expect(enter(Promise.reject(new Error("test")))).rejects.toThrow("test");
    expect(takeover.of("phone")).toEqual([session]);
  });

  test("one that has left leaves nothing", async () => {
    const session = await enter(5);
    expect(takeover.leave(session)).toBe(true);
    expect(takeover.leave(session)).toBe(false);
    expect([...takeover]).toEqual([]);
  });
});
