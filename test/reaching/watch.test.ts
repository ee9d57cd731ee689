import { create } from "@bufbuild/protobuf";
import { pino } from "pino";
import { describe, expect, test, vi } from "vitest";
import { toToken } from "../../src/broker/subjects.ts";
import { deadlineIn } from "../../src/deadline.ts";
import { MessageSchema, NotificationSchema, RecallSchema } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { createGroupPush } from "../../src/live/group-push.ts";
import { createPushMemory } from "../../src/live/push-queue.ts";
import type { ReachEntry } from "../../src/reaching/entry.ts";
import { createAdmission } from "../../src/receiving/admission.ts";
import { createHub } from "../../src/receiving/hub.ts";
import { createReplays } from "../../src/receiving/replays.ts";
import { createJumpingClock } from "../../src/testing/jumping-clock.ts";
import { createTimerWheel } from "../../src/timer-wheel.ts";
import { Traffic } from "../../src/traffic/traffic.ts";
import { useBroker } from "../helpers/broker.ts";
import { useInstances } from "../helpers/escalation.ts";
import { eventsOf } from "../helpers/frames.ts";

const server = useBroker();
const openInstance = useInstances(server);
const waitFor = <T>(check: () => T | Promise<T>) => vi.waitFor(check, { interval: 10 });

/** An `escalate` that takes everything, and what it got. */
function takeAll() {
  const taken: ReachEntry[] = [];
  const escalate = async (entry: ReachEntry) => {
    taken.push(entry);
    return "queued" as const;
  };
  return { taken, escalate };
}

