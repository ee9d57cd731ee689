import { describe, expect, test, vi } from "vitest";
import { toPartition, toToken } from "../../src/broker/subjects.ts";
import { deadlineIn } from "../../src/deadline.ts";
import type { WriteOptions } from "../../src/inbox/items.ts";
import { useBroker } from "../helpers/broker.ts";
import { type Received, type TestInstance, useInstances, useReceivers, verify } from "../helpers/escalation.ts";

const server = useBroker();
const openInstance = useInstances(server);
const openReceiver = useReceivers();
const waitFor = <T>(check: () => T | Promise<T>) => vi.waitFor(check, { interval: 10 });

/** Stores a notification and puts it into the queue, as `reach` does. */
async function queue(
  { send, escalations }: TestInstance,
  userId: string,
  data = `for ${userId}`,
  options: Pick<WriteOptions, "expiresAtMs" | "devices"> = {},
) {
  const sequence = await send(userId, data, options);
  const partition = toPartition(toToken(userId), 2);
  const { expiresAtMs, devices } = options;
  const unreached = { partition, sequence, userId, storedAtMs: Date.now(), expiresAtMs, devices };
  expect(await escalations.escalate(unreached)).toBe("queued");
  return { id: `server id of ${data}-${partition}-${sequence}`, partition, sequence };
}

/** Nothing waits, and nothing is under way. */
const whenDone = ({ consumed, broker }: TestInstance) =>
  waitFor(async () => {
    expect((await consumed("escalate")).pending).toBe(0);
    expect((await broker.jsm.streams.info("ESCALATIONS")).state.messages).toBe(0);
  });

test("the webhook is asked for what the devices that it is for have not acknowledged", async () => {
  const instance = await openInstance();
  const receiver = await openReceiver();
  const devices = { recvDeviceId: "phone", exceptDeviceId: "" };
  const { id, sequence } = await queue(instance, "ann", "unreached", { devices });
  await instance.acknowledge("ann", sequence, "watch");
  const reached = await queue(instance, "bob", "reached", { devices });
  await instance.acknowledge("bob", reached.sequence, "phone");
  const { counts } = await instance.startEscalate(receiver.url);
  await waitFor(() => expect(counts).toMatchObject({ delivered: 1, reached: 1 }));
  expect(receiver.received.map(({ body }) => body)).toMatchObject([{ escalationID: id, userID: "ann" }]);
  await whenDone(instance);
});

const deadLetters = async ({ desk }: TestInstance) => (await desk.list(0, 1_000)).letters;

describe("the whole way", () => {
  test("the webhook is asked once, signed, when no device acknowledges, and not at all when one does", async () => {
    const instance = await openInstance();
    const receiver = await openReceiver();
    await instance.startEscalate(receiver.url);
    const sequence = await instance.send("ann", "hello");
    await instance.acknowledge("bob", await instance.send("bob", "hello"));
    await instance.startReach({
      escalate: instance.escalations.escalate,
    });
    await waitFor(() => expect(receiver.received).toHaveLength(1));
    await waitFor(async () => expect((await instance.consumed("reach")).pending).toBe(0));
    await whenDone(instance);
    const [request] = receiver.received;
    expect(request?.body).toEqual({
      escalationID: `server id of hello-${toPartition(toToken("ann"), 2)}-${sequence}`,
      attempt: 1,
      userID: "ann",
      sequence,
      notification: {
        serverMsgID: "server id of hello",
        clientMsgID: "id of hello",
        sendTime: expect.any(Number),
        sendUserID: "system",
        recvUserID: "ann",
        recvGroupID: "",
        key: "test",
        data: "hello",
        collapseKey: "",
        reliabilityLevel: 2,
        sequence,
      },
    });
    expect(verify(request ?? { text: "", headers: {} })).toEqual(request?.body);
    expect(receiver.received).toHaveLength(1);
    expect(await deadLetters(instance)).toEqual([]);
  });

  test("over brokers that die, the webhook is asked for every notification that has not reached", async () => {
    const instance = await openInstance();
    const receiver = await openReceiver();
    await instance.startEscalate(receiver.url);
    await instance.startReach({
      wakeDelayMs: 200,
      escalationDelayMs: 500,
      ackWaitMs: 2_000,
      escalate: instance.escalations.escalate,
    });
    const users = Array.from({ length: 40 }, (_, i) => `user ${i}`);
    for (const [i, user] of users.entries()) {
      await instance.send(user, user);
      if (i === 15 || i === 39) process.kill(server.pid(), "SIGKILL");
      await instance.broker.whenConnected(deadlineIn(10_000));
    }
    await waitFor(() => expect(new Set(receiver.received.map(({ body }) => body.userID))).toEqual(new Set(users)));
    await whenDone(instance);
  });
});

