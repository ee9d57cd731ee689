import { createServer, request } from "node:http";
import { createConnectTransport } from "@connectrpc/connect-web";
import { beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { createTokenMinter } from "../../src/auth/mint-token.ts";
import { createClient, createSender } from "../../src/client/index.ts";
import { expectDrain, expectSuperseded, newAppUser, openedSessions } from "../helpers/app.ts";
import { sendMany, useDevices } from "../helpers/device.ts";
import { listen } from "../helpers/listen.ts";
import { testSecret, useServer } from "../helpers/server.ts";

// The client as it is in a browser: Node has a WebSocket and fetch, too. Real pages are in test/e2e/tabs.test.ts.
vi.mock("#client/receiving", () => import("../../src/client/web/receiving.ts"));

const server = useServer({ HEARTBEAT: "1s" });
useDevices();

const soon = { timeout: 20_000, interval: 5 };
const numbers = (count: number) => Array.from({ length: count }, (_, index) => String(index));
let users = 0;

const mintExpired = createTokenMinter({ secret: testSecret, ttlMs: -60_000 });

/** A proxy that forwards requests, and does with upgrades what the test says. */
async function useProxy(onUpgrade: (destroy: () => void) => void): Promise<string> {
  const proxy = createServer((near, answer) => {
    const { method, url, headers } = near;
    const far = request(new URL(url ?? "/", server.url), { method, headers }, (response) => {
      answer.writeHead(response.statusCode ?? 500, response.headers);
      response.pipe(answer);
    });
    far.on("error", () => answer.destroy());
    answer.on("close", () => far.destroy());
    near.pipe(far);
  });
  proxy.on("upgrade", (_, socket) => {
    socket.on("error", () => {});
    onUpgrade(() => socket.destroy());
  });
  const port = await listen(proxy);
  onTestFinished(() => {
    proxy.close();
    proxy.closeAllConnections();
  });
  return `http://127.0.0.1:${port}`;
}

beforeEach(() => void server.log.splice(0));

const ways = [
  ["a WebSocket", async () => server.url, "Receive"],
  ["fetch, since the proxy refuses upgrades", () => useProxy((destroy) => destroy()), "Subscribe"],
] as const;

describe.each(ways)("the client of a browser by %s", (_, toUrl, stream) => {
  const setUp = async () => newAppUser(server, { baseUrl: await toUrl(), deviceId: "web" });

  test("drains what waits, once and in order, and what it has handled does not come again", async () => {
    const debug = vi.spyOn(console, "debug").mockReturnValue();
    onTestFinished(() => debug.mockRestore());
    await expectDrain(await setUp());
    expect(openedSessions(server)).toEqual([stream, stream]);
    expect(debug).toHaveBeenCalledTimes(stream === "Subscribe" ? 2 : 0);
  });

  test("is superseded by another one of the same device, and stops", async () => {
    await expectSuperseded(await setUp());
  });

  test("gets the errors of the service whole", async () => {
    const { open } = await setUp();
    await expect(open({ token: "nonsense" }).client.connect()).rejects.toMatchObject({ errCode: 1503 });
    await expect(open({ window: 2_000 }).client.connect()).rejects.toMatchObject({
      errCode: 1001,
      errMsg: "ArgsError",
      errDlt: expect.stringContaining("window"),
    });
  });

  test("asks for a new token when it is logged in anew", async () => {
    const { userId, open, send } = await setUp();
    const tokens = [(await mintExpired({ userId, platformId: 5 })).token, await server.userToken(userId)];
    const { client, seen } = open({ token: () => tokens.shift() ?? "none", reconnect: { minDelayMs: 5 } });
    await client.connect();
    await send({ to: userId, data: "hello" });
    await vi.waitFor(() => expect(seen).toEqual(["hello"]), soon);
  });

  test("shares one stream with other tabs", async () => {
    const { userId, open, send } = await setUp();
    const tabs = [open({ shareStream: true }), open({ shareStream: true })];
    for (const { client } of tabs) await client.connect();
    await sendMany(send, userId, 100, String, 1);
    for (const { seen } of tabs) await vi.waitFor(() => expect(seen).toEqual(numbers(100)), soon);
    expect(openedSessions(server)).toEqual([stream]);
  });
});

test("a proxy that lets an upgrade hang is given up", async () => {
  const debug = vi.spyOn(console, "debug").mockReturnValue();
  onTestFinished(() => debug.mockRestore());
  const baseUrl = await useProxy(() => {});
  const client = createClient({ baseUrl, token: await server.userToken(`web-${++users}`), deviceId: "web" });
  onTestFinished(() => client.close({ deadlineMs: 0 }));
  await client.connect();
  expect(openedSessions(server)).toEqual(["Subscribe"]);
  expect(debug.mock.lastCall?.[0]).toContain("no answer in 3000 ms");
});

test("a transport is used where one is given", async () => {
  const transport = createConnectTransport({ baseUrl: server.url, useBinaryFormat: true });
  const userId = `web-${++users}`;
  const seen: string[] = [];
  const client = createClient({
    baseUrl: server.url,
    transport,
    token: await server.userToken(userId),
    deviceId: "web",
  });
  onTestFinished(() => client.close());
  client.onRecvCustomBusinessMessage(({ data }) => void seen.push(data));
  await client.connect();
  const sender = createSender({ baseUrl: server.url, transport, token: await server.adminToken() });
  await sender.send({ sendUserID: "imAdmin", recvUserID: userId, key: "k", data: "hello", mustReach: true });
  await vi.waitFor(() => expect(seen).toEqual(["hello"]), soon);
  expect(openedSessions(server)).toEqual(["Subscribe"]);
});

test("a sender gets the answer of the service, and its errors", async () => {
  const sender = createSender({ baseUrl: server.url, token: await server.adminToken() });
  const notification = { sendUserID: "imAdmin", recvUserID: "alice", key: "k", data: "{}", mustReach: true };
  const before = Date.now() - 5_000;
  const sent = await sender.send({ ...notification, clientMsgID: "order-1" });
  expect(sent).toMatchObject({ clientMsgID: "order-1", serverMsgID: expect.stringMatching(/^[0-9a-f]{32}$/) });
  expect(sent.sendTime).toBeGreaterThan(before);
  expect(sent.durability).not.toBe("unknown");
  await expect(sender.send({ ...notification, key: "" })).rejects.toMatchObject({ errCode: 1001, errMsg: "ArgsError" });
  const stranger = createSender({ baseUrl: server.url, token: await server.userToken("stranger") });
  await expect(stranger.send(notification)).rejects.toMatchObject({ errCode: 1002 });
});