describe("without a webhook", () => {
  test("what a device has acknowledged is done at the first look, for one delivery each and one read for all", async () => {
    const { send, acknowledge, startReach, consumed, cursors } = await openInstance();
    const users = Array.from({ length: 20 }, (_, i) => `user ${i}`);
    for (const user of users) {
      await send(user, `1 for ${user}`);
      await acknowledge(user, await send(user, `2 for ${user}`));
    }
    const ofUsers = vi.fn(cursors.ofUsers);
    const wake = vi.fn();
    const { counts } = await startReach({ cursors: { ...cursors, ofUsers }, wake, gatherMs: 1_000 });
    await waitFor(() => expect(counts.reached).toBe(40));
    expect(counts).toMatchObject({ woken: 0, letGo: 0 });
    await waitFor(async () => expect(await consumed("reach")).toEqual({ pending: 0, deliveries: 40 }));
    expect(wake).not.toHaveBeenCalled();
    expect(ofUsers).toHaveBeenCalledTimes(1);
  });

  test("a user's cursor is not read again for what it is known to have passed", async () => {
    const { send, acknowledge, startReach, cursors } = await openInstance();
    const ofUsers = vi.fn(cursors.ofUsers);
    await send("ann", "1");
    const second = await send("ann", "2");
    await acknowledge("ann", second + 2);
    const { counts } = await startReach({ cursors: { ...cursors, ofUsers } });
    await waitFor(() => expect(counts.reached).toBe(2));
    const reads = ofUsers.mock.calls.length;
    expect(await send("ann", "3")).toBeLessThanOrEqual(second + 2);
    await waitFor(() => expect(counts.reached).toBe(3));
    expect(ofUsers).toHaveBeenCalledTimes(reads);
    for (let sequence = 0; sequence <= second + 2; ) sequence = await send("ann", `after ${sequence}`);
    await waitFor(() => expect(counts.woken).toBeGreaterThan(0));
    expect(ofUsers.mock.calls.length).toBeGreaterThan(reads);
  });

  test("what was known before the store was replaced does not count", async () => {
    const { send, startReach, cursors } = await openInstance();
    let further = 1_000_000;
    let count = 0;
    const { counts } = await startReach({
      cursors: {
        ...cursors,
        replacements: async () => count,
        ofUsers: async () => new Map([["ann", [{ deviceId: "phone", sequence: further, storedAtMs: 0 }]]]),
      },
    });
    await send("ann", "1");
    await waitFor(() => expect(counts.reached).toBe(1));
    further = 0;
    count++;
    await send("ann", "2");
    await waitFor(() => expect(counts.woken).toBeGreaterThan(0));
    expect(counts.reached).toBe(1);
  });

  test("nobody is asked about an entry that is younger than the wake delay", async () => {
    const { send, startReach, cursors, consumed } = await openInstance();
    const ofUsers = vi.fn(cursors.ofUsers);
    await startReach({ cursors: { ...cursors, ofUsers }, wakeDelayMs: 700 });
    const sentMs = Date.now();
    await send("ann", "hello");
    await waitFor(async () => expect((await consumed("reach")).deliveries).toBe(1));
    await waitFor(() => expect(ofUsers).toHaveBeenCalled());
    expect(Date.now() - sentMs).toBeGreaterThanOrEqual(690);
  });

  test("the cursor of any of the user's devices counts, and no other user's", async () => {
    const { send, acknowledge, startReach } = await openInstance();
    const [ann, bob] = [await send("ann", "1"), await send("bob", "2")];
    await acknowledge("ann", ann - 1, "watch");
    await acknowledge("ann", ann, "phone");
    await acknowledge("bob", bob - 1);
    const { counts } = await startReach({ maxLooks: 1 });
    await waitFor(() => expect(counts).toMatchObject({ reached: 1, woken: 1, letGo: 1 }));
  });

  test("what is for one device is not reached by the cursors of others, also when the user's newest is", async () => {
    const { send, acknowledge, startReach } = await openInstance();
    const only = { recvDeviceId: "phone", exceptDeviceId: "" };
    const except = { recvDeviceId: "", exceptDeviceId: "watch" };
    await send("ann", "1", { devices: only });
    await send("ann", "2", { devices: except });
    await acknowledge("ann", await send("ann", "3"), "watch");
    const { counts } = await startReach({ maxLooks: 2 });
    await waitFor(() => expect(counts).toMatchObject({ reached: 1, letGo: 2 }));
    await acknowledge("bob", await send("bob", "4", { devices: only }), "phone");
    await waitFor(() => expect(counts).toMatchObject({ reached: 2, letGo: 2 }));
  });

  test("what has not reached wakes the user's sessions at ages that triple, and then is let go", async () => {
    const { send, startReach, consumed } = await openInstance();
    const sentMs = Date.now();
    await send("ann", "1");
    const wokenMs: number[] = [];
    const wake = vi.fn(() => void wokenMs.push(Date.now() - sentMs));
    const { counts } = await startReach({ wake, wakeDelayMs: 300, maxLooks: 3 });
    await waitFor(() => expect(counts).toMatchObject({ woken: 3, letGo: 1 }));
    expect(wake.mock.calls).toEqual([[toToken("ann")], [toToken("ann")], [toToken("ann")]]);
    for (const [i, atMs] of [300, 900, 2_700].entries()) expect(wokenMs[i]).toBeGreaterThanOrEqual(atMs - 20);
    // The broker is told at the first look, and has nothing to bring back.
    expect(await consumed("reach")).toEqual({ pending: 0, deliveries: 1 });
  });

  test("what reaches after the first look is done at the next, with all that the user got before", async () => {
    const { send, acknowledge, startReach } = await openInstance();
    let sequence = 0;
    for (let i = 0; i < 5; i++) sequence = await send("ann", String(i));
    const { counts } = await startReach({ wakeDelayMs: 300, gatherMs: 100 });
    await waitFor(() => expect(counts.woken).toBeGreaterThanOrEqual(5));
    await acknowledge("ann", sequence);
    await waitFor(() => expect(counts).toMatchObject({ reached: 5, letGo: 0 }));
  });

  test("with more users than are remembered, one more is woken once", async () => {
    const { send, startReach, consumed } = await openInstance();
    for (const user of ["ann", "bob", "eve"]) await send(user, user);
    const { counts } = await startReach({ maxReminders: 2, maxLooks: 2 });
    await waitFor(() => expect(counts).toMatchObject({ woken: 5, letGo: 3 }));
    await waitFor(async () => expect(await consumed("reach")).toEqual({ pending: 0, deliveries: 3 }));
  });

  test("the last look at an old entry is its first", async () => {
    const { send, startReach, consumed } = await openInstance();
    await send("ann", "1");
    await new Promise((resolve) => setTimeout(resolve, 120));
    const { counts } = await startReach({ wakeDelayMs: 1, maxLooks: 5 });
    await waitFor(() => expect(counts).toMatchObject({ woken: 1, letGo: 1 }));
    await waitFor(async () => expect((await consumed("reach")).pending).toBe(0));
  });

  test("many notifications of one user wake once a look", async () => {
    const { send, startReach } = await openInstance();
    for (let i = 0; i < 30; i++) await send("ann", String(i));
    const wake = vi.fn();
    const { counts } = await startReach({ wake, maxLooks: 1, wakeDelayMs: 1_000 });
    await waitFor(() => expect(counts.letGo).toBe(30));
    expect(wake.mock.calls.length).toBeLessThan(30);
  });

  test("what expires is counted and done", async () => {
    const { send, startReach, consumed } = await openInstance();
    await send("ann", "1", { expiresAtMs: Date.now() + 300 });
    const { counts } = await startReach({ maxLooks: 9 });
    await waitFor(() => expect(counts).toMatchObject({ woken: 1, expired: 1 }));
    await waitFor(async () => expect((await consumed("reach")).pending).toBe(0));
  });

  test("chat copies and recalls are nobody's to be reached", async () => {
    const { inbox, startReach, consumed, cursors } = await openInstance();
    const notification = create(NotificationSchema, { serverMsgId: "1", sendTime: BigInt(Date.now()) });
    const options = { operationId: "test" };
    await inbox.write("ann", { kind: "message", message: create(MessageSchema, { notification }) }, options);
    const recall = create(RecallSchema, { serverMsgId: "1" });
    await inbox.write("ann", { kind: "recall", recall, timeMs: Date.now() }, options);
    const ofUsers = vi.fn(cursors.ofUsers);
    const { counts } = await startReach({ cursors: { ...cursors, ofUsers }, wakeDelayMs: 60_000 });
    await waitFor(async () => expect(await consumed("reach")).toEqual({ pending: 0, deliveries: 2 }));
    expect(ofUsers).not.toHaveBeenCalled();
    expect(counts).toMatchObject({ reached: 0, woken: 0, letGo: 0 });
  });

  test("the place of what was withdrawn is nobody's to be reached", async () => {
    const { tombstones, startReach, consumed } = await openInstance();
    await tombstones.place(["ann"], { serverMsgId: "1", sendTimeMs: Date.now() }, "test");
    const { counts } = await startReach({ wakeDelayMs: 60_000 });
    await waitFor(async () => expect(await consumed("reach")).toEqual({ pending: 0, deliveries: 1 }));
    expect(counts).toMatchObject({ reached: 0, woken: 0, letGo: 0 });
  });

  test("a lost hint is healed by the wake", async () => {
    const { inbox, live, cursors, send, startReach } = await openInstance();
    let hints = 0;
    const hub = createHub({
      inbox,
      live: {
        ...live,
        subscribe: (userId, listener) =>
          live.subscribe(userId, {
            onHint: () => void hints++,
            onWake: () => listener.onWake(),
            onPush: (notification) => listener.onPush(notification),
            onMember: (change) => listener.onMember(change),
            onAck: (device, sequence) => listener.onAck(device, sequence),
            onSettled: (device, sequences) => listener.onSettled(device, sequences),
            onSession: (device, signal) => listener.onSession(device, signal),
            platforms: () => listener.platforms(),
          }),
      },
      openSession: async () => 1,
      cursors,
      groupPush: createGroupPush({
        live,
        joined: async () => [],
        readStanding: () => Promise.reject(new Error()),
        log: pino({ level: "silent" }),
      }),
      admission: createAdmission({ maxSessions: 10, maxSessionsPerUser: 10, maxSessionsPerAddress: 0 }),
      replays: createReplays(10),
      pushMemory: createPushMemory(10_000_000),
      isBrokerAway: () => false,
      // No heartbeat looks into the inbox while the test runs.
      heartbeatMs: 60_000,
      timers: createTimerWheel(),
      onGap: () => {},
      traffic: new Traffic({ observe() {} }),
      log: pino({ level: "silent" }),
    });
    const session = await hub.open({
      userId: "ann",
      deviceId: "phone",
      peer: "127.0.0.1",
      window: 10,
      isRevoked: () => false,
      findPlace: async () => ({ epoch: "", sequence: 0, isStoreChanged: false }),
    });
    const events = eventsOf(session);
    expect((await events.next()).value?.event.case).toBe("ready");
    const next = events.next();
    await send("ann", "hello");
    await waitFor(() => expect(hints).toBe(1));
    await startReach();
    const { value } = await next;
    expect(value?.event).toMatchObject({ case: "notification", value: { data: "hello" } });
    session.end({});
    hub.close("ann", session);
  });

  test("a failed read of the cursors is repeated, and nothing is done before", async () => {
    const { send, acknowledge, startReach, cursors, consumed } = await openInstance();
    await acknowledge("ann", await send("ann", "1"));
    const ofUsers = vi.fn(cursors.ofUsers).mockRejectedValueOnce(new Error("no answer"));
    const { counts } = await startReach({ cursors: { ...cursors, ofUsers }, retryMs: 50 });
    await waitFor(() => expect(counts).toMatchObject({ reached: 1, woken: 0 }));
    await waitFor(async () => expect(await consumed("reach")).toEqual({ pending: 0, deliveries: 2 }));
  });

  test("reminders come when the clock has jumped to their time, and not before", async () => {
    const { send, startReach } = await openInstance();
    const clock = createJumpingClock();
    const wake = vi.fn();
    const reach = await startReach({ clock, wake, wakeDelayMs: 3_600_000 });
    await send("ann", "1");
    await clock.advance(3_600_000);
    await waitFor(async () => {
      await reach.catchUp();
      expect(wake).toHaveBeenCalledTimes(1);
    });
    // The next is at three times the age.
    await clock.advance(7_000_000);
    await reach.catchUp();
    expect(wake).toHaveBeenCalledTimes(1);
    await clock.advance(200_000);
    await reach.catchUp();
    expect(wake).toHaveBeenCalledTimes(2);
    expect(reach.counts).toMatchObject({ woken: 2, letGo: 0 });
  });
});

