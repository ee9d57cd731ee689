import { describe, expect, onTestFinished, test, vi } from "vitest";
import { type ClientOptions, type MustreachClient, memoryCursorStore } from "../../../src/client/index.ts";
import { failure } from "../../../src/errors.ts";
import { Start } from "../../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { type FakeService, type FakeSession, fakeToken, useClient, useFakeService } from "../fake-service.ts";

// Node's locks and channels are those of the browser, for all of a process: its clients are the tabs here. Real ones are
// in test/e2e/tabs.test.ts.

const often = { interval: 2 };
const token = fakeToken({ UserID: "alice", PlatformID: 5 });

/** A tab of alice's browser, and what its listener was given. */
function useTab(service: FakeService, options: Partial<ClientOptions> = {}) {
  const client = useClient(service, { shareStream: true, token, deviceId: "browser", ...options });
  const seen: bigint[] = [];
  client.onRecvCustomBusinessMessage(({ sequence }) => void seen.push(sequence));
  return { client, seen };
}

/** Opens a session for a tab that is connecting. */
async function openSession(service: FakeService, connecting: Promise<void>, resumeSequence?: bigint) {
  const session = await service.session();
  session.ready(resumeSequence);
  await connecting;
  return session;
}

/** A listener that waits for the test at each notification. */
function useSlowListener(client: MustreachClient) {
  const seen: bigint[] = [];
  const gates: (() => void)[] = [];
  client.onRecvCustomBusinessMessage(async ({ sequence }) => {
    seen.push(sequence);
    await new Promise<void>((resolve) => gates.push(resolve));
  });
  onTestFinished(() => {
    for (const open of gates) open();
  });
  return { seen, next: () => gates.shift()?.() };
}

const sees = (seen: bigint[], ...sequences: bigint[]) => vi.waitFor(() => expect(seen).toEqual(sequences), often);

