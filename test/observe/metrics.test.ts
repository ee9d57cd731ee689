import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { DeliveryService } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { createMetrics } from "../../src/observe/metrics.ts";
import { useServer } from "../helpers/server.ts";

// With a webhook, for its metrics.
const server = useServer({
  HEARTBEAT: "1s",
  REPORT_WEBHOOK_URL: "http://127.0.0.1:9/",
  REPORT_WEBHOOK_SECRET: `whsec_${"A".repeat(43)}=`,
  ESCALATION_URL: "http://127.0.0.1:9/",
  ESCALATION_SECRET: `whsec_${"A".repeat(43)}=`,
});
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
  expect(text).toContain(`mustreach_rpc_duration_seconds_count{rpc="${send}",err_code="0"} 1`);
  expect(text).toContain(`mustreach_rpc_duration_seconds_count{rpc="${send}",err_code="1001"} 1`);
  expect(text).toContain("process_cpu_seconds_total");
});

test("/metrics tells of sessions, of gaps, and of what came of notifications", async () => {
  const admin = await server.adminToken();
  const before = await metrics();
  expect(before).toContain('mustreach_sessions{door="grpc_subscribe"} 0');
  await server.post("/msg/send_business_notification", { ...notification, recvUserID: "bob", ttlSeconds: 1 }, admin);
  const device = createClient(DeliveryService, createGrpcTransport({ baseUrl: server.url }));
  const reading = new AbortController();
  const sentAtMs = Date.now();
  await vi.waitFor(() => expect(Date.now()).toBeGreaterThan(sentAtMs + 1_000));
  const headers = { token: await server.userToken("bob") };
  for await (const { event } of device.subscribe({}, { headers, signal: reading.signal })) {
    if (event.case !== "gap") continue;
    const text = await metrics();
    expect(text).toContain('mustreach_sessions{door="grpc_subscribe"} 1');
    expect(text).toContain('mustreach_gaps_total{reason="expired"} 1');
    expect(text).toContain('mustreach_reach_total{outcome="reached"}');
    break;
  }
  reading.abort();
  await vi.waitFor(async () => expect(await metrics()).toContain('mustreach_sessions{door="grpc_subscribe"} 0'));
  // How long a stream lasts is no answering time.
  await vi.waitFor(async () =>
    expect(await metrics()).toMatch(/^mustreach_stream_duration_seconds_count\{.*Subscribe/m),
  );
  expect(await metrics()).not.toMatch(/^mustreach_rpc_duration_seconds.*Subscribe/m);
});

test("the table in docs/operating.md is that of the metrics that are there", async () => {
  const documented = readFileSync(join(import.meta.dirname, "..", "..", "docs", "operating.md"), "utf8");
  const rows = [...documented.matchAll(/^\| `(mustreach_\w+)` \| (\w+) \| (.*) \|$/gm)].map((row) => row.slice(1));
  const there = [...(await metrics()).matchAll(/^# HELP (mustreach_\w+) (.*)\n# TYPE \1 (\w+)$/gm)];
  expect(rows.toSorted()).toEqual(there.map(([, name, help, type]) => [name, type, help]).toSorted());
});

describe("by convention", () => {
  test("mustreach_build_info names the versions", async () => {
    const { version } = JSON.parse(readFileSync(join(import.meta.dirname, "..", "..", "package.json"), "utf8"));
    const broker = /broker="\d+\.\d+\.\d+[^"]*"/.source;
    expect(await metrics()).toMatch(
      new RegExp(`^mustreach_build_info\\{version="${version}",node="${process.versions.node}",${broker}\\} 1$`, "m"),
    );
  });

  test("what only goes up is a counter and ends with _total, and nothing else does", async () => {
    const types = [...(await metrics()).matchAll(/^# TYPE (mustreach_\w+) (\w+)$/gm)];
    expect(types.length).toBeGreaterThan(8);
    for (const [, name = "", type] of types) expect(name.endsWith("_total"), name).toBe(type === "counter");
  });

  test("a count that is read keeps counting", async () => {
    vi.useFakeTimers({ toFake: ["performance"] });
    onTestFinished(() => void vi.useRealTimers());
    const counted = createMetrics();
    let done = 0;
    counted.count("mustreach_test_total", "A test.", () => ({ done }));
    done = 3;
    expect((await counted.text()).body).toContain('mustreach_test_total{outcome="done"} 3');
    done = 5;
    vi.advanceTimersByTime(2_000);
    expect((await counted.text()).body).toContain('mustreach_test_total{outcome="done"} 5');
  });
});

test("a snapshot can be sent to another process", async () => {
  const snapshot = await createMetrics().snapshot();
  expect(structuredClone(snapshot)).toEqual(snapshot);
});
