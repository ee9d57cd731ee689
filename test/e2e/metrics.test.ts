import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { expect, test, vi } from "vitest";
import { DeliveryService } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { useServer } from "../helpers/server.ts";

const bounds = { MAX_GROUPS_BYTES: "100000", MAX_CHAT_BYTES: "200000", MAX_JOBS_BYTES: "300000" };
const server = useServer({ HEARTBEAT: "1s", ...bounds });
const soon = { timeout: 60_000, interval: 50 };

/** The value of a sample; undefined when it is not there. */
async function sampleOf(sample: string): Promise<number | undefined> {
  const text = await (await fetch(`${server.adminUrl}/metrics`)).text();
  const line = text.split("\n").find((other) => other.startsWith(`${sample} `));
  return line === undefined ? undefined : Number(line.slice(sample.length));
}

const reads = (sample: string, expected: unknown) =>
  vi.waitFor(async () => expect(await sampleOf(sample), sample).toEqual(expected), soon);

async function send(userId: string, reliabilityLevel: number, key = "k"): Promise<void> {
  const body = { sendUserID: "imAdmin", recvUserID: userId, key, data: "d", reliabilityLevel };
  await server.post("/msg/send_business_notification", body, await server.adminToken());
}

/** A device; `next` reads the next notification's sequence. */
async function listen(userId: string) {
  const headers = { token: await server.userToken(userId) };
  const leaving = new AbortController();
  const device = createClient(DeliveryService, createGrpcTransport({ baseUrl: server.url }));
  const events = device.subscribe({ deviceId: "phone" }, { headers, signal: leaving.signal })[Symbol.asyncIterator]();
  await events.next();
  return {
    async next(): Promise<bigint> {
      for (;;) {
        const { value } = await events.next();
        if (value?.event.case === "notification") return value.event.value.sequence;
      }
    },
    ack: (sequence: bigint) => device.ack({ deviceId: "phone", sequence }, { headers }),
    leave: () => leaving.abort(),
  };
}

test("sends are counted by level and result, in batches too, and refusals by their reason", async () => {
  const counted = 'mustreach_sends_total{level="2",result="accepted"}';
  const before = (await sampleOf(counted)) ?? 0;
  const notification = { sendUserID: "imAdmin", recvUserID: "ann", key: "k", data: "d", reliabilityLevel: 2 };
  const notifications = [
    notification,
    notification,
    { ...notification, key: "" },
    { ...notification, reliabilityLevel: 1 },
  ];
  await server.post("/msg/batch_send_business_notification", { notifications }, await server.adminToken());
  await send("ann", 2);
  await send("ann", 1, "");
  await reads(counted, before + 3);
  await reads('mustreach_sends_total{level="1",result="accepted"}', 1);
  await reads('mustreach_sends_total{level="2",result="refused"}', 1);
  await reads('mustreach_sends_total{level="1",result="refused"}', 1);
  await reads('mustreach_refusals_total{reason="ArgsError"}', 1);
  await reads("mustreach_store_write_duration_seconds_count", expect.any(Number));
  expect(await sampleOf("mustreach_store_write_duration_seconds_count")).toBeGreaterThan(0);
});

test("deliveries, what is delivered again, backlog and the time to reach", async () => {
  const first = await listen("bob");
  await send("bob", 2);
  await first.next();
  await reads('mustreach_deliveries_total{level="2"}', 1);
  await reads("mustreach_backlog_notifications", 1);
  await reads("mustreach_reach_duration_seconds_count", 0);
  first.leave();
  await reads('mustreach_sessions{door="grpc_subscribe"}', 0);

  const second = await listen("bob");
  const sequence = await second.next();
  await reads('mustreach_deliveries_total{level="2"}', 2);
  await reads("mustreach_redeliveries_total", 1);
  await send("bob", 2);
  await second.ack(await second.next());
  await reads("mustreach_backlog_notifications", 0);
  await reads("mustreach_reach_duration_seconds_count", 2);
  await second.ack(sequence);
  await send("bob", 1);
  await second.next();
  await reads('mustreach_deliveries_total{level="1"}', 1);
  // Stored within a second.
  await reads("mustreach_unstored_cursors", 0);
  await reads("mustreach_cursor_lag_seconds", 0);
  expect(await sampleOf("mustreach_redeliveries_total")).toBe(1);
  second.leave();
});

test("the broker: how far away, how full, and what its durable watch has still to settle", async () => {
  await reads("mustreach_broker_rtt_seconds", expect.any(Number));
  expect(await sampleOf('mustreach_broker_stream_bytes{stream="INBOX_0"}')).toBeGreaterThan(0);
  expect(await sampleOf('mustreach_broker_stream_messages{stream="INBOX_0"}')).toBeGreaterThan(0);
  expect(await sampleOf('mustreach_broker_stream_max_bytes{stream="INBOX_0"}')).toBeGreaterThan(1_000_000);
  await reads("mustreach_reach_pending", expect.any(Number));
  await reads("mustreach_broker_reconnects_total", 0);
  await reads("mustreach_push_drops_total", 0);
});

test.each([
  ["GROUPS", 100_000, 10_000_000],
  ["CHAT", 200_000, 50_000_000],
  ["FANOUT", 300_000, 1_000_000],
  ["SCHEDULE", 300_000, 1_000_000],
])("%s is full where the service says so, and not the broker", async (stream, bytes, messages) => {
  await reads(`mustreach_broker_stream_max_bytes{stream="${stream}"}`, bytes);
  await reads(`mustreach_broker_stream_max_messages{stream="${stream}"}`, messages);
});

test("a stream without a limit has none", async () => {
  await reads('mustreach_broker_stream_bytes{stream="LATER_LOOKS"}', expect.any(Number));
  expect(await sampleOf('mustreach_broker_stream_max_bytes{stream="LATER_LOOKS"}')).toBeUndefined();
  expect(await sampleOf('mustreach_broker_stream_max_messages{stream="LATER_LOOKS"}')).toBeUndefined();
});