describe("with a webhook", () => {
  test("what has not reached by the escalation delay is handed over, once and not earlier", async () => {
    const { send, acknowledge, startReach, consumed } = await openInstance();
    const { taken, escalate } = takeAll();
    const sequence = await send("ann", "1");
    await acknowledge("bob", await send("bob", "2"));
    const { counts } = await startReach({ escalate, wakeDelayMs: 100, escalationDelayMs: 600 });
    await waitFor(async () => expect(await consumed("reach")).toMatchObject({ pending: 0 }));
    expect(counts).toMatchObject({ reached: 1, woken: 1, escalated: 1, letGo: 0 });
    const [entry] = taken;
    expect(entry).toMatchObject({ userId: "ann", sequence, kind: "notification" });
    expect(Date.now() - (entry?.storedAtMs ?? Infinity)).toBeGreaterThanOrEqual(600);
    // Two deliveries for ann: the wake and the escalation.
    expect(await consumed("reach")).toEqual({ pending: 0, deliveries: 3 });
  });

  test("what reaches between the wake and the escalation delay is not handed over", async () => {
    const { send, acknowledge, startReach, consumed } = await openInstance();
    const { taken, escalate } = takeAll();
    const sequence = await send("ann", "1");
    const { counts } = await startReach({ escalate, wakeDelayMs: 100, escalationDelayMs: 800 });
    await waitFor(() => expect(counts.woken).toBe(1));
    await acknowledge("ann", sequence);
    await waitFor(async () => expect((await consumed("reach")).pending).toBe(0));
    expect(counts).toMatchObject({ reached: 1, escalated: 0 });
    expect(taken).toEqual([]);
  });

  test("a notification can have a delay of its own, also one below the wake delay", async () => {
    const { send, startReach } = await openInstance();
    const { taken, escalate } = takeAll();
    await send("late", "1", { escalateAfterMs: 900 });
    await send("soon", "2", { escalateAfterMs: 50 });
    await send("as usual", "3");
    await startReach({ escalate, wakeDelayMs: 200, escalationDelayMs: 500 });
    await waitFor(() => expect(taken.map(({ userId }) => userId)).toEqual(["soon", "as usual", "late"]));
  });

  test("what is overdue when the service starts is not handed over before devices could come back", async () => {
    const { send, acknowledge, startReach, consumed } = await openInstance();
    const { taken, escalate } = takeAll();
    await send("ann", "1");
    const sequence = await send("bob", "2");
    await new Promise((resolve) => setTimeout(resolve, 100));
    const startedMs = Date.now();
    const { counts } = await startReach({ escalate, wakeDelayMs: 10, escalationDelayMs: 20, comeBackMs: 1_000 });
    await waitFor(async () => expect((await consumed("reach")).deliveries).toBe(2));
    await acknowledge("bob", sequence);
    await waitFor(() => expect(counts).toMatchObject({ reached: 1, escalated: 1 }));
    expect(Date.now() - startedMs).toBeGreaterThanOrEqual(990);
    expect(taken.map(({ userId }) => userId)).toEqual(["ann"]);
  });

  test("a failed handover is repeated", async () => {
    const { send, startReach, consumed } = await openInstance();
    const escalate = vi.fn(async () => "queued" as const).mockRejectedValueOnce(new Error("full"));
    await send("ann", "1");
    const { counts } = await startReach({ escalate, retryMs: 50 });
    await waitFor(() => expect(counts.escalated).toBe(1));
    expect(escalate).toHaveBeenCalledTimes(2);
    await waitFor(async () => expect((await consumed("reach")).pending).toBe(0));
  });

  test("a broker that is killed in between loses nothing", async () => {
    const { send, startReach, broker } = await openInstance();
    const { taken, escalate } = takeAll();
    const sent = new Set<string>();
    await startReach({ escalate, wakeDelayMs: 200, escalationDelayMs: 800, ackWaitMs: 2_000 });
    for (let i = 0; i < 40; i++) {
      await send(`user ${i}`, String(i));
      sent.add(`user ${i}`);
      // While some are held here, some nak'ed, and some not delivered yet.
      if (i === 20 || i === 35) process.kill(server.pid(), "SIGKILL");
      await broker.whenConnected(deadlineIn(10_000));
    }
    await waitFor(() => expect(new Set(taken.map(({ userId }) => userId))).toEqual(sent));
  });

  test("instances share the entries, and one that stops gives back what it holds", async () => {
    const [one, other] = [await openInstance(), await openInstance()];
    const [first, second] = [takeAll(), takeAll()];
    const options = { wakeDelayMs: 400, escalationDelayMs: 400, ackWaitMs: 60_000, maxHeld: 20 };
    const reach = await one.startReach({ ...options, escalate: first.escalate });
    await other.startReach({ ...options, escalate: second.escalate });
    for (let i = 0; i < 60; i++) await one.send(`user ${i}`, String(i));
    await waitFor(() => {
      expect(first.taken.length).toBeGreaterThan(0);
      expect(second.taken.length).toBeGreaterThan(0);
      expect(first.taken.length + second.taken.length).toBe(60);
    });
    for (let i = 60; i < 80; i++) await one.send(`user ${i}`, String(i));
    await waitFor(async () => expect((await one.consumed("reach")).deliveries).toBeGreaterThanOrEqual(80));
    await reach.stop();
    const before = first.taken.length;
    // Long before the broker would take it from a dead instance.
    await waitFor(() => expect(before + second.taken.length).toBe(80));
    const all = [...first.taken, ...second.taken].map(({ userId }) => userId);
    expect(new Set(all).size).toBe(80);
    expect(all).toHaveLength(80);
  });

  test("with more to hold than an instance may, it goes on as soon as there is room", async () => {
    const { send, startReach, consumed } = await openInstance();
    const { taken, escalate } = takeAll();
    for (let i = 0; i < 50; i++) await send(`user ${i}`, String(i));
    await startReach({ escalate, wakeDelayMs: 100, escalationDelayMs: 100, maxHeld: 3 });
    await waitFor(async () => expect((await consumed("reach")).pending).toBe(0));
    expect(taken).toHaveLength(50);
  });

  describe("what is far from its escalation", () => {
    test("holds no place in the consumer, so that what is due soon is escalated in time", async () => {
      const { send, startReach, consumed } = await openInstance();
      const { taken, escalate } = takeAll();
      for (let i = 0; i < 60; i++) await send(`user ${i}`, String(i), { escalateAfterMs: 3_600_000 });
      await startReach({ escalate, maxAckPending: 20, maxHeld: 10, wakeDelayMs: 100 });
      await send("soon", "soon", { escalateAfterMs: 2_000 });
      await waitFor(() => expect(taken.map(({ userId }) => userId)).toEqual(["soon"]));
      await waitFor(async () => expect(await consumed("reach")).toMatchObject({ pending: 0 }));
    });

    test("is woken once before, and escalated in its time, once, unless it has reached or expired", async () => {
      const { send, acknowledge, startReach, consumed, broker } = await openInstance();
      const { taken, escalate } = takeAll();
      const wake = vi.fn();
      const { counts } = await startReach({
        escalate,
        wake,
        maxNakMs: 200,
        wakeDelayMs: 100,
        escalationDelayMs: 2_500,
      });
      const sequence = await send("reached", "1");
      await send("expired", "2", { expiresAtMs: Date.now() + 1_200 });
      await send("ann", "3", { escalateAfterMs: 3_000 });
      await send("bob", "4");
      await waitFor(() => expect(counts.woken).toBe(4));
      await waitFor(async () => expect(await consumed("reach")).toEqual({ pending: 0, deliveries: 4 }));
      await acknowledge("reached", sequence);
      await waitFor(() => expect(counts).toMatchObject({ reached: 1, expired: 1, escalated: 2, woken: 4 }));
      expect(taken.map(({ userId }) => userId).sort()).toEqual(["ann", "bob"]);
      const ofAnn = taken.find(({ userId }) => userId === "ann");
      expect(ofAnn).toMatchObject({ kind: "notification", userToken: toToken("ann"), escalateAfterMs: 3_000 });
      expect(Date.now() - (ofAnn?.storedAtMs ?? Infinity)).toBeGreaterThanOrEqual(3_000);
      expect(wake).toHaveBeenCalledTimes(4);
      await waitFor(async () => expect((await broker.jsm.streams.info("LATER_LOOKS")).state.messages).toBe(0));
    });

    test("shares a job with what is due in the same second", async () => {
      const { send, startReach, laterLooks } = await openInstance();
      const add = vi.fn(laterLooks.add);
      const users = Array.from({ length: 100 }, (_, i) => `user ${i}`);
      await Promise.all(users.map((user) => send(user, user, { escalateAfterMs: 3_600_000 })));
      // All are looked at together.
      const { counts } = await startReach({ escalate: takeAll().escalate, later: add, gatherMs: 2_000 });
      await waitFor(() => expect(counts.woken).toBe(100));
      await waitFor(() => expect(add.mock.calls.reduce((count, [entries]) => count + entries.length, 0)).toBe(100));
      expect(add.mock.calls.length).toBeLessThan(50);
    });

    test("stays in the consumer when it cannot be kept", async () => {
      const { send, startReach, laterLooks } = await openInstance();
      const { taken, escalate } = takeAll();
      const later = vi.fn(laterLooks.add).mockRejectedValueOnce(new Error("no answer"));
      await startReach({ escalate, later, maxNakMs: 200, escalationDelayMs: 1_000, retryMs: 50 });
      await send("ann", "1");
      await waitFor(() => expect(taken.map(({ userId }) => userId)).toEqual(["ann"]));
      expect(later.mock.calls.length).toBeGreaterThan(1);
    });

    test("is not lost with a broker that is killed", async () => {
      const { send, startReach, broker, consumed } = await openInstance();
      const { taken, escalate } = takeAll();
      const { counts } = await startReach({ escalate, maxNakMs: 100, escalationDelayMs: 3_000, ackWaitMs: 2_000 });
      const users = Array.from({ length: 20 }, (_, i) => `user ${i}`);
      for (const user of users) await send(user, user);
      await waitFor(() => expect(counts.woken).toBeGreaterThanOrEqual(20));
      await waitFor(async () => expect((await consumed("reach")).pending).toBe(0));
      process.kill(server.pid(), "SIGKILL");
      await broker.whenConnected(deadlineIn(10_000));
      await waitFor(() => expect(new Set(taken.map(({ userId }) => userId))).toEqual(new Set(users)));
    });
  });
});
