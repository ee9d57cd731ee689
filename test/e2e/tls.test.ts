import { execFile } from "node:child_process";
import tls from "node:tls";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { status } from "@grpc/grpc-js";
import { beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { createClient } from "../../src/client/index.ts";
import { useBrowser } from "../helpers/browser.ts";
import { type Authority, createAuthority, type Issued, local, useFiles } from "../helpers/certificates.ts";
import { startTestServer, type TestServer, type TestSettings, testSecret } from "../helpers/server.ts";
import { openGrpc, type Place, post, receives, sendByGrpc, sends, toSend } from "../helpers/through.ts";
import { startWorkers } from "../helpers/workers.ts";

vi.setConfig({ testTimeout: 120_000 });

const soon = { timeout: 60_000, interval: 20 };
const browser = useBrowser();

let ca: Authority;
let shown: Issued;
let orders: Issued;

beforeAll(async () => {
  ca = await createAuthority();
  shown = await ca.issue(local);
  orders = await ca.issue({ name: "orders", dns: ["orders.internal"], usage: "client" });
  // Clients of ours believe what the process believes.
  tls.setDefaultCACertificates([...tls.getCACertificates("default"), ca.cert]);
});

async function useCertificates() {
  const files = await useFiles({ cert: shown.cert, key: shown.key, ca: ca.cert });
  const settings = { TLS_CERT_FILE: files.path("cert"), TLS_KEY_FILE: files.path("key") };
  const asking = { TLS_CLIENT_CA_FILE: files.path("ca"), TLS_CLIENT_ADMINS: "DNS:orders.internal" };
  return { files, settings, asking: { ...settings, ...asking, TLS_CLIENT_AUTH: "request" } };
}

async function start(settings: TestSettings): Promise<{ server: TestServer; place: Place }> {
  const server = await startTestServer(settings);
  onTestFinished(() => server.stop());
  return { server, place: { url: server.url, ca: ca.cert } };
}

/** Which certificate a new connection is shown. */
async function shownAt(url: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const socket = tls.connect({ port: Number(new URL(url).port), host: "127.0.0.1", ca: ca.cert }, () =>
    resolve(socket.getPeerCertificate().serialNumber),
  );
  socket.on("error", reject);
  return promise.finally(() => socket.destroy());
}

describe.each(["engine", "node"])("over TLS, with HTTP/2 of %s,", (HTTP2) => {
  test("each door sends, and receives", async () => {
    const { server, place } = await start({ ...(await useCertificates()).settings, HTTP2 });
    expect(server.url).toMatch(/^https:/);
    const admin = await server.adminToken();
    for (const [door, receive] of Object.entries(receives)) {
      const receiving = receive(place, await server.userToken(door));
      for (const [way, send] of Object.entries(sends)) await send(place, admin, door, way);
      await vi.waitFor(() => expect(receiving.got, door).toEqual(Object.keys(sends)), soon);
    }
  });

  test("the client of this package sends and receives", async () => {
    const { server, place } = await start({ ...(await useCertificates()).settings, HTTP2 });
    const token = await server.userToken("alice");
    const client = createClient({ baseUrl: server.url, token, deviceId: "sdk" });
    onTestFinished(() => client.close());
    const got: string[] = [];
    client.onRecvCustomBusinessMessage(({ data }) => void got.push(data));
    await client.connect();
    const [send] = Object.values(sends);
    await send?.(place, await server.adminToken(), "alice", "now");
    await vi.waitFor(() => expect(got).toEqual(["now"]), soon);
  });
});

test("the command line sends, and believes the authority that it is given", async () => {
  const { files, settings } = await useCertificates();
  const { server } = await start(settings);
  const cwd = fileURLToPath(new URL("../..", import.meta.url));
  const send = (env: NodeJS.ProcessEnv) => {
    const args = ["send", "--to", "alice", "--key", "test", "--data", "{}", "--must-reach"];
    const secret = { MUSTREACH_TOKEN_SECRET: testSecret, MUSTREACH_PORT: String(server.port), ...env };
    // As the service is set up, but for who may read its key.
    const service = { MUSTREACH_TLS_CERT_FILE: files.path("cert"), MUSTREACH_TLS_KEY_FILE: "/nobody/reads/this" };
    const options = { cwd, env: { PATH: process.env.PATH, ...secret, ...service } };
    return promisify(execFile)(process.execPath, ["src/cli/main.ts", ...args], options);
  };
  const { stdout } = await send({ MUSTREACH_CA_FILE: files.path("ca") });
  expect(JSON.parse(stdout)).toHaveProperty("serverMsgID");
  await expect(send({})).rejects.toThrow();
  await expect(send({ MUSTREACH_CA_FILE: files.path("nothing") })).rejects.toThrow(/MUSTREACH_CA_FILE.*ENOENT/);
});

test("the operator's port tells when the certificate ends", async () => {
  const { server } = await start((await useCertificates()).settings);
  const metrics = await (await fetch(`${server.adminUrl}/metrics`)).text();
  const [, seconds] = /^mustreach_tls_certificate_expires (\S+)$/m.exec(metrics) ?? [];
  expect(Number(seconds) * 1_000).toBeGreaterThan(Date.now());
});

test("each worker shows a new certificate after SIGHUP; with a broken one, a new worker shows the one before", async () => {
  const { files, settings } = await useCertificates();
  const service = await startWorkers(settings);
  onTestFinished(service.remove);
  const next = await ca.issue(local);
  await files.write("cert", next.cert);
  await files.write("key", next.key);
  process.kill(service.pid, "SIGHUP");
  await service.logged("reloaded");
  const seen = async () => new Set(await Promise.all(Array.from({ length: 20 }, () => shownAt(service.url))));
  await vi.waitFor(async () => expect([...(await seen())]).toEqual([next.serialNumber]), soon);
  await files.write("key", "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n");
  process.kill(service.pid, "SIGHUP");
  await service.logged("cannot use the new certificate: the old one stays");
  process.kill(service.pid, "SIGUSR2");
  await service.logged("the workers are new");
  expect([...(await seen())]).toEqual([next.serialNumber]);
  expect(JSON.stringify(service.log)).not.toContain("hunter2");
  for (const line of next.key.split("\n").slice(1, -2)) expect(JSON.stringify(service.log)).not.toContain(line);
});

describe("a client certificate", () => {
  const refusal = (text: string) => JSON.parse(text) as { errCode: number };

  test.each(["engine", "node"])("of a listed name sends without a token, with HTTP/2 of %s", async (HTTP2) => {
    const { server, place } = await start({ ...(await useCertificates()).asking, HTTP2 });
    const known = { ...place, client: orders };
    expect(refusal((await post(known, toSend("alice", "a"), {})).text)).toMatchObject({ errCode: 0 });
    await sendByGrpc(openGrpc(known, "msg", "MsgService"), "alice", "b", {});
    const lines = server.log.filter(({ rpc }) => String(rpc).endsWith("SendBusinessNotification"));
    expect(lines).toHaveLength(2);
    for (const line of lines) expect(line).toMatchObject({ certificate: ["DNS:orders.internal", "CN:orders"] });
  });

  test("that is not listed, or none, needs a token; and one that is adds nothing to a token", async () => {
    const { server, place } = await start((await useCertificates()).asking);
    const other = await ca.issue({ name: "orders.internal", dns: ["bills.internal"], usage: "client" });
    const ask = async (client: Issued | undefined, headers: Record<string, string>) =>
      refusal((await post({ ...place, ...(client && { client }) }, toSend("alice", "x"), headers)).text).errCode;
    expect(await ask(undefined, {})).toBe(1001);
    expect(await ask(other, {})).toBe(1001);
    expect(await ask(other, { token: await server.adminToken() })).toBe(0);
    expect(await ask(orders, { token: "nonsense" })).toBe(1503);
    expect(await ask(orders, { token: "" })).toBe(1001);
    expect(await ask(orders, { token: await server.userToken("alice") })).toBe(1002);
    expect(await ask(orders, { origin: "https://evil.example" })).toBe(1001);
    const stub = openGrpc({ ...place, client: other }, "msg", "MsgService");
    await expect(sendByGrpc(stub, "alice", "x", {})).rejects.toMatchObject({ code: status.UNAUTHENTICATED });
  });

  test("opens no door of devices", async () => {
    const { place } = await start((await useCertificates()).asking);
    for (const door of ["WebSocket", "server-sent events over HTTP/1.1"]) {
      const receiving = receives[door]?.({ ...place, client: orders }, "");
      await receiving?.ended;
      expect(receiving?.got).toEqual([]);
    }
  });

  test("that is required keeps out who has none, before a request", async () => {
    const { asking } = await useCertificates();
    const { place, server } = await start({ ...asking, TLS_CLIENT_AUTH: "require" });
    await expect(post(place, toSend("alice", "x"), { token: await server.adminToken() })).rejects.toThrow();
    expect(refusal((await post({ ...place, client: orders }, toSend("alice", "x"), {})).text).errCode).toBe(0);
  });
});

test("ten pages of one browser receive over one connection, and still call", async () => {
  const { server, place } = await start((await useCertificates()).settings);
  const page = await browser.visit(`${server.url}/healthz`, { ignoreHTTPSErrors: true });
  const pages = [page, ...(await Promise.all(Array.from({ length: 9 }, () => page.context().newPage())))];
  const token = await server.userToken("alice");
  for (const [i, tab] of pages.entries()) {
    await tab.goto(`${server.url}/healthz`);
    await tab.evaluate(`{
      globalThis.got = "";
      fetch("/events?deviceID=tab-${i}", { headers: { token: ${JSON.stringify(token)} } }).then(async ({ body }) => {
        for await (const chunk of body.pipeThrough(new TextDecoderStream())) got += chunk;
      });
      undefined;
    }`);
  }
  for (const tab of pages)
    await vi.waitFor(async () => expect(await tab.evaluate("got")).toContain("event: ready"), soon);
  const body = JSON.stringify(toSend("alice", "here"));
  const headers = JSON.stringify({ operationID: "test", token: await server.adminToken() });
  const answer = await page.evaluate(
    `fetch("/msg/send_business_notification", { method: "POST", headers: ${headers}, body: ${JSON.stringify(body)} }).then((answer) => answer.json())`,
  );
  expect(answer).toMatchObject({ errCode: 0 });
  for (const tab of pages) await vi.waitFor(async () => expect(await tab.evaluate("got")).toContain("here"), soon);
  const protocol = `performance.getEntriesByType("resource").concat(performance.getEntriesByType("navigation")).map((entry) => entry.nextHopProtocol)`;
  expect(new Set((await page.evaluate(protocol)) as string[])).toEqual(new Set(["h2"]));
  expect(place.url).toBe(server.url);
});