describe("an escalation", () => {
  test("is tried again when the webhook answers 500, under the same id, until it is taken", async () => {
    const instance = await openInstance();
    const receiver = await openReceiver(({ body }) => ({ status: body.attempt < 3 ? 500 : 200 }));
    const { counts } = await instance.startEscalate(receiver.url);
    const { id } = await queue(instance, "ann");
    await whenDone(instance);
    expect(receiver.received.map(({ body }) => body.attempt)).toEqual([1, 2, 3]);
    expect(new Set(receiver.received.map(({ headers }) => headers["webhook-id"]))).toEqual(new Set([id]));
    expect(counts).toMatchObject({ delivered: 1, retried: 2, dead: 0 });
  });

  test("pauses twice as long after each failure, up to the most, times a random part", async () => {
    const instance = await openInstance();
    const receiver = await openReceiver(() => ({ status: 500 }));
    await instance.startEscalate(receiver.url, {
      minDelayMs: 100,
      maxDelayMs: 300,
      maxAttempts: 12,
      random: () => 0.99,
    });
    await queue(instance, "ann");
    await whenDone(instance);
    const times = receiver.received.map(({ atMs }) => atMs);
    const pauses = times.slice(1).map((atMs, i) => atMs - (times[i] ?? 0));
    for (const [i, ms] of [99, 198, 297, 297].entries()) expect(pauses[i]).toBeGreaterThanOrEqual(ms - 5);
    // Doubled on and on, they would take longer than a test may.
    expect(pauses).toHaveLength(11);
  });

  test("waits at least as long as Retry-After says", async () => {
    const instance = await openInstance();
    const receiver = await openReceiver(({ body }) =>
      body.attempt === 1 ? { status: 429, headers: { "retry-after": "1" } } : {},
    );
    await instance.startEscalate(receiver.url, { random: () => 0 });
    await queue(instance, "ann");
    await whenDone(instance);
    const [first, second] = receiver.received;
    expect((second?.atMs ?? 0) - (first?.atMs ?? 0)).toBeGreaterThanOrEqual(990);
  });

  test("becomes a dead letter after the last attempt, with its error, and can be replayed", async () => {
    const instance = await openInstance();
    const receiver = await openReceiver(() => ({ status: 500, text: "x".repeat(1_000) }));
    const { counts } = await instance.startEscalate(receiver.url, { maxAttempts: 3 });
    const { id, sequence, partition } = await queue(instance, "ann", "hello");
    await whenDone(instance);
    expect(receiver.received).toHaveLength(3);
    expect(counts).toMatchObject({ delivered: 0, retried: 2, dead: 1 });
    const [letter, ...more] = await deadLetters(instance);
    expect(more).toEqual([]);
    expect(letter).toMatchObject({ id, sequence, partition, userId: "ann", attempts: 3 });
    expect(letter?.error).toBe(`HTTP 500 ${"x".repeat(200)}`);
    expect(letter?.notification.data).toBe("hello");

    receiver.answer = () => ({});
    expect(await instance.desk.replay("all")).toBe(1);
    await waitFor(() => expect(receiver.received).toHaveLength(4));
    await whenDone(instance);
    expect(receiver.received[3]?.body).toMatchObject({ escalationID: id, attempt: 1, userID: "ann" });
    expect(await deadLetters(instance)).toEqual([]);
  });

  test("becomes a dead letter at once when the webhook answers 410", async () => {
    const instance = await openInstance();
    const receiver = await openReceiver(() => ({ status: 410 }));
    await instance.startEscalate(receiver.url);
    await queue(instance, "ann");
    await whenDone(instance);
    expect(receiver.received).toHaveLength(1);
    expect(await deadLetters(instance)).toMatchObject([{ error: "HTTP 410", attempts: 1 }]);
  });

  test("is not posted when a device has acknowledged meanwhile, also between attempts", async () => {
    const instance = await openInstance();
    const receiver = await openReceiver(async () => {
      await instance.acknowledge("bob", bob.sequence);
      return { status: 500 };
    });
    const ann = await queue(instance, "ann");
    await instance.acknowledge("ann", ann.sequence, "watch");
    const bob = await queue(instance, "bob");
    const { counts } = await instance.startEscalate(receiver.url);
    await whenDone(instance);
    expect(receiver.received.map(({ body }) => body.userID)).toEqual(["bob"]);
    expect(counts).toMatchObject({ reached: 2, retried: 1, dead: 0 });
  });

  test("is not posted when it has expired or was withdrawn meanwhile", async () => {
    const instance = await openInstance();
    const receiver = await openReceiver();
    await queue(instance, "ann", "1", { expiresAtMs: Date.now() - 1 });
    const bob = await queue(instance, "bob", "2");
    await instance.inbox.remove(new Map([["bob", bob.sequence]]));
    const { counts } = await instance.startEscalate(receiver.url);
    await whenDone(instance);
    expect(counts).toMatchObject({ expired: 1, withdrawn: 1, delivered: 0 });
    expect(receiver.received).toEqual([]);
  });

  test("does not wait for the broker to look again after the cursors could not be read", async () => {
    const instance = await openInstance();
    const receiver = await openReceiver();
    const ofUsers = vi.fn(instance.cursors.ofUsers).mockRejectedValueOnce(new Error("no answer"));
    await queue(instance, "ann");
    const startedMs = Date.now();
    await instance.startEscalate(receiver.url, { cursors: { ofUsers } });
    await whenDone(instance);
    expect(receiver.received).toHaveLength(1);
    // The ack wait of these tests is 5 s.
    expect(Date.now() - startedMs).toBeLessThan(4_500);
  });
});