describe("tabs of one device", () => {
  test("share one stream: each gets each notification, and one acknowledges", async () => {
    const service = await useFakeService();
    const [first, second, third] = [useTab(service), useTab(service), useTab(service)];
    const session = await openSession(service, first.client.connect());
    await Promise.all([second.client.connect(), third.client.connect()]);
    session.notify(1n);
    session.push("hello");
    session.notify(2n);
    for (const { seen } of [first, second, third]) {
      await vi.waitFor(() => expect(seen.toSorted()).toEqual([0n, 1n, 2n]), often);
    }
    await service.acked(2n);
    expect(service.opened()).toBe(1);
    expect(service.acks.length).toBeLessThan(3);
    expect(service.acks[0]).toMatchObject({ deviceId: "browser", token });
  });

  test("that come later begin with what nobody has acknowledged", async () => {
    const service = await useFakeService();
    const first = useTab(service);
    const slow = useSlowListener(first.client);
    const session = await openSession(service, first.client.connect(), 10n);
    session.notify(11n);
    session.notify(12n);
    await sees(slow.seen, 11n);
    const second = useTab(service);
    await second.client.connect();
    await sees(second.seen, 11n, 12n);
    session.notify(13n);
    await sees(second.seen, 11n, 12n, 13n);
    // It has handled all that the other one has not.
    await service.acked(13n);
    expect(service.opened()).toBe(1);
  });

  test("go on with another leader after what they have got, from what is acknowledged", async () => {
    const service = await useFakeService();
    const leader = useTab(service);
    const session = await openSession(service, leader.client.connect(), 10n);
    const [fast, other] = [useTab(service), useTab(service)];
    const slow = useSlowListener(other.client);
    await Promise.all([fast.client.connect(), other.client.connect()]);
    for (const sequence of [11n, 12n, 13n]) session.notify(sequence);
    await sees(fast.seen, 11n, 12n, 13n);
    await sees(slow.seen, 11n);
    await service.acked(13n);
    const statuses: string[] = [];
    fast.client.onStatus((status) => void statuses.push(status));
    await leader.client.close();
    const next = await service.session();
    expect(session.left.aborted).toBe(true);
    expect(next.request).toMatchObject({ deviceId: "browser", start: Start.RESUME });
    // Not after what was received: the service would take that as handled.
    expect(next.request.afterSequence).toBeUndefined();
    next.ready(12n);
    next.notify(13n);
    next.notify(14n);
    await sees(fast.seen, 11n, 12n, 13n, 14n);
    for (const sequence of [11n, 12n, 13n, 14n]) {
      await vi.waitFor(() => expect(slow.seen.at(-1)).toBe(sequence), often);
      slow.next();
    }
    expect(slow.seen).toEqual([11n, 12n, 13n, 14n]);
    await service.acked(14n);
    expect(service.opened()).toBe(2);
    expect(statuses).toEqual([]);
  });

  test("have what was asked of a leader that is gone answered by the next one", async () => {
    const service = await useFakeService();
    const leader = useTab(service);
    const session = await openSession(service, leader.client.connect());
    const follower = useTab(service);
    await follower.client.connect();
    const refused = Promise.withResolvers<void>();
    service.onAck = () => refused.promise;
    session.notify(1n);
    await sees(follower.seen, 1n);
    service.onAck = () => undefined;
    void leader.client.close({ deadlineMs: 0 });
    const next = await service.session();
    next.ready(0n);
    await service.acked(1n);
    refused.resolve();
  });

  test("that are behind get all, although others have acknowledged it and the stream has ended", async () => {
    const service = await useFakeService();
    const cursorStore = memoryCursorStore();
    const fast = useTab(service, { cursorStore });
    const session = await openSession(service, fast.client.connect());
    const behind = useTab(service, { cursorStore });
    const slow = useSlowListener(behind.client);
    await behind.client.connect();
    for (const sequence of [1n, 2n, 3n]) session.notify(sequence);
    await sees(slow.seen, 1n);
    await service.acked(3n);
    session.end();
    const next = await service.session();
    next.ready();
    if (next.request.afterSequence === 0n) for (const sequence of [1n, 2n, 3n]) next.notify(sequence);
    next.notify(4n);
    await sees(fast.seen, 1n, 2n, 3n, 4n);
    for (const sequence of [1n, 2n, 3n, 4n]) {
      await vi.waitFor(() => expect(slow.seen.at(-1)).toBe(sequence), often);
      slow.next();
    }
    expect(slow.seen).toEqual([1n, 2n, 3n, 4n]);
    expect(service.opened()).toBeLessThan(4);
  });

  test("have the stream begin anew for one that is behind what is kept", async () => {
    const service = await useFakeService();
    const first = useTab(service);
    const session = await openSession(service, first.client.connect(), 50n);
    const store = memoryCursorStore();
    await store.save(JSON.stringify(["alice", "browser"]), 30n);
    const behind = useTab(service, { cursorStore: store });
    const connecting = behind.client.connect();
    const anew = await service.session();
    expect(anew.request.afterSequence).toBe(30n);
    expect(session.left.aborted).toBe(true);
    anew.ready();
    await connecting;
    for (const sequence of [40n, 50n, 60n]) anew.notify(sequence);
    await sees(behind.seen, 40n, 50n, 60n);
    await sees(first.seen, 60n);
  });

  test("all follow a store that was replaced, whichever of them hears of it first", async () => {
    const service = await useFakeService();
    const tabs = [useTab(service), useTab(service), useTab(service)];
    const gaps = tabs.map(({ client }) => {
      const told: unknown[] = [];
      client.onGap((gap) => void told.push(gap));
      return told;
    });
    const connecting = tabs.map(({ client }) => client.connect());
    const place = (session: FakeSession, resumeSequence: bigint, epoch: string) =>
      session.send({ case: "ready", value: { resumeSequence, epoch, deviceId: "browser" } });
    const notify = (session: FakeSession, sequence: bigint, epoch: string) =>
      session.send({ case: "notification", value: { sequence, epoch, reliabilityLevel: 2, data: "{}", key: "key" } });
    const session = await service.session();
    place(session, 0n, "");
    await Promise.all(connecting);
    for (const sequence of [10n, 20n, 30n, 40n]) notify(session, sequence, "one");
    for (const { seen } of tabs) await sees(seen, 10n, 20n, 30n, 40n);
    await service.acked(40n);

    session.send({ case: "reconnect", value: { afterMs: 1, reason: "the store was replaced" } });
    const next = await service.session();
    expect(next.request).toMatchObject({ afterSequence: 40n, epoch: "one" });
    place(next, 25n, "one");
    await vi.waitFor(() => expect(gaps).toMatchObject([[{}], [{}], [{}]]), often);
    for (const sequence of [32n, 36n, 40n, 44n]) notify(next, sequence, "two");
    for (const { seen } of tabs) await sees(seen, 10n, 20n, 30n, 40n, 32n, 36n, 40n, 44n);
    expect(gaps.flat()).toMatchObject(Array(3).fill({ reason: "storeChanged", to: 25n }));
    // The leader knows that it is acknowledged once a tab has had its answer, and close() waits for that.
    await tabs[2]?.client.close();
    expect(service.acks.at(-1)?.sequence).toBe(44n);
    // And one that opens only now.
    const late = useTab(service);
    await late.client.connect();
    notify(next, 50n, "two");
    await sees(late.seen, 50n);
    expect(service.opened()).toBe(2);
  });

  test("are told alike when the service ends the session", async () => {
    const service = await useFakeService();
    const tabs = [useTab(service), useTab(service)];
    const connecting = tabs.map(({ client }) => client.connect());
    const session = await service.session();
    session.ready();
    await Promise.all(connecting);
    session.send({ case: "reconnect", value: { afterMs: 1, reason: "restart" } });
    const next = await service.session();
    next.ready();
    await vi.waitFor(() => expect(tabs.map(({ client }) => client.status())).toEqual(["ready", "ready"]), often);
    next.end(failure("TokenKickedError", "logged out"));
    await vi.waitFor(() => expect(tabs.map(({ client }) => client.status())).toEqual(["closed", "closed"]), often);
    expect(service.opened()).toBe(2);
  });

  test("do not fail with one whose token is refused", async () => {
    const service = await useFakeService();
    const bad = useTab(service, { token: fakeToken({ UserID: "alice", PlatformID: 5, exp: 1 }) });
    const refused = expect(bad.client.connect()).rejects.toMatchObject({ errCode: 1501 });
    const good = useTab(service);
    const connecting = good.client.connect();
    (await service.session()).end(failure("TokenExpiredError", "expired"));
    await refused;
    const session = await openSession(service, connecting);
    expect(session.token).toBe(token);
  });

  test("find a stream that is silent, and open another", async () => {
    const service = await useFakeService();
    const tab = useTab(service, { idleTimeoutMs: 200 });
    await openSession(service, tab.client.connect());
    await openSession(service, Promise.resolve());
    await vi.waitFor(() => expect(tab.client.status()).toBe("ready"), often);
  });
});

describe("a stream of its own has", () => {
  const separate = async (service: FakeService, one: Partial<ClientOptions>, other: Partial<ClientOptions>) => {
    const sessions: FakeSession[] = [];
    for (const options of [one, other]) {
      sessions.push(await openSession(service, useTab(service, options).client.connect()));
    }
    return sessions.map(({ request }) => request.deviceId);
  };

  test("each device", async () => {
    const service = await useFakeService();
    expect(await separate(service, { deviceId: "a" }, { deviceId: "b" })).toEqual(["a", "b"]);
  });

  test("each user", async () => {
    const service = await useFakeService();
    const bob = fakeToken({ UserID: "bob", PlatformID: 5 });
    expect(await separate(service, {}, { token: bob })).toEqual(["browser", "browser"]);
  });

  test("each client that does not share", async () => {
    const service = await useFakeService();
    expect(await separate(service, { shareStream: false }, { shareStream: false })).toEqual(["browser", "browser"]);
  });

  test("each client outside of a browser, unless it says otherwise", async () => {
    const service = await useFakeService();
    expect(await separate(service, { shareStream: undefined }, { shareStream: undefined })).toHaveLength(2);
  });
});
