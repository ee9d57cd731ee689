import { Code, ConnectError } from "@connectrpc/connect";
import { expect, onTestFinished, test } from "vitest";
import { createSender } from "../../src/client/index.ts";
import { createClientMsgID } from "../../src/client/sender.ts";
import { failure } from "../../src/errors.ts";
import { Durability, type SendBusinessNotificationRequest } from "../../src/gen/mustreach/msg/v1/msg_pb.ts";
import { type FakeService, useFakeService } from "./fake-service.ts";

const notification = { sendUserID: "system", recvUserID: "alice", key: "order.paid", data: "{}" };

const mustReach = { ...notification, mustReach: true };

const useSender = (service: FakeService, options: Partial<Parameters<typeof createSender>[0]> = {}) =>
  createSender({
    baseUrl: service.baseUrl,
    token: "admin",
    retry: { minDelayMs: 2, maxDelayMs: 5, timeoutMs: 5_000 },
    ...options,
  });

test("send passes every field on and returns what was accepted", async () => {
  const service = await useFakeService();
  const requests: [SendBusinessNotificationRequest, string | null][] = [];
  service.onSend = async (request, token) => {
    requests.push([request, token]);
    return {
      serverMsgId: "aa",
      clientMsgId: request.clientMsgId,
      sendTime: 1_700_000_000_000n,
      durability: Durability.FSYNCED,
    };
  };
  const sent = await useSender(service).send({
    sendUserID: "system",
    recvGroupID: "team",
    key: "order.paid",
    data: "",
    mustReach: true,
    clientMsgID: "mine",
    ttlSeconds: 60,
    sendMsg: true,
  });
  expect(sent).toEqual({
    serverMsgID: "aa",
    clientMsgID: "mine",
    sendTime: 1_700_000_000_000,
    durability: "fsynced",
  });
  expect(requests).toMatchObject([
    [
      {
        sendUserId: "system",
        recvUserId: "",
        recvGroupId: "team",
        key: "order.paid",
        data: "",
        reliabilityLevel: 2,
        clientMsgId: "mine",
        ttlSeconds: 60,
        sendMsg: true,
      },
      "admin",
    ],
  ]);
});

test("send is an online push by default, and leaves its id to the service", async () => {
  const service = await useFakeService();
  const requests: SendBusinessNotificationRequest[] = [];
  service.onSend = async (request) => {
    requests.push(request);
    return { clientMsgId: request.clientMsgId, durability: Durability.NONE };
  };
  const { durability } = await useSender(service).send(notification);
  expect(requests).toMatchObject([{ reliabilityLevel: 1, clientMsgId: "" }]);
  expect(durability).toBe("none");
});

test("a must-reach send gets a new id each time", async () => {
  const service = await useFakeService();
  service.onSend = async (request) => ({ clientMsgId: request.clientMsgId });
  const sender = useSender(service);
  const sent = [await sender.send(mustReach), await sender.send(mustReach)];
  expect(new Set(sent.map(({ clientMsgID }) => clientMsgID)).size).toBe(2);
  for (const { clientMsgID } of sent) expect(clientMsgID).toMatch(/^[0-9a-f]{32}$/);
});

test("an online push without an id is tried once, since a second try could push it twice", async () => {
  const service = await useFakeService();
  let attempts = 0;
  service.onSend = async () => {
    attempts++;
    throw failure("NetworkError", "the broker is away");
  };
  await expect(useSender(service).send(notification)).rejects.toMatchObject({ errCode: 90004 });
  expect(attempts).toBe(1);
});

test("send tries again under the same id while the network or the broker fails", async () => {
  const service = await useFakeService();
  const ids: string[] = [];
  service.onSend = async ({ clientMsgId }) => {
    ids.push(clientMsgId);
    if (ids.length === 1) throw failure("NetworkError", "the broker is away");
    if (ids.length === 2) {
      // Accepted, but the answer is lost: the connection breaks.
      void service.kill().then(() => service.start());
      await new Promise(() => {});
    }
    return { clientMsgId };
  };
  const { clientMsgID } = await useSender(service).send(mustReach);
  expect(ids).toEqual([clientMsgID, clientMsgID, clientMsgID]);
});

test.each(["ServerStoppingError", "TooManyRequestsError"] as const)(
  "send tries again after %s, when the service says",
  async (name) => {
    const service = await useFakeService();
    const triedAt: number[] = [];
    service.onSend = async ({ clientMsgId }) => {
      triedAt.push(performance.now());
      if (triedAt.length === 1) throw failure(name, "not now", undefined, { retryAfterMs: 300 });
      return { clientMsgId };
    };
    const sender = useSender(service, { retry: { minDelayMs: 1, maxDelayMs: 1_000, timeoutMs: 20_000 } });
    await sender.send(mustReach);
    // A timer may fire a fraction of a millisecond early.
    expect((triedAt[1] ?? 0) - (triedAt[0] ?? 0)).toBeGreaterThan(298);
  },
);

test("send gives up when its time is over", async () => {
  const service = await useFakeService();
  let attempts = 0;
  service.onSend = async () => {
    attempts++;
    throw failure("NetworkError", "the broker is away");
  };
  const sender = useSender(service, { retry: { minDelayMs: 10, maxDelayMs: 10, timeoutMs: 3_000 } });
  await expect(sender.send(mustReach)).rejects.toMatchObject({ errCode: 90004, errDlt: "the broker is away" });
  expect(attempts).toBeGreaterThan(1);
});

test.each([
  ["the service's own errors", failure("DuplicateKeyError", "another body"), 1003],
  ["what a full store refuses", failure("StoreFullError", "the store is full"), 90101],
  ["what the broker refuses for good", failure("BrokerRefusedError", "no"), 90102],
  ["a service that fails", failure("ServerInternalError", "internal error"), 500],
  ["an error without facts", new ConnectError("too large", Code.ResourceExhausted), 1001],
])("send does not repeat %s", async (_, error, errCode) => {
  const service = await useFakeService();
  let attempts = 0;
  service.onSend = async () => {
    attempts++;
    throw error;
  };
  await expect(useSender(service).send(mustReach)).rejects.toMatchObject({ errCode });
  expect(attempts).toBe(1);
});

test("send asks a token function again once when the token has expired", async () => {
  const service = await useFakeService();
  let asked = 0;
  service.onSend = async (_, token) => {
    if (token !== "token-2") throw failure("TokenExpiredError", "expired");
    return {};
  };
  const sender = useSender(service, { token: () => `token-${++asked}` });
  await sender.send(notification);
  await sender.send(notification);
  expect(asked).toBe(2);
});

test("send ends with the caller's signal", async () => {
  const service = await useFakeService();
  const arrived = Promise.withResolvers<void>();
  service.onSend = () => {
    arrived.resolve();
    return new Promise(() => {});
  };
  const abort = new AbortController();
  onTestFinished(() => service.kill());
  const sending = useSender(service).send(notification, { signal: abort.signal });
  await arrived.promise;
  abort.abort(new Error("the user left"));
  await expect(sending).rejects.toThrow("the user left");
});

test("generated ids are UUIDv7, ordered by time", () => {
  const ids = [0, 1, 65_535, 65_536, 1_700_000_000_000, 2 ** 48 - 1].map((timeMs) => createClientMsgID(timeMs));
  expect(ids.toSorted()).toEqual(ids);
  for (const id of ids) expect(id).toMatch(/^[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}$/);
  expect(createClientMsgID(1_700_000_000_000).slice(0, 12)).toBe((1_700_000_000_000).toString(16).padStart(12, "0"));
});
