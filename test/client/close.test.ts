import { describe, expect, test, vi } from "vitest";
import type { CursorStore } from "../../src/client/index.ts";
import { failure } from "../../src/errors.ts";
import { fakeToken, useClient, useFakeService, ways } from "./fake-service.ts";

const often = { interval: 2 };

describe.each(ways)("by %s", (way) => {
  test("close waits for the listener in progress, acknowledges it, then ends the session", async () => {
    const service = await useFakeService(way);
    const client = useClient(service);
    const gate = Promise.withResolvers<void>();
    const seen: string[] = [];
    client.onRecvCustomBusinessMessage(({ key }) => {
      seen.push(key);
      return gate.promise;
    });
    const connecting = client.connect();
    const session = await service.session();
    session.ready();
    await connecting;
    session.notify(1n);
    session.notify(2n);
    session.push("p1");
    session.push("p2");
    await vi.waitFor(() => expect(seen).toEqual(["key-1", "p1"]), often);
    let leftBeforeAck: boolean | undefined;
    service.onAck = () => {
      leftBeforeAck = session.left.aborted;
    };
    let closed = false;
    const closing = client.close().then(() => {
      closed = true;
    });
    session.notify(3n);
    session.push("p3");
    await new Promise(setImmediate);
    expect({ closed, left: session.left.aborted }).toEqual({ closed: false, left: false });
    gate.resolve();
    await closing;
    await vi.waitFor(() => expect(session.left.aborted).toBe(true), often);
    expect(leftBeforeAck).toBe(false);
    expect(service.acks.map(({ sequence }) => sequence)).toEqual([1n]);
    expect(seen).toEqual(["key-1", "p1"]);
    expect(client.status()).toBe("closed");
  });

  test("close waits for the acknowledgement on its way and sends the last one", async () => {
    const service = await useFakeService(way);
    const client = useClient(service);
    const gate = Promise.withResolvers<void>();
    const started: bigint[] = [];
    service.onAck = (sequence) => {
      started.push(sequence);
      return gate.promise;
    };
    let handled = 0;
    client.onRecvCustomBusinessMessage(() => void handled++);
    void client.connect();
    const session = await service.session();
    session.ready();
    session.notify(1n);
    await vi.waitFor(() => expect(started).toEqual([1n]), often);
    session.notify(2n);
    session.notify(3n);
    await vi.waitFor(() => expect(handled).toBe(3), often);
    const closing = client.close();
    gate.resolve();
    await closing;
    // In a stream there is no answer, and the last one is to have one.
    const all = way === "Receive" ? [1n, 3n, 3n] : [1n, 3n];
    expect(service.acks.map(({ sequence }) => sequence)).toEqual(all);
  });

  test("close does not wait for a listener that keeps failing, and does not acknowledge it", async () => {
    const service = await useFakeService(way);
    const client = useClient(service, { retry: { minDelayMs: 60_000 } });
    let calls = 0;
    client.onRecvCustomBusinessMessage(() => {
      calls++;
      throw new Error("no");
    });
    void client.connect();
    const session = await service.session();
    session.ready();
    session.notify(1n);
    await vi.waitFor(() => expect(calls).toBe(1), often);
    await client.close();
    expect({ calls, acks: service.acks }).toEqual({ calls: 1, acks: [] });
  });

  test("close gives up at its deadline, and a listener that ends later changes nothing", async () => {
    const service = await useFakeService(way);
    const saved: bigint[] = [];
    const cursorStore: CursorStore = {
      load: async () => undefined,
      save: async (_, sequence) => void saved.push(sequence),
    };
    const client = useClient(service, { token: fakeToken({ UserID: "alice" }), cursorStore });
    const gate = Promise.withResolvers<void>();
    let calls = 0;
    client.onRecvCustomBusinessMessage(() => {
      calls++;
      return gate.promise;
    });
    void client.connect();
    const session = await service.session();
    session.ready();
    session.notify(1n);
    await vi.waitFor(() => expect(calls).toBe(1), often);
    const patient = client.close();
    await client.close({ deadlineMs: 20 });
    await patient;
    await vi.waitFor(() => expect(session.left.aborted).toBe(true), often);
    gate.resolve();
    await new Promise(setImmediate);
    expect({ saved, acks: service.acks }).toEqual({ saved: [0n], acks: [] });
  });

  test("close gives up an acknowledgement that cannot be sent", async () => {
    const service = await useFakeService(way);
    const client = useClient(service, { retry: { minDelayMs: 60_000 } });
    client.onRecvCustomBusinessMessage(() => {});
    let attempts = 0;
    service.onAck = () => {
      attempts++;
      throw failure("NetworkError", "the broker is away");
    };
    void client.connect();
    const session = await service.session();
    session.ready();
    session.notify(1n);
    await vi.waitFor(() => expect(attempts).toBe(1), often);
    await client.close();
    // Once more, for the broker may be back.
    expect(attempts).toBe(2);
  });

  test("close can be called again, before connect, while connecting and while waiting", async () => {
    const service = await useFakeService(way);
    const idle = useClient(service);
    await idle.close();
    await idle.close();
    await expect(idle.connect()).rejects.toMatchObject({ errCode: 90004, errDlt: "client closed" });

    const connecting = useClient(service);
    const connected = connecting.connect();
    const session = await service.session();
    await connecting.close();
    await expect(connected).rejects.toMatchObject({ errCode: 90004 });
    await vi.waitFor(() => expect(session.left.aborted).toBe(true), often);

    await service.kill();
    const waiting = useClient(service, { reconnect: { minDelayMs: 60_000, maxDelayMs: 60_000 } });
    void waiting.connect();
    await vi.waitFor(() => expect(waiting.status()).toBe("waiting"), often);
    await waiting.close();
    expect(waiting.status()).toBe("closed");
  });
});
