import { expect, onTestFinished, test, vi } from "vitest";
import { createTestServer } from "../../src/testing/index.ts";

test("a Date that is moved forward alone expires what has a ttl, and the service goes on", async () => {
  await using server = await createTestServer();
  const notification = { recvUserID: "alice", key: "order.paid", mustReach: true };
  await server.send({ ...notification, data: "late", ttlSeconds: 3_600 });
  await server.send({ ...notification, data: "kept" });

  vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 7_200_000 });
  onTestFinished(() => void vi.useRealTimers());
  const phone = await server.receive("alice");
  expect((await phone.next({ timeoutMs: 30_000 })).data).toBe("kept");
  await server.send({ ...notification, data: "new" });
  expect((await phone.next({ timeoutMs: 30_000 })).data).toBe("new");
  expect(phone.received.map(({ data }) => data)).toEqual(["kept", "new"]);
});
