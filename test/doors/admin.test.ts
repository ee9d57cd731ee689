import { once } from "node:events";
import { connect, createServer } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { startAdmin } from "../../src/doors/admin.ts";
import { createLog } from "../../src/observe/log.ts";
import { createMetrics } from "../../src/observe/metrics.ts";
import { listen } from "../helpers/listen.ts";
import { startTestServer, useServer } from "../helpers/server.ts";

const server = useServer();

const log = createLog("silent");
const health = {
  readiness: async () => ({
    ready: true,
    problems: [],
    broker: { connected: true, version: "2.15.2" },
    durability: "FSYNCED",
    warnings: [],
    sessions: 0,
  }),
};

test("the public port tells whether it is ready, and nothing of the inside", async () => {
  const readyz = await fetch(`${server.url}/readyz`);
  expect([readyz.status, await readyz.text()]).toEqual([200, '{"ready":true}']);
  expect((await fetch(`${server.url}/healthz`)).status).toBe(200);
  expect((await fetch(`${server.url}/metrics`)).status).toBe(404);
});

test("the operator's port has the metrics and the reasons, on the loopback interface, for no web page to read", async () => {
  expect(server.adminUrl).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
  expect(server.log).toContainEqual(expect.objectContaining({ msg: "listening", adminUrl: server.adminUrl }));
  for (const [path, content] of [
    ["/metrics", /^mustreach_sessions\{door="sse"\} 0$/m],
    ["/readyz", /"problems":\[\].*"sessions":0/],
    ["/healthz", /"ok"/],
  ] as const) {
    const response = await fetch(`${server.adminUrl}${path}`, { headers: { Origin: "http://elsewhere.example" } });
    expect(response.status).toBe(200);
    expect(response.headers.get("access-control-allow-origin")).toBeNull();
    expect(await response.text()).toMatch(content);
  }
  expect((await fetch(`${server.adminUrl}/msg/send_business_notification`, { method: "POST" })).status).toBe(404);
});

test("the operator's port has the documents of the API, which name the other port, and a page that may run nothing", async () => {
  for (const [path, type] of [
    ["/openapi.json", "application/json"],
    ["/asyncapi.json", "application/json"],
    ["/docs", "text/html; charset=utf-8"],
    ["/docs.css", "text/css; charset=utf-8"],
  ] as const) {
    const response = await fetch(`${server.adminUrl}${path}`);
    expect([response.status, response.headers.get("content-type")], path).toEqual([200, type]);
    expect(response.headers.get("content-security-policy")).toBe(
      "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    );
    expect(await response.text(), path).toContain(path === "/docs.css" ? "table {" : new URL(server.url).host);
    expect((await fetch(`${server.url}${path}`)).status).toBe(404);
  }
});

test("a thousand pipelined requests for the metrics are one computation", async () => {
  const metrics = createMetrics();
  let computed = 0;
  metrics.watch("mustreach_test", "Counts its own reading.", () => ++computed);
  const before = computed;
  const admin = await startAdmin({ host: "127.0.0.1", port: 0, health, metrics, apiAddress: () => undefined, log });
  onTestFinished(admin.stop);
  const startedMs = performance.now();
  const socket = connect(Number(new URL(admin.url).port), "127.0.0.1");
  onTestFinished(() => void socket.destroy());
  await once(socket, "connect");
  socket.write("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1_000));
  let received = "";
  for await (const chunk of socket) {
    received += chunk;
    if (received.split("HTTP/1.1 200 OK").length > 1_000) break;
  }
  // One a second, however long a starved machine takes.
  expect(computed - before).toBeLessThanOrEqual(1 + Math.floor((performance.now() - startedMs) / 1_000));
});

test("a taken port is an error that says which setting to change", async () => {
  const other = createServer();
  const port = await listen(other);
  onTestFinished(() => void other.close());
  const ADMIN_PORT = String(port);
  await expect(startTestServer({ ADMIN_PORT })).rejects.toThrow(
    new RegExp(`^MUSTREACH_ADMIN_PORT: .*127\\.0\\.0\\.1:${ADMIN_PORT} .*0 for a free one, or off`),
  );
});

test("off opens none", async () => {
  const closed = await startTestServer({ ADMIN_PORT: "off" });
  onTestFinished(closed.stop);
  expect(closed.adminUrl).toBeUndefined();
  expect((await fetch(`${closed.url}/readyz`)).status).toBe(200);
});
