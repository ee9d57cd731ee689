import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { expect, test, vi } from "vitest";
import { DeliveryService } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { useServer } from "../helpers/server.ts";

const server = useServer({ HEARTBEAT: "1s" });
const send = "mustreach.msg.v1.MsgService/SendBusinessNotification";
const notification = { sendUserID: "imAdmin", recvUserID: "alice", key: "k", data: "d", reliabilityLevel: 2 };

const metrics = async () => (await fetch(`${server.adminUrl}/metrics`)).text();

test("/metrics counts calls by their code, in Prometheus' format", async () => {
  const admin = await server.adminToken();
  await server.post("/msg/send_business_notification", notification, admin);
  await server.post("/msg/send_business_notification", { ...notification, key: "" }, admin);
  const response = await fetch(`${server.adminUrl}/metrics`);
  expect(response.headers.get("content-type")).toContain("text/plain");
  const text = await response.text();
  expect(text).toContain(`mustreach_call_seconds_count{rpc="${send}",err_code="0"} 1`);
  expect(text).toContain(`mustreach_call_seconds_count{rpc="${send}",err_code="1001"} 1`);
  expect(text).toContain("process_cpu_seconds_total");
});

test("/metrics tells of sessions, of gaps, and of what came of notifications", async () => {
  const admin = await server.adminToken();
  const before = await metrics();
  expect(before).toContain("mustreach_sessions 0");
  await server.post("/msg/send_business_notification", { ...notification, recvUserID: "bob", ttlSeconds: 1 }, admin);
  const device = createClient(DeliveryService, createGrpcTransport({ baseUrl: server.url }));
  const reading = new AbortController();
  const sentAtMs = Date.now();
  await vi.waitFor(() => expect(Date.now()).toBeGreaterThan(sentAtMs + 1_000), { timeout: 5_000 });
  const headers = { token: await server.userToken("bob") };
  for await (const { event } of device.subscribe({}, { headers, signal: reading.signal })) {
    if (event.case !== "gap") continue;
    const text = await metrics();
    expect(text).toContain("mustreach_sessions 1");
    expect(text).toContain('mustreach_gaps_total{reason="expired"} 1');
    expect(text).toContain('mustreach_reach{outcome="reached"}');
    break;
  }
  reading.abort();
  await vi.waitFor(async () => expect(await metrics()).toContain("mustreach_sessions 0"), { timeout: 5_000 });
});
