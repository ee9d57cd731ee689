import { once } from "node:events";
import http from "node:http";
import { text } from "node:stream/consumers";
import { status } from "@grpc/grpc-js";
import { expect, onTestFinished, test, vi } from "vitest";
import { startProcess } from "../helpers/process.ts";
import { startTestServer } from "../helpers/server.ts";
import { openGrpc, post, sendByGrpc, toSend } from "../helpers/through.ts";

vi.setConfig({ testTimeout: 120_000 });

/** What a client is told by the system when nobody listens: nothing of its request has gone out. */
const isNobodyThere = (error: unknown) => /ECONNREFUSED/.test(String(error));

test.each([
  ["1", "engine"],
  ["1", "node"],
  ["2", "engine"],
])("SIGTERM under load cuts off no send, with %s processes and HTTP/2 of %s", async (WORKERS, HTTP2) => {
  const service = await startProcess({ WORKERS, HTTP2, DRAIN_TIMEOUT: "20s" });
  onTestFinished(service.remove);
  const token = await service.adminToken();
  const place = { url: service.url };
  const cut: string[] = [];
  let answered = 0;

  const overHttp1 = async (lane: number) => {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    onTestFinished(() => agent.destroy());
    for (;;) {
      try {
        const { text } = await post(place, toSend(`h1-${lane}`, "{}"), { token }, agent);
        if (JSON.parse(text).errCode !== 0) cut.push(text);
        else answered++;
      } catch (error) {
        if (!isNobodyThere(error)) cut.push(String(error));
        return;
      }
    }
  };
  const overHttp2 = async (lane: number) => {
    const stub = openGrpc(place, "msg", "MsgService");
    for (;;) {
      try {
        await sendByGrpc(stub, `h2-${lane}`, "{}", { token });
        answered++;
      } catch (error) {
        const { code, details } = error as { code: number; details: string };
        // Nobody listens any more, or the connection was refused before the call was sent.
        if (code !== status.UNAVAILABLE || !/ECONNREFUSED|No connection established/.test(details)) cut.push(details);
        return;
      }
    }
  };
  const lanes = Array.from({ length: 12 }, (_, lane) => (lane % 3 === 0 ? overHttp2(lane) : overHttp1(lane)));
  await vi.waitFor(() => expect(answered).toBeGreaterThan(200), { timeout: 60_000 });
  expect(await service.kill("SIGTERM")).toBe(0);
  await Promise.all(lanes);
  expect(cut).toEqual([]);
});

test.each(["1", "2"])(
  "while a request keeps a stop waiting, the operator's port says that it is not ready, with %s processes",
  async (WORKERS) => {
    // Longer than it takes, on any machine: the request decides when the stop goes on.
    const service = await startProcess({ WORKERS, DRAIN_TIMEOUT: "120s" });
    onTestFinished(service.remove);
    const adminUrl = service.log.find(({ msg }) => msg === "listening")?.adminUrl;
    const readyz = async () => {
      const response = await fetch(`${adminUrl}/readyz`);
      return [response.status, ((await response.json()) as { problems: string[] }).problems];
    };
    // An answer that is kept for a second.
    expect(await readyz()).toEqual([200, []]);
    const body = JSON.stringify(toSend("alice", "{}"));
    const headers = { token: await service.adminToken(), operationID: "test", "content-length": body.length };
    const path = `${service.url}/msg/send_business_notification`;
    const request = http.request(path, { method: "POST", agent: false, headers });
    const answered = once(request, "response");
    request.write(body.slice(0, 10));
    await vi.waitFor(async () => {
      const metrics = await (await fetch(`${adminUrl}/metrics`)).text();
      expect(metrics).toMatch(/^mustreach_connections 1$/m);
    });

    const ended = service.kill("SIGTERM");
    await vi.waitFor(() => expect(service.log.map(({ msg }) => msg)).toContain("stopping"));
    expect(await readyz()).toEqual([503, ["the service is stopping"]]);
    expect((await fetch(`${adminUrl}/healthz`)).status).toBe(200);
    request.end(body.slice(10));
    const [response] = (await answered) as [http.IncomingMessage];
    expect(JSON.parse(await text(response))).toMatchObject({ errCode: 0 });
    expect(await ended).toBe(0);
  },
);

test("on connections that there are, a stop is answered as not ready at once, by each protocol", async () => {
  const own = await startTestServer();
  let stopped: Promise<void> | undefined;
  onTestFinished(() => stopped ?? own.stop());
  const ask = async (agent: http.Agent, path: string, body?: object) => {
    const method = body === undefined ? "GET" : "POST";
    const request = http.request(`${own.url}${path}`, {
      agent,
      method,
      headers: { "content-type": "application/json" },
    });
    request.end(body && JSON.stringify(body));
    const [response] = (await once(request, "response")) as [http.IncomingMessage];
    return [response.statusCode, JSON.parse(await text(response))];
  };
  const calls = [
    ["/readyz", undefined, { ready: true }],
    ["/healthz", undefined, { status: "ok" }],
    ["/grpc.health.v1.Health/Check", {}, { status: "SERVING" }],
  ] as const;
  const agents = calls.map(() => new http.Agent({ keepAlive: true, maxSockets: 1 }));
  onTestFinished(() => agents.forEach((agent) => void agent.destroy()));
  const askAll = () => Promise.all(calls.map(([path, body], i) => ask(agents[i] ?? expect.fail(), path, body)));
  expect(await askAll()).toEqual(calls.map(([, , answer]) => [200, answer]));
  // In one turn: what is sent is there when the stop has begun.
  stopped = own.stop();
  expect(await askAll()).toEqual([
    [503, { ready: false }],
    [200, { status: "ok" }],
    [200, { status: "NOT_SERVING" }],
  ]);
});
