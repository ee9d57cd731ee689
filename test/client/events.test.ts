import { describe, expect, test, vi } from "vitest";
import { fakeToken, useClient, useFakeService, ways } from "./fake-service.ts";

describe.each(ways)("by %s", (way) => {
  test("a chat copy reaches onRecvNewMessage with its conversation, in the order of notifications", async () => {
    const service = await useFakeService(way);
    const client = useClient(service);
    const seen: string[] = [];
    client.onRecvCustomBusinessMessage(async ({ sequence }) => void seen.push(`notification ${sequence}`));
    client.onRecvNewMessage(async (message) => {
      seen.push(`${message.conversationID} ${message.conversationSequence} ${message.key} at ${message.sequence}`);
    });
    const connecting = client.connect();
    const session = await service.session();
    session.ready();
    await connecting;
    session.notify(1n);
    const value = {
      conversationId: "si_alice_bob",
      conversationSequence: 7n,
      notification: { key: "order.paid", sequence: 2n },
    };
    session.send({ case: "message", value });
    session.notify(3n);
    await service.acked(3n);
    expect(seen).toEqual(["notification 1", "si_alice_bob 7 order.paid at 2", "notification 3"]);
  });

  test("a recall reaches onRecall, and is acknowledged also without a listener", async () => {
    const service = await useFakeService(way);
    const client = useClient(service);
    const recalled: unknown[] = [];
    const connecting = client.connect();
    const session = await service.session();
    session.ready();
    await connecting;
    session.send({ case: "recall", value: { serverMsgId: "aa", clientMsgId: "bb", sequence: 1n } });
    await service.acked(1n);
    client.onRecall(async (notification) => void recalled.push(notification));
    session.send({
      case: "recall",
      value: { serverMsgId: "cc", clientMsgId: "dd", replacedByServerMsgId: "ee", sequence: 2n },
    });
    await service.acked(2n);
    expect(recalled).toEqual([{ serverMsgID: "cc", clientMsgID: "dd", replacedByServerMsgID: "ee", sequence: 2n }]);
  });

  test("what another device has settled reaches onSettled in its place, and is no notification", async () => {
    const service = await useFakeService(way);
    const client = useClient(service);
    const seen: string[] = [];
    client.onRecvCustomBusinessMessage(async ({ sequence }) => void seen.push(`notification ${sequence}`));
    client.onSettled(async (settled) => void seen.push(`settled ${settled.serverMsgID} at ${settled.sequence}`));
    const connecting = client.connect();
    const session = await service.session();
    session.ready();
    await connecting;
    session.notify(1n);
    session.send({ case: "settled", value: { serverMsgId: "aa", clientMsgId: "bb", sequence: 2n } });
    session.notify(3n);
    await service.acked(3n);
    expect(seen).toEqual(["notification 1", "settled aa at 2", "notification 3"]);
  });

  test("what is settled while a listener handles it is taken back, and one that waits is not shown", async () => {
    const service = await useFakeService(way);
    const client = useClient(service);
    const seen: string[] = [];
    const handling = Promise.withResolvers<void>();
    const begun = Promise.withResolvers<void>();
    client.onRecvCustomBusinessMessage(async ({ sequence }) => {
      seen.push(`notification ${sequence}`);
      begun.resolve();
      await handling.promise;
    });
    const settledTwo = Promise.withResolvers<void>();
    client.onSettled(async ({ sequence }) => {
      seen.push(`settled ${sequence}`);
      if (sequence === 2n) settledTwo.resolve();
    });
    const connecting = client.connect();
    const session = await service.session();
    session.ready();
    await connecting;
    session.notify(1n);
    session.notify(2n);
    await begun.promise;
    for (const sequence of [1n, 2n]) {
      session.send({ case: "settled", value: { serverMsgId: "aa", clientMsgId: "bb", sequence, wasSent: true } });
    }
    // An online push waits for nothing: what came before it has been taken then.
    session.notify(0n);
    await vi.waitFor(() => expect(seen).toContain("notification 0"));
    session.notify(3n);
    handling.resolve();
    await settledTwo.promise;
    await service.acked(3n);
    expect(seen).toEqual(["notification 1", "notification 0", "settled 1", "settled 2", "notification 3"]);
  });

  test("a client whose cursor the service never assigned begins anew where the service says", async () => {
    const service = await useFakeService(way);
    const saved = new Map<string, bigint>();
    const cursorStore = {
      load: async () => 5_000n,
      save: async (key: string, sequence: bigint) => void saved.set(key, sequence),
    };
    const client = useClient(service, { token: fakeToken({ UserID: "alice" }), cursorStore });
    const seen: bigint[] = [];
    client.onRecvCustomBusinessMessage(async ({ sequence }) => void seen.push(sequence));
    const connecting = client.connect();
    const session = await service.session();
    expect(session.request.afterSequence).toBe(5_000n);
    session.ready(0n);
    await connecting;
    session.notify(1n);
    session.notify(2n);
    await service.acked(2n);
    expect(seen).toEqual([1n, 2n]);
    expect([...saved.values()]).toEqual([2n]);
  });
});
