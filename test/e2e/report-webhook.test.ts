import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fromBinary } from "@bufbuild/protobuf";
import { AckPolicy, jetstream, jetstreamManager } from "@nats-io/jetstream";
import { expect, test } from "vitest";
import { ReportSchema, ReportState } from "../../src/gen/mustreach/msg/v1/report_pb.ts";
import { toAsyncApi } from "../../src/openapi/asyncapi.ts";
import { useDevices } from "../helpers/device.ts";
import { type Received, useReceivers, verify, webhookSecret } from "../helpers/escalation.ts";
import { type ExternalBroker, startExternalBroker } from "../helpers/external-broker.ts";
import { startProcess } from "../helpers/process.ts";
import { pullReports, type ReportJson, reportsOf, sendReported } from "../helpers/reports.ts";
import { schemasOf } from "../helpers/schemas.ts";
import { startTestServer, type TestServer, type TestSettings } from "../helpers/server.ts";

const openReceiver = useReceivers();
const openDevice = useDevices();

const settingsOf = (url: string): TestSettings => ({
  HEARTBEAT: "1s",
  REPORT_WEBHOOK_URL: url,
  REPORT_WEBHOOK_SECRET: webhookSecret,
});

const document = toAsyncApi();
const compare = schemasOf(document);
const { payload } = document.channels.reportWebhook.messages.reports as { payload?: object };

/** The events of requests that are genuine and as the API's document says, in the order in which they came. */
function eventsOf(received: readonly Received[]): ReportJson[] {
  return received.flatMap((request) => {
    const body = verify(request) as { events: ReportJson[] };
    expect(compare(payload ?? {}, body)).toEqual([]);
    return body.events;
  });
}

/** Sends and recalls, so that one report is there at once. */
async function makeReport(server: TestServer, userId: string): Promise<string> {
  const { serverMsgID } = await sendReported(server, { recvUserID: userId });
  await server.post("/msg/recall_business_notification", { serverMsgID }, await server.adminToken());
  return serverMsgID;
}

const isIncreasing = (numbers: readonly number[]) => numbers.every((one, i) => i === 0 || one > (numbers[i - 1] ?? 0));

test("a webhook that is down for a while then gets all reports, in order, signed, up to 100 in a request", async () => {
  let isDown = true;
  const receiver = await openReceiver(() => ({ status: isDown ? 503 : 204 }));
  const server = await startTestServer(settingsOf(receiver.url));
  try {
    const ids: string[] = [];
    for (let i = 0; i < 150; i++) ids.push(await makeReport(server, `user ${i}`));
    await expect.poll(() => receiver.received.length).toBeGreaterThan(1);
    expect(eventsOf(receiver.received).length).toBeGreaterThan(0);
    const refused = receiver.received.length;
    isDown = false;
    await expect.poll(() => eventsOf(receiver.received.slice(refused)).length).toBe(150);
    const taken = receiver.received.slice(refused);
    const events = eventsOf(taken);
    expect(events.map(({ serverMsgID }) => serverMsgID)).toEqual(ids);
    expect(isIncreasing(events.map(({ sequence }) => sequence))).toBe(true);
    expect(events[0]).toEqual({
      sequence: 1,
      state: "recalled",
      serverMsgID: ids[0],
      clientMsgID: expect.any(String),
      userID: "user 0",
      key: "order.paid",
      sendTime: expect.any(Number),
      time: expect.any(Number),
    });
    for (const request of taken) expect(eventsOf([request]).length).toBeLessThanOrEqual(100);
    // What is posted again is the same request.
    expect(taken[0]?.headers["webhook-id"]).toBe(receiver.received[refused - 1]?.headers["webhook-id"]);
    expect(taken[0]?.text).toBe(receiver.received[refused - 1]?.text);
    const metrics = await (await fetch(`${server.adminUrl}/metrics`)).text();
    expect(metrics).toMatch(/mustreach_report_webhook_total\{outcome="refused"\} [1-9]/);
  } finally {
    await server.stop();
  }
});

