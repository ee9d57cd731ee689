// OpenIM's JavaScript SDK in a browser, in a page of another origin.

import { randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import { useBrowser } from "../helpers/browser.ts";
import type { SdkEvent } from "../helpers/openim-app.ts";
import type { OpenimPage } from "../helpers/openim-page.ts";
import { useServer } from "../helpers/server.ts";

const server = useServer();
const browser = useBrowser("openim-page.ts");
const soon = { timeout: 20_000, interval: 50 };

test("an app in a browser synchronizes, and gets large and small ones each once and in order", async () => {
  const token = await server.userToken("alice");
  const admin = await server.adminToken();
  const sent: string[] = [];
  const send = async (bytes: number) => {
    const data = `${sent.length} ${randomBytes(bytes).toString("base64")}`;
    const body = { sendUserID: "imAdmin", recvUserID: "alice", key: "test", data, reliabilityLevel: 2 };
    expect((await server.post("/msg/send_business_notification", body, admin)).json.errCode).toBe(0);
    sent.push(data);
  };
  for (let i = 0; i < 10; i++) await send(i % 2 === 0 ? 150_000 : 10);

  const { page } = await (await browser.profile()).open({ baseUrl: server.url, token });
  const settings = {
    userID: "alice",
    token,
    platformID: 5,
    apiAddr: server.url,
    wsAddr: server.url.replace("http", "ws"),
  };
  await page.evaluate((to) => (globalThis as unknown as { page: OpenimPage }).page.login(to), settings);
  const events = () => page.evaluate(() => (globalThis as unknown as { page: OpenimPage }).page.events);
  const received = async () => {
    const isMessage = ({ event }: SdkEvent) => event === "OnRecvCustomBusinessMessage";
    return (await events()).filter(isMessage).map(({ data }) => (data as { data: string }).data);
  };
  await expect.poll(async () => (await received()).length, soon).toBe(10);
  for (let i = 0; i < 30; i++) await send(i % 3 === 0 ? 100_000 : 10);
  await expect.poll(async () => (await received()).length, soon).toBe(40);
  const got = await received();
  expect(got.map((data, i) => data === sent[i])).toEqual(sent.map(() => true));
  const names = async () => (await events()).map(({ event }) => event);
  await expect.poll(names, soon).toContain("OnSyncServerFinish");
  expect(await names()).not.toContain("OnSyncServerFailed");
});
