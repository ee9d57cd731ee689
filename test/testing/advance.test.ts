import { createServer } from "node:http";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { createTestServer, type TestServer } from "../../src/testing/index.ts";
import { verify, webhookSecret } from "../helpers/escalation.ts";
import { listen } from "../helpers/listen.ts";

const minuteMs = 60_000;
const hourMs = 3_600_000;

/** What the webhook got that is genuine, and signed now by its own clock. */
const escalated: { readonly userID: string; readonly notification: { readonly data: string } }[] = [];
const escalatedOf = (userID: string) =>
  escalated.filter((post) => post.userID === userID).map(({ notification }) => notification.data);
const webhook = createServer(async (request, response) => {
  const text = (await request.toArray()).join("");
  if (verify({ text, headers: request.headers }) !== undefined) escalated.push(JSON.parse(text));
  response.writeHead(204).end();
});
let server: TestServer;

beforeAll(async () => {
  const port = await listen(webhook);
  server = await createTestServer({
    settings: {
      MUSTREACH_ESCALATION_URL: `http://127.0.0.1:${port}`,
      MUSTREACH_ESCALATION_SECRET: webhookSecret,
      MUSTREACH_ESCALATION_DELAY: "20m",
    },
  });
});
afterAll(async () => {
  await server.close();
  webhook.close();
});

type Sending = Parameters<TestServer["send"]>[0];

/** Sends to a user that has no device, unless a test opens one. */
const send = (recvUserID: string, data: string, more: Partial<Sending> = {}) =>
  server.send({ recvUserID, key: "k", data, mustReach: true, ...more });

async function post(path: string, body: object) {
  const headers = { token: await server.adminToken(), operationID: "test", "content-type": "application/json" };
  const response = await fetch(server.url + path, { method: "POST", headers, body: JSON.stringify(body) });
  const { errCode, errDlt, data } = await response.json();
  if (errCode !== 0) throw new Error(errDlt);
  return data;
}

/** What was reported of a notification by now. */
async function reportsOf(serverMsgID: string): Promise<readonly { state: string; reason: string; time: number }[]> {
  const { reports } = await post("/msg/pull_reports", { limit: 1_000 });
  return reports.filter((report: { serverMsgID: string }) => report.serverMsgID === serverMsgID);
}

test("a notification whose ttl has ended by then is expired for a device that comes, and its status says so", async () => {
  const { serverMsgID } = await send("ttl", "late", { ttlSeconds: 3_600 });
  await send("ttl", "kept", { ttlSeconds: 7_200 });
  await server.advance(hourMs);
  expect(await post("/msg/get_delivery_status", { serverMsgID })).toMatchObject({ counts: { expired: 1 } });
  const phone = await server.receive("ttl");
  expect((await phone.next({ timeoutMs: 60_000 })).data).toBe("kept");
  await send("ttl", "new", { ttlSeconds: 60 });
  expect((await phone.next({ timeoutMs: 60_000 })).data).toBe("new");
});

test("a send goes out when its sendAt has come, and not before", async () => {
  const phone = await server.receive("at");
  const sendAt = server.now() + hourMs;
  await send("at", "second", { sendAt: sendAt + 10 * minuteMs });
  await send("at", "first", { sendAt });
  await send("at", "third", { sendAt: sendAt + hourMs });
  await server.advance(59 * minuteMs);
  await send("at", "now");
  expect((await phone.next({ timeoutMs: 60_000 })).data).toBe("now");
  await server.advance(11 * minuteMs);
  expect((await phone.next({ timeoutMs: 60_000 })).data).toBe("first");
  expect((await phone.next({ timeoutMs: 60_000 })).data).toBe("second");
  await send("at", "then");
  expect((await phone.next({ timeoutMs: 60_000 })).data).toBe("then");
  await server.advance(hourMs);
  const third = await phone.next({ timeoutMs: 60_000 });
  expect(third).toMatchObject({ data: "third", sendTime: sendAt + hourMs });
});

test("what has not reached in time is with the webhook by then; what has reached, or is young, is not", async () => {
  const phone = await server.receive("reached");
  await send("reached", "reached");
  await send("away", "in time");
  await post("/msg/send_business_notification", {
    ...{ sendUserID: "imAdmin", recvUserID: "away", key: "k", data: "later", reliabilityLevel: 2 },
    escalationDelaySeconds: 7_200,
  });
  expect((await phone.next({ timeoutMs: 60_000 })).data).toBe("reached");
  await server.advance(19 * minuteMs);
  expect(escalatedOf("away")).toEqual([]);
  await send("away", "young");
  await server.advance(2 * minuteMs);
  await vi.waitFor(() => expect(escalatedOf("away")).toEqual(["in time"]));
  await server.advance(2 * hourMs);
  await vi.waitFor(() => expect(escalatedOf("away").toSorted()).toEqual(["in time", "later", "young"]));
  expect(escalatedOf("reached")).toEqual([]);
});

test("what has expired by then is reported, and what has been delivered before is not called expired", async () => {
  const phone = await server.receive("delivered");
  const delivered = await send("delivered", "1", { ttlSeconds: 600, report: true });
  const expired = await send("absent", "2", { ttlSeconds: 600, report: true });
  const later = await send("absent", "3", { ttlSeconds: 700, report: true });
  await phone.next({ timeoutMs: 60_000 });
  const before = server.now();
  await server.advance(11 * minuteMs);
  await vi.waitFor(async () => expect(await reportsOf(expired.serverMsgID)).toHaveLength(1));
  const [report] = await reportsOf(expired.serverMsgID);
  expect(report).toMatchObject({ state: "expired", reason: "ttl" });
  expect(report?.time).toBeGreaterThanOrEqual(before + 11 * minuteMs);
  await vi.waitFor(async () => expect(await reportsOf(delivered.serverMsgID)).toMatchObject([{ state: "delivered" }]));
  // By now it waits in the broker for a look.
  expect(await reportsOf(later.serverMsgID)).toEqual([]);
  await server.advance(minuteMs);
  await vi.waitFor(async () => expect(await reportsOf(later.serverMsgID)).toMatchObject([{ state: "expired" }]));
});

test("time goes forward only, by whole milliseconds, and not by itself", async () => {
  const phone = await server.receive("still");
  await send("still", "scheduled", { sendAt: server.now() + hourMs });
  await server.advance(0);
  await send("still", "sent");
  expect((await phone.next({ timeoutMs: 60_000 })).data).toBe("sent");
  expect(phone.received).toHaveLength(1);
  for (const ms of [-1, 0.5, Number.NaN, 366 * 24 * hourMs]) {
    await expect(server.advance(ms)).rejects.toThrow(RangeError);
  }
  await server.advance(365 * 24 * hourMs);
  // The session that was there before it is told what comes after it.
  expect((await phone.next({ timeoutMs: 60_000 })).data).toBe("scheduled");
  await send("still", "a year later");
  expect((await phone.next({ timeoutMs: 60_000 })).data).toBe("a year later");
});

test.each([["more than one process", { MUSTREACH_WORKERS: "2" }]])("time is not moved of %s", async (_, settings) => {
  await using other = await createTestServer({ settings });
  await expect(other.advance(hourMs)).rejects.toThrow("one process");
});

test("the time of one server is not that of another, nor that of the process", async () => {
  await using other = await createTestServer();
  const before = server.now() - Date.now();
  await other.advance(hourMs);
  expect(server.now() - Date.now()).toBeLessThan(before + minuteMs);
  expect(other.now() - Date.now()).toBeGreaterThanOrEqual(hourMs);
});