test("a restart goes on where the webhook has taken the last", async () => {
  const receiver = await openReceiver();
  const dir = await mkdtemp(join(tmpdir(), "mustreach-reports-"));
  const ids: string[] = [];
  try {
    for (let start = 0; start < 2; start++) {
      const server = await startTestServer(settingsOf(receiver.url), dir);
      ids.push(await makeReport(server, "alice"));
      await expect.poll(() => eventsOf(receiver.received).map(({ serverMsgID }) => serverMsgID)).toEqual(ids);
      await server.stop();
    }
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
});

test("of two instances one posts at a time, in order, and the other takes over", async () => {
  const receiver = await openReceiver();
  const broker: ExternalBroker = await startExternalBroker();
  const settings = { ...settingsOf(receiver.url), NATS_URL: broker.url };
  const one = await startTestServer(settings);
  const two = await startTestServer(settings);
  try {
    const ids: string[] = [];
    for (let i = 0; i < 30; i++) ids.push(await makeReport(i % 2 === 0 ? one : two, `user ${i}`));
    await expect.poll(() => eventsOf(receiver.received).length).toBe(30);
    await one.stop();
    for (let i = 30; i < 40; i++) ids.push(await makeReport(two, `user ${i}`));
    await expect.poll(() => eventsOf(receiver.received).length).toBe(40);
    const events = eventsOf(receiver.received);
    expect(events.map(({ serverMsgID }) => serverMsgID)).toEqual(ids);
    expect(isIncreasing(events.map(({ sequence }) => sequence))).toBe(true);

    // The example of docs/nats-layout.md: a durable consumer of another service's own.
    const nc = await broker.connect();
    const manager = await jetstreamManager(nc);
    await manager.consumers.add("REPORTS", {
      durable_name: "billing",
      ack_policy: AckPolicy.Explicit,
      max_ack_pending: 1,
      filter_subject: "report.*.*.*.recalled",
    });
    const consumer = await jetstream(nc).consumers.get("REPORTS", "billing");
    const read: string[] = [];
    for await (const message of await consumer.consume()) {
      const report = fromBinary(ReportSchema, message.data);
      expect(report.state).toBe(ReportState.RECALLED);
      expect(message.seq).toBe(events[read.length]?.sequence);
      read.push(report.serverMsgId);
      message.ack();
      if (read.length === ids.length) break;
    }
    expect(read).toEqual(ids);
  } finally {
    await two.stop();
    await one.stop();
    await broker.remove();
  }
});

test("an escalation is reported when its webhook has taken it, and then what becomes of it", async () => {
  const escalations = await openReceiver();
  const server = await startTestServer({
    HEARTBEAT: "1s",
    ESCALATION_URL: escalations.url,
    ESCALATION_SECRET: webhookSecret,
    ESCALATION_DELAY: "1s",
  });
  try {
    const sent = await sendReported(server, { recvUserID: "alice" });
    const lost = await sendReported(server, { recvUserID: "bob", ttlSeconds: 20 });
    await expect.poll(() => reportsOf(server, sent)).toMatchObject([{ state: "escalated", userID: "alice" }]);
    const device = openDevice(server.url, await server.userToken("alice"));
    const [taken] = await (await device.subscribe()).take(1);
    await device.ack(taken?.sequence ?? 0n);
    const states = async (of: { readonly serverMsgID: string }) =>
      (await reportsOf(server, of)).map(({ state }) => state);
    await expect.poll(() => states(sent)).toEqual(["escalated", "delivered"]);
    await expect.poll(() => states(lost)).toEqual(["escalated", "expired"]);
  } finally {
    await server.stop();
  }
});

test("killed between acknowledgements and their reports, a service reports each once after the restart", async () => {
  const users = Array.from({ length: 20 }, (_, i) => `user ${i}`);
  let service = await startProcess({ HEARTBEAT: "1s" });
  const post = (of: typeof service): Pick<TestServer, "post" | "adminToken"> => ({
    adminToken: of.adminToken,
    async post(path, body, token = "") {
      const headers = { operationID: "test", token };
      const response = await fetch(`${of.url}${path}`, { method: "POST", headers, body: JSON.stringify(body) });
      return { status: response.status, headers: response.headers, json: (await response.json()) as never };
    },
  });
  const takeAndAck = async (userId: string) => {
    const device = openDevice(service.url, await service.userToken(userId));
    const session = await device.subscribe();
    const taken = await session.takeUntilIdle();
    if (taken.length > 0) await device.ack(taken.at(-1)?.sequence ?? 0n);
  };
  try {
    const ids = new Map<string, string>();
    for (const user of users) ids.set(user, (await sendReported(post(service), { recvUserID: user })).serverMsgID);
    await Promise.all(users.map(takeAndAck));
    const broker = service.brokerPid;
    await service.kill("SIGKILL");
    if (broker !== undefined) process.kill(broker, "SIGKILL");
    service = await startProcess({ HEARTBEAT: "1s" }, service.dataDir);
    await Promise.all(users.map(takeAndAck));
    await expect
      .poll(async () => (await pullReports(post(service), { limit: 1_000 })).reports.length)
      .toBeGreaterThanOrEqual(users.length);
    const { reports } = await pullReports(post(service), { limit: 1_000 });
    const told = reports.map(({ userID, state, serverMsgID }) => ({ userID, state, serverMsgID }));
    expect(told).toHaveLength(users.length);
    for (const [userID, serverMsgID] of ids) expect(told).toContainEqual({ userID, state: "delivered", serverMsgID });
  } finally {
    await service.remove();
  }
});
