import { expect, test, vi } from "vitest";
import { type OpenTab, type Profile, useBrowser } from "../helpers/browser.ts";
import { useServer } from "../helpers/server.ts";

// More than the six connections that a browser opens to a host, and more notifications than the window of 64.
const tabCount = 8;
const all = Array.from({ length: 101 }, (_, index) => String(index + 1));

const browser = useBrowser();
const server = useServer();
const slow = 180_000;
const often = { interval: 50 };

let users = 0;

/** Tabs of a user who has no other device; the first one leads. */
async function openTabs(profile: Profile) {
  const user = `tabs-${++users}`;
  const settings = { baseUrl: server.url, token: await server.userToken(user), deviceId: "browser" };
  const tabs: OpenTab[] = [];
  for (let n = 0; n < tabCount; n++) {
    const tab = await profile.open(settings);
    await vi.waitFor(async () => expect(await tab.read(({ status }) => status())).toBe("ready"), often);
    tabs.push(tab);
  }
  return { user, tabs, settings };
}

async function send(user: string, data: string) {
  const body = { sendUserID: "imAdmin", recvUserID: user, key: "order", data, reliabilityLevel: 2 };
  const { json } = await server.post("/msg/send_business_notification", body, await server.adminToken());
  expect(json.errMsg).toBe("");
  return String(json.data?.serverMsgID);
}

async function sendAll(user: string) {
  const ids: string[] = [];
  for (const data of all) ids.push(await send(user, data));
  return ids;
}

const sees = (tab: OpenTab, expected: string[]) =>
  vi.waitFor(async () => expect(await tab.read(({ seen }) => seen)).toEqual(expected), often);

async function areDelivered(ids: string[]) {
  for (const serverMsgID of ids) {
    await vi.waitFor(async () => {
      const { json } = await server.post("/msg/get_delivery_status", { serverMsgID }, await server.adminToken());
      expect(json.data?.recipients).toMatchObject([{ state: "delivered", devices: [{ deviceID: "browser" }] }]);
    }, often);
  }
}

/** Which of the tabs lead. */
async function leaders(tabs: readonly OpenTab[]): Promise<number[]> {
  const leading = await Promise.all(tabs.map((tab) => tab.leads()));
  return leading.flatMap((leads, index) => (leads ? [index] : []));
}

test("eight tabs get all of 101 notifications, in order, by one stream", { timeout: slow }, async () => {
  const { user, tabs } = await openTabs(await browser.profile());
  expect(await leaders(tabs)).toEqual([0]);
  const ids = await sendAll(user);
  for (const tab of tabs) await sees(tab, all);
  await areDelivered(ids);
});

test("none is lost or doubled when the leading tab is closed in the middle", { timeout: slow }, async () => {
  const profile = await browser.profile();
  const { user, tabs, settings } = await openTabs(profile);
  const [leader, ...others] = tabs;
  const sending = sendAll(user);
  await vi.waitFor(async () => expect(await leader?.read(({ seen }) => seen.length)).toBeGreaterThan(30), often);
  await leader?.page.close();
  const ids = await sending;
  for (const tab of others) await sees(tab, all);
  expect(await leaders(others)).toHaveLength(1);
  await areDelivered(ids);
  // The next one that is opened begins where they are.
  const late = await profile.open(settings);
  await vi.waitFor(async () => expect(await late.read(({ status }) => status())).toBe("ready"), often);
  await send(user, "after");
  await sees(late, ["after"]);
});

test("none is lost or doubled when the leading tab crashes in the middle", { timeout: slow }, async () => {
  const { user, tabs } = await openTabs(await browser.profile());
  const [leader, ...others] = tabs;
  const sending = sendAll(user);
  await vi.waitFor(async () => expect(await leader?.read(({ seen }) => seen.length)).toBeGreaterThan(30), often);
  const crashed = leader?.page.waitForEvent("crash");
  void leader?.page.goto("chrome://crash").catch(() => undefined);
  await crashed;
  const ids = await sending;
  for (const tab of others) await sees(tab, all);
  expect(await leaders(others)).toHaveLength(1);
  await areDelivered(ids);
});

test("devices of one browser have streams of their own", { timeout: slow }, async () => {
  const profile = await browser.profile();
  const user = `tabs-${++users}`;
  const token = await server.userToken(user);
  const tabs = [];
  for (const deviceId of ["left", "right"]) tabs.push(await profile.open({ baseUrl: server.url, token, deviceId }));
  await send(user, "hello");
  for (const tab of tabs) await sees(tab, ["hello"]);
  expect(await leaders(tabs)).toEqual([0, 1]);
});
