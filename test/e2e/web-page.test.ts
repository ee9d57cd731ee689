import { beforeEach, describe, expect, test, vi } from "vitest";
import { type OpenTab, useBrowser } from "../helpers/browser.ts";
import { openSender, useDevices } from "../helpers/device.ts";
import { useServer } from "../helpers/server.ts";

useDevices();
const browser = useBrowser();
const server = useServer();
const often = { timeout: 60_000, interval: 20 };
const slow = 120_000;
let users = 0;

async function setUp() {
  const userId = `page-${++users}`;
  const settings = { baseUrl: server.url, token: await server.userToken(userId), deviceId: "browser" };
  return { userId, settings, send: openSender(server.url, await server.adminToken()) };
}

const isStatus = (tab: OpenTab, expected: string) =>
  vi.waitFor(async () => expect(await tab.read(({ status }) => status())).toBe(expected), often);

const sees = (tab: OpenTab, expected: readonly string[]) =>
  vi.waitFor(async () => expect(await tab.read(({ seen }) => seen)).toEqual(expected), often);

beforeEach(() => void server.log.splice(0));

/** By which methods sessions were opened: over a WebSocket it is Receive. */
const opened = () =>
  server.log.filter(({ msg }) => msg === "stream opened").map(({ rpc }) => String(rpc).split("/").at(-1));

describe("a page with a strict policy", () => {
  const strict = "default-src 'none'; script-src 'self'; connect-src ";

  test.each([
    ["receives over a WebSocket", (url: string) => `${url} ${url.replace("http", "ws")}`, "Receive", 0],
    ["that allows no WebSocket receives by fetch", (url: string) => url, "Subscribe", 1],
  ])("%s", { timeout: slow }, async (_, toSources, method, violationCount) => {
    const { userId, settings, send } = await setUp();
    const profile = await browser.profile();
    const tab = await profile.open(settings, strict + toSources(server.url));
    await isStatus(tab, "ready");
    await send({ to: userId, data: "hello" });
    await sees(tab, ["hello"]);
    expect(opened()).toEqual([method]);
    expect(await tab.read(({ violations }) => violations)).toHaveLength(violationCount);
    expect(await tab.read(({ errors }) => errors)).toEqual([]);
  });

  test("that does not allow the service has no session", { timeout: slow }, async () => {
    const { settings } = await setUp();
    const tab = await (await browser.profile()).open(settings, `${strict}'self'`);
    await vi.waitFor(async () => expect(await tab.read(({ errors }) => errors.length)).toBeGreaterThan(0), often);
    expect(opened()).toEqual([]);
  });
});

test("a page that is offline ends its session, and goes on when it is online again", { timeout: slow }, async () => {
  const { userId, settings, send } = await setUp();
  const tab = await (await browser.profile()).open({ ...settings, shareStream: "false" });
  await isStatus(tab, "ready");
  await tab.page.context().setOffline(true);
  await vi.waitFor(async () => expect(await tab.read(({ status }) => status())).not.toBe("ready"), often);
  expect((await tab.read(({ errors }) => errors))[0]).toContain("the browser is offline");
  await send({ to: userId, data: "meanwhile" });
  await tab.page.context().setOffline(false);
  await sees(tab, ["meanwhile"]);
});

describe.each(["localStorage", "indexedDB"] as const)("the cursor store in %s", (cursorStore) => {
  test("keeps the highest of an epoch, exactly, for all tabs and after a reload", { timeout: slow }, async () => {
    const { settings } = await setUp();
    const profile = await browser.profile();
    const tabs = [await profile.open({ ...settings, cursorStore }), await profile.open({ ...settings, cursorStore })];
    const [first, second] = tabs;
    if (first === undefined || second === undefined) throw new Error("there are two tabs");
    expect(await first.read(async ({ store }) => (await store.load("device")) === undefined)).toBe(true);
    await first.read(({ store }) => store.save("device", 2n ** 64n - 1n, "one"));
    const load = (tab: OpenTab) => tab.read(({ store }) => store.load("device"));
    // What one tab stores in localStorage, others have a moment later.
    await vi.waitFor(async () => expect(await load(second)).toEqual({ sequence: 2n ** 64n - 1n, epoch: "one" }));
    await second.read(({ store }) => store.save("device", 7n, "one"));
    expect(await load(second)).toEqual({ sequence: 2n ** 64n - 1n, epoch: "one" });
    await second.read(({ store }) => store.save("device", 7n, "two"));
    await first.page.reload();
    await vi.waitFor(async () => expect(await load(first)).toEqual({ sequence: 7n, epoch: "two" }));
    await second.read(({ store }) => store.save("device", 8n));
    await vi.waitFor(async () => expect(await load(first)).toBe(8n));
  });

  test("is where a page goes on that is opened again", { timeout: slow }, async () => {
    const { userId, settings, send } = await setUp();
    const tab = await (await browser.profile()).open({ ...settings, cursorStore });
    await isStatus(tab, "ready");
    await send({ to: userId, data: "before" });
    await sees(tab, ["before"]);
    const key = JSON.stringify([userId, "browser"]);
    const isSaved = () =>
      tab.page.evaluate(`tab.store.load(${JSON.stringify(key)}).then((saved) => saved !== undefined)`);
    await vi.waitFor(async () => expect(await isSaved()).toBe(true), often);
    await tab.page.reload();
    await send({ to: userId, data: "after" });
    await sees(tab, ["after"]);
  });
});

test("a store whose data was cleared begins anew", { timeout: slow }, async () => {
  const { settings } = await setUp();
  const tab = await (await browser.profile()).open({ ...settings, cursorStore: "indexedDB" });
  await tab.read(({ store }) => store.save("device", 7n, "one"));
  await tab.page.evaluate(
    () =>
      new Promise((resolve, reject) => {
        const request = indexedDB.deleteDatabase("mustreach");
        request.onsuccess = resolve;
        request.onerror = reject;
      }),
  );
  expect(await tab.read(async ({ store }) => (await store.load("device")) === undefined)).toBe(true);
  await tab.read(({ store }) => store.save("device", 1n, "one"));
  expect(await tab.read(({ store }) => store.load("device"))).toEqual({ sequence: 1n, epoch: "one" });
});
