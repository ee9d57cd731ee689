import { expect, onTestFinished, test, vi } from "vitest";
import { startExternalBroker } from "../helpers/external-broker.ts";
import { spawnService } from "../helpers/process.ts";
import { startTestServer } from "../helpers/server.ts";

const often = { interval: 20 };
const send = { sendUserID: "imAdmin", recvUserID: "alice", key: "k", data: "d", reliabilityLevel: 2 };

test("a broker that is started after the service is waited for, with a line that names it and no credentials", async () => {
  const gone = await startExternalBroker();
  await gone.remove();
  const service = await spawnService({ NATS_URL: `nats://anyone:hush@127.0.0.1:${gone.port}`, SEND_TIMEOUT: "1s" });
  onTestFinished(service.remove);
  const lines = () => service.log.filter(({ msg }) => msg === "waiting for the broker");
  await vi.waitFor(() => expect(lines()).not.toEqual([]), often);
  expect(JSON.stringify(lines())).toContain(`127.0.0.1:${gone.port}`);
  expect(JSON.stringify(service.log)).not.toContain("hush");
  const broker = await startExternalBroker({ port: gone.port, password: "hush" });
  onTestFinished(() => broker.remove());
  const url = await service.url;
  expect((await fetch(`${url}/healthz`)).status).toBe(200);
});

test("a service that waits for its broker stops when it is told to", async () => {
  const gone = await startExternalBroker();
  await gone.remove();
  const service = await spawnService({ NATS_URL: `nats://127.0.0.1:${gone.port}`, SEND_TIMEOUT: "1s" });
  onTestFinished(service.remove);
  await vi.waitFor(() => expect(service.log.map(({ msg }) => msg)).toContain("waiting for the broker"), often);
  expect(await service.kill("SIGTERM")).toBe(130);
});

test("a broker that refused the credentials for a while is used again when it takes them", async () => {
  const broker = await startExternalBroker({ password: "first" });
  onTestFinished(() => broker.remove());
  const server = await startTestServer({
    NATS_URL: `nats://anyone:first@127.0.0.1:${broker.port}`,
    SEND_TIMEOUT: "1s",
  });
  onTestFinished(() => server.stop());
  const token = await server.adminToken();
  expect((await server.post("/msg/send_business_notification", send, token)).json.errCode).toBe(0);
  await broker.pause();
  await broker.resume("second");
  const refusals = () => server.log.filter(({ err }) => JSON.stringify(err ?? "").includes("AuthorizationError"));
  // Two in a row on one connection used to close it for good.
  await vi.waitFor(() => expect(refusals().length).toBeGreaterThan(12), often);
  expect((await server.post("/msg/send_business_notification", send, token)).json.errCode).toBe(90004);
  await broker.pause();
  await broker.resume("first");
  await vi.waitFor(
    async () => expect((await server.post("/msg/send_business_notification", send, token)).json.errCode).toBe(0),
    often,
  );
});