describe("many escalations", () => {
  test("are posted at most so many at a time, and a slow answer keeps no other waiting", async () => {
    const instance = await openInstance();
    const slow = Promise.withResolvers<object>();
    let open = 0;
    let most = 0;
    const receiver = await openReceiver(async ({ body }) => {
      most = Math.max(most, ++open);
      if (body.userID === "user 0") await slow.promise;
      else await new Promise((resolve) => setTimeout(resolve, 5));
      open--;
      return {};
    });
    for (let i = 0; i < 30; i++) await queue(instance, `user ${i}`);
    const { counts } = await instance.startEscalate(receiver.url, { maxConcurrent: 4, slowMs: 60_000 });
    await waitFor(() => expect(counts.delivered).toBe(29));
    slow.resolve({});
    await whenDone(instance);
    expect(counts.delivered).toBe(30);
    expect(receiver.received).toHaveLength(30);
    expect(most).toBeLessThanOrEqual(4);
    expect(most).toBeGreaterThan(1);
  });

  test("are not held up by 32 that hang", async () => {
    const instance = await openInstance();
    const hanging = Promise.withResolvers<object>();
    const receiver = await openReceiver(({ body }) => (body.userID === "good" ? {} : hanging.promise));
    for (let i = 0; i < 32; i++) await queue(instance, `hangs ${i}`);
    await instance.startEscalate(receiver.url, { timeoutMs: 60_000 });
    await waitFor(() => expect(receiver.received.length).toBeGreaterThanOrEqual(16));
    await queue(instance, "good");
    await waitFor(() => expect(receiver.received.map(({ body }) => body.userID)).toContain("good"));
    hanging.resolve({});
  });

  test("are not held up by retries, however many wait or hang", async () => {
    const instance = await openInstance();
    const hanging = Promise.withResolvers<object>();
    const isGood = ({ body }: Received) => body.userID.startsWith("good");
    const receiver = await openReceiver((post) => {
      if (isGood(post)) return {};
      return post.body.attempt === 1 ? { status: 500 } : hanging.promise;
    });
    await instance.startEscalate(receiver.url, { maxConcurrent: 4, maxUnderWay: 8, timeoutMs: 60_000 });
    for (let i = 0; i < 40; i++) await queue(instance, `hangs ${i}`);
    // All that may hang at a time do; the others are due.
    await waitFor(() => expect(receiver.received.filter(({ body }) => body.attempt === 2)).toHaveLength(4));
    for (let i = 0; i < 40; i++) await queue(instance, `good ${i}`);
    await waitFor(() => expect(receiver.received.filter(isGood)).toHaveLength(40));
    hanging.resolve({});
  });

  test("are shared by instances, and one that stops in the middle leaves its own to the others", async () => {
    const [one, other] = [await openInstance(), await openInstance()];
    const hanging = Promise.withResolvers<object>();
    const [first, second] = [await openReceiver(() => hanging.promise), await openReceiver()];
    const worker = await one.startEscalate(first.url, { maxConcurrent: 5 });
    for (let i = 0; i < 5; i++) await queue(one, `user ${i}`);
    await waitFor(() => expect(first.received).toHaveLength(5));
    await other.startEscalate(second.url);
    await worker.stop();
    await waitFor(() => expect(second.received).toHaveLength(5));
    await whenDone(other);
    hanging.resolve({});
  });
});
