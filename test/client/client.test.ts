import { describe, expect, test, vi } from "vitest";
import type { BusinessNotification, ClientStatus, NotificationGap } from "../../src/client/index.ts";
import { failure } from "../../src/errors.ts";
import { Gap_Reason, Start } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { type FakeService, useClient, useFakeService, ways } from "./fake-service.ts";

/** Opens the first session of a client that is connecting. */
async function openSession(service: FakeService, connecting: Promise<void>, resumeSequence = 0n) {
  const session = await service.session();
  session.ready(resumeSequence);
  await connecting;
  return session;
}

const often = { interval: 2 };

describe.each(ways)("by %s", (way) => {
  describe("delivery", () => {
    test("a notification reaches the listener under OpenIM's names and is acknowledged", async () => {
      const service = await useFakeService(way);
      const client = useClient(service, { deviceId: "phone", window: 7 });
      const seen: BusinessNotification[] = [];
      client.onRecvCustomBusinessMessage(async (notification) => void seen.push(notification));
      const session = await openSession(service, client.connect());
      session.send({
        case: "notification",
        value: {
          serverMsgId: "aa",
          clientMsgId: "bb",
          sendTime: 1_700_000_000_000n,
          sendUserId: "system",
          recvUserId: "alice",
          recvGroupId: "",
          key: "order.paid",
          data: '{"id":77}',
          reliabilityLevel: 2,
          sequence: 9_007_199_254_740_993n,
        },
      });
      await service.acked(9_007_199_254_740_993n);
      expect(seen).toEqual([
        {
          serverMsgID: "aa",
          clientMsgID: "bb",
          sendTime: 1_700_000_000_000,
          sendUserID: "system",
          recvUserID: "alice",
          recvGroupID: "",
          key: "order.paid",
          data: '{"id":77}',
          collapseKey: "",
          traceparent: "",
          reliabilityLevel: 2,
          sequence: 9_007_199_254_740_993n,
        },
      ]);
      expect(session.token).toBe("token-1");
      expect(session.request).toMatchObject({ deviceId: "phone", window: 7, start: Start.RESUME });
      expect(session.request.afterSequence).toBeUndefined();
      expect(service.acks).toEqual([{ sequence: 9_007_199_254_740_993n, deviceId: "phone", token: "token-1" }]);
    });

    test("listeners run one notification at a time, in order, and the acknowledgement waits for all of them", async () => {
      const service = await useFakeService(way);
      const client = useClient(service);
      const log: string[] = [];
      const gate = Promise.withResolvers<void>();
      client.onRecvCustomBusinessMessage(async ({ sequence }) => {
        log.push(`a${sequence}`);
        await gate.promise;
        log.push(`a${sequence} done`);
      });
      client.onRecvCustomBusinessMessage(({ sequence }) => void log.push(`b${sequence}`));
      const session = await openSession(service, client.connect());
      session.notify(3n);
      session.notify(8n);
      await vi.waitFor(() => expect(log).toEqual(["a3"]), often);
      expect(service.acks).toEqual([]);
      gate.resolve();
      await service.acked(8n);
      expect(log).toEqual(["a3", "a3 done", "b3", "a8", "a8 done", "b8"]);
    });

    test("at most one acknowledgement is on its way, and the next carries the highest", async () => {
      const service = await useFakeService(way);
      const client = useClient(service);
      const started: bigint[] = [];
      const gate = Promise.withResolvers<void>();
      service.onAck = (sequence) => {
        started.push(sequence);
        return gate.promise;
      };
      let handled = 0;
      client.onRecvCustomBusinessMessage(() => void handled++);
      const session = await openSession(service, client.connect());
      session.notify(1n);
      await vi.waitFor(() => expect(started).toEqual([1n]), often);
      for (const sequence of [2n, 3n, 4n]) session.notify(sequence);
      await vi.waitFor(() => expect(handled).toBe(4), often);
      expect(started).toEqual([1n]);
      gate.resolve();
      await service.acked(4n);
      expect(started).toEqual([1n, 4n]);
    });

    test("a listener that throws is called again and later notifications do not overtake it", async () => {
      const service = await useFakeService(way);
      const errors: unknown[] = [];
      const client = useClient(service, { onError: (error) => errors.push(error) });
      const calls: string[] = [];
      client.onRecvCustomBusinessMessage(({ sequence }) => void calls.push(`first ${sequence}`));
      client.onRecvCustomBusinessMessage(({ sequence }) => {
        calls.push(`second ${sequence}, ${service.acks.length} acks`);
        if (calls.length < 4) throw new Error("database is away");
      });
      const session = await openSession(service, client.connect());
      session.notify(1n);
      session.notify(2n);
      await service.acked(2n);
      // The first listener has resolved, so only the second is called again.
      expect(calls.slice(0, 4)).toEqual(["first 1", "second 1, 0 acks", "second 1, 0 acks", "second 1, 0 acks"]);
      expect(calls[4]).toBe("first 2");
      expect(errors.map(String)).toEqual(["Error: database is away", "Error: database is away"]);
    });

    test("an unregistered listener is called no more, even between its attempts", async () => {
      const service = await useFakeService(way);
      const client = useClient(service);
      let calls = 0;
      const unregister = client.onRecvCustomBusinessMessage(() => {
        calls++;
        unregister();
        throw new Error("no");
      });
      client.onRecvCustomBusinessMessage(() => {});
      const session = await openSession(service, client.connect());
      session.notify(1n);
      await service.acked(1n);
      expect(calls).toBe(1);
    });

    test("a must-reach notification waits for the first listener", async () => {
      const service = await useFakeService(way);
      const client = useClient(service);
      const session = await openSession(service, client.connect());
      const seen: bigint[] = [];
      session.notify(1n);
      session.send({ case: "heartbeat", value: { droppedOnlinePushes: 1n } });
      await vi.waitFor(() => expect(client.droppedOnlinePushes()).toBe(1), often);
      expect(service.acks).toEqual([]);
      client.onRecvCustomBusinessMessage(({ sequence }) => void seen.push(sequence));
      await service.acked(1n);
      expect(seen).toEqual([1n]);
    });

    test("duplicates are dropped", async () => {
      const service = await useFakeService(way);
      const client = useClient(service);
      const seen: bigint[] = [];
      client.onRecvCustomBusinessMessage(({ sequence }) => void seen.push(sequence));
      const session = await openSession(service, client.connect());
      for (const sequence of [1n, 2n, 2n, 1n, 3n]) session.notify(sequence);
      await service.acked(3n);
      expect(seen).toEqual([1n, 2n, 3n]);
    });

    test("an unknown event and the chat copy are ignored", async () => {
      const service = await useFakeService(way);
      const client = useClient(service);
      const seen: bigint[] = [];
      client.onRecvCustomBusinessMessage(({ sequence }) => void seen.push(sequence));
      const session = await openSession(service, client.connect());
      session.send({ case: undefined });
      session.send({ case: "message", value: { conversationId: "si_a_b", notification: { sequence: 1n } } });
      session.notify(2n);
      await service.acked(2n);
      expect(seen).toEqual([2n]);
      expect(service.opened()).toBe(1);
    });
  });

  describe("online pushes", () => {
    test("pass a must-reach notification whose listener is stuck, in their order, unacknowledged", async () => {
      const service = await useFakeService(way);
      const client = useClient(service);
      const stuck = Promise.withResolvers<void>();
      const keys: string[] = [];
      client.onRecvCustomBusinessMessage(({ key, sequence }) => {
        keys.push(key);
        return sequence === 1n ? stuck.promise : undefined;
      });
      const session = await openSession(service, client.connect());
      session.notify(1n, "stuck");
      session.notify(2n, "waits");
      session.push("p1");
      session.push("p2");
      await vi.waitFor(() => expect(keys).toEqual(["stuck", "p1", "p2"]), often);
      expect(service.acks).toEqual([]);
      stuck.resolve();
      await service.acked(2n);
      expect(keys).toEqual(["stuck", "p1", "p2", "waits"]);
    });

    test("are handled once: a listener that throws is reported, and the other listeners are called", async () => {
      const service = await useFakeService(way);
      const errors: unknown[] = [];
      const client = useClient(service, { onError: (error) => errors.push(error) });
      const keys: string[] = [];
      client.onRecvCustomBusinessMessage(({ key }) => {
        keys.push(`a ${key}`);
        throw new Error(`no ${key}`);
      });
      client.onRecvCustomBusinessMessage(({ key }) => void keys.push(`b ${key}`));
      const session = await openSession(service, client.connect());
      session.push("p1");
      session.push("p2");
      await vi.waitFor(() => expect(keys).toEqual(["a p1", "b p1", "a p2", "b p2"]), often);
      expect(errors.map(String)).toEqual(["Error: no p1", "Error: no p2"]);
    });

    test("beyond 1,000 waiting the oldest are dropped and counted, with those that the service dropped", async () => {
      const service = await useFakeService(way);
      const client = useClient(service);
      const gate = Promise.withResolvers<void>();
      const keys: string[] = [];
      client.onRecvCustomBusinessMessage(async ({ key }) => {
        keys.push(key);
        await gate.promise;
      });
      const session = await openSession(service, client.connect());
      for (let i = 0; i < 1_011; i++) session.push(`p${i}`);
      await vi.waitFor(() => expect(client.droppedOnlinePushes()).toBe(10), often);
      session.send({ case: "heartbeat", value: { droppedOnlinePushes: 5n } });
      session.end();
      const second = await service.session();
      second.ready();
      second.send({ case: "heartbeat", value: { droppedOnlinePushes: 2n } });
      await vi.waitFor(() => expect(client.droppedOnlinePushes()).toBe(17), often);
      gate.resolve();
      await vi.waitFor(() => expect(keys.length).toBe(1_001), often);
      expect(keys.slice(0, 2)).toEqual(["p0", "p11"]);
    });
  });

  describe("gaps", () => {
    const gap = (from: bigint, to: bigint) =>
      ({ case: "gap", value: { from, to, reason: Gap_Reason.RETENTION } }) as const;

    test("come in order, are tried again, and are acknowledged up to their end", async () => {
      const service = await useFakeService(way);
      const client = useClient(service);
      const log: (bigint | NotificationGap)[] = [];
      let attempts = 0;
      client.onRecvCustomBusinessMessage(({ sequence }) => void log.push(sequence));
      client.onGap((told) => {
        if (++attempts === 1) throw new Error("not yet");
        log.push(told);
      });
      const session = await openSession(service, client.connect());
      session.notify(1n);
      session.send(gap(2n, 9n));
      session.notify(9n);
      session.notify(10n);
      await service.acked(10n);
      expect(log).toEqual([1n, { from: 2n, to: 9n, reason: "retention" }, 10n]);
    });

    test("are never silent: without a listener onError is told", async () => {
      const service = await useFakeService(way);
      const errors: unknown[] = [];
      const client = useClient(service, { onError: (error) => errors.push(error) });
      const session = await openSession(service, client.connect());
      session.send(gap(2n, 9n));
      await service.acked(9n);
      expect(errors.map(String)).toEqual(["Error: the notifications 2 to 9 will not be delivered (retention)"]);
    });
  });

  describe("status", () => {
    test("goes through connecting, ready, waiting and closed, each told once with its error", async () => {
      const service = await useFakeService(way);
      const told: [ClientStatus, string?][] = [];
      const client = useClient(service, {
        onStatus: (status, error) => told.push(error === undefined ? [status] : [status, String(error)]),
      });
      expect(client.status()).toBe("closed");
      const session = await openSession(service, client.connect());
      expect(client.status()).toBe("ready");
      session.end(failure("NetworkError", "the broker is away"));
      await openSession(service, Promise.resolve());
      await vi.waitFor(() => expect(client.status()).toBe("ready"), often);
      await client.close();
      expect(told).toEqual([
        ["connecting"],
        ["ready"],
        ["waiting", "MustreachClientError: NetworkError (90004): the broker is away"],
        ["connecting"],
        ["ready"],
        ["closed"],
      ]);
    });
  });

  test("a baseUrl that is not an http address is refused at once", async () => {
    const service = await useFakeService(way);
    expect(() => useClient(service, { baseUrl: "localhost:10002" })).toThrow(TypeError);
    expect(() => useClient(service, { baseUrl: "127.0.0.1" })).toThrow(TypeError);
  });
});
