// Apps with OpenIM's SDKs while the store of notifications goes away, or becomes another.

import { cp, rm } from "node:fs/promises";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { openSender } from "../helpers/device.ts";
import { type ExternalBroker, startExternalBroker } from "../helpers/external-broker.ts";
import type { OpenimApp } from "../helpers/openim-app.ts";
import { type GoDisk, startGoApp } from "../helpers/openim-go.ts";
import { startJsApp } from "../helpers/openim-js.ts";
import { startTestServer, type TestServer } from "../helpers/server.ts";

const soon = { timeout: 40_000, interval: 20 };
const got = (app: OpenimApp) => app.received().map(({ data }) => data);
const until = (app: OpenimApp, expected: readonly string[]) => expect.poll(() => got(app), soon).toEqual(expected);
const numbered = (name: string, from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, i) => `${name} ${from + i}`);

async function startBroker(): Promise<ExternalBroker> {
  const broker = await startExternalBroker();
  onTestFinished(() => broker.remove());
  return broker;
}

async function serve(broker: ExternalBroker, port = 0): Promise<TestServer> {
  const settings = { PARTITIONS: "1", HEARTBEAT: "1s", SEND_TIMEOUT: "1s", PORT: String(port) };
  const server = await startTestServer({ ...settings, NATS_URL: broker.url });
  onTestFinished(() => server.stop());
  return server;
}

/** Sends them one after the other, and resolves to the id of the last. */
async function sendAll({ url, ...server }: TestServer, list: readonly string[]): Promise<string> {
  const send = openSender(url, await server.adminToken());
  let last = "";
  for (const data of list) last = (await send({ to: "alice", data })).serverMsgId;
  return last;
}

/** Waits until it is stored that a device has handled one. */
async function untilHandled(server: TestServer, serverMsgID: string): Promise<void> {
  const admin = await server.adminToken();
  await vi.waitFor(async () => {
    const { json } = await server.post("/msg/get_delivery_status", { serverMsgID }, admin);
    expect(json.data).toMatchObject({ counts: { delivered: 1 } });
  }, soon);
}

describe.each([
  ["JavaScript", (url: string, token: string, disk: GoDisk) => disk && startJsApp(url, "alice", token)],
  ["Go", (url: string, token: string, disk: GoDisk) => startGoApp(url, "alice", token, 5, disk)],
])("an app with the SDK for %s", (_, start) => {
  async function connect(server: TestServer, disk: GoDisk = new Map()) {
    const app = start(server.url, await server.userToken("alice"), disk);
    await app.saw("OnSyncServerFinish");
    return app;
  }

  test("gets all that is sent after the store was cut off, and nothing twice", { timeout: 120_000 }, async () => {
    const broker = await startBroker();
    const server = await serve(broker);
    const app = await connect(server);
    const copy = `${broker.storeDir}-copy`;
    onTestFinished(() => rm(copy, { recursive: true, force: true }));
    const kept = await sendAll(server, numbered("kept", 1, 5));
    await until(app, numbered("kept", 1, 5));
    await untilHandled(server, kept);
    await cp(broker.storeDir, copy, { recursive: true });
    const gone = await sendAll(server, numbered("gone", 1, 10));
    const before = [...numbered("kept", 1, 5), ...numbered("gone", 1, 10)];
    await until(app, before);
    await untilHandled(server, gone);
    await broker.pause();
    await rm(broker.storeDir, { recursive: true });
    await cp(copy, broker.storeDir, { recursive: true });
    await broker.resume();
    await vi.waitFor(() => sendAll(server, ["next 1"]), soon);
    await sendAll(server, numbered("next", 2, 20));
    await expect.poll(() => got(app).at(-1), soon).toBe("next 20");
    // The first may have been stored by a try that was not answered.
    expect(got(app).filter((data, i, all) => data !== "next 1" || all.indexOf(data) === i)).toEqual([
      ...before,
      ...numbered("next", 1, 20),
    ]);
  });

  test("gets all of a new store that has taken the place of its own", { timeout: 120_000 }, async () => {
    const disk: GoDisk = new Map();
    const server = await serve(await startBroker());
    const app = await connect(server, disk);
    await sendAll(server, numbered("gone", 1, 15));
    await until(app, numbered("gone", 1, 15));
    await server.stop();
    const anew = await serve(await startBroker(), server.port);
    await sendAll(anew, numbered("next", 1, 5));
    await until(app, [...numbered("gone", 1, 15), ...numbered("next", 1, 5)]);
  });

  test("gets what was stored before the broker went away, and after", { timeout: 120_000 }, async () => {
    const disk: GoDisk = new Map();
    const broker = await startBroker();
    const server = await serve(broker);
    const app = await connect(server, disk);
    await untilHandled(server, await sendAll(server, ["1"]));
    expect(got(app)).toEqual(["1"]);
    await app.kill();
    await sendAll(server, ["2", "3"]);
    await broker.pause();
    const again = start(server.url, await server.userToken("alice"), disk);
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    expect(got(again)).toEqual([]);
    await broker.resume();
    await until(again, ["2", "3"]);
    await vi.waitFor(() => sendAll(server, ["4"]), soon);
    await expect.poll(() => got(again).at(-1), soon).toBe("4");
  });
});
