import { readFileSync } from "node:fs";
import type { Page } from "playwright-core";
import { expect, test, vi } from "vitest";
import { useBrowser } from "../helpers/browser.ts";
import { openSender, sendMany, useDevices } from "../helpers/device.ts";
import { useServer } from "../helpers/server.ts";

useDevices();
const browser = useBrowser();
const server = useServer();
const soon = { timeout: 60_000, interval: 50 };

/** The JavaScript that docs/clients.md has in a section. */
function snippetOf(section: string): string {
  const docs = readFileSync(new URL("../../docs/clients.md", import.meta.url), "utf8");
  const [, code = ""] = /```js\n(.*?)```/s.exec(docs.split(`## ${section}\n`)[1] ?? "") ?? [];
  return code.replaceAll("127.0.0.1:10002", new URL(server.url).host);
}

/** A page of another origin than the service's, in which the code runs. */
async function openPage(code: string, token: string): Promise<Page> {
  const stranger = await server.userToken("stranger");
  const { page } = await (await browser.profile()).open({ baseUrl: server.url, token: stranger });
  expect(new URL(page.url()).origin).not.toBe(new URL(server.url).origin);
  const given = { base: server.url, token };
  await page.evaluate(`{
    const { base, token } = ${JSON.stringify(given)};
    globalThis.got = [];
    const handle = ({ data }) => got.push(data);
    ${code}
  }`);
  return page;
}

const sees = (page: Page, expected: readonly string[]) =>
  vi.waitFor(async () => expect(await page.evaluate("got")).toEqual(expected), soon);

// More than the window of 64: they are acknowledged.
const stored = Array.from({ length: 70 }, (_, index) => String(index));

test.each([
  ["Server-sent events", "receive();"],
  ["WebSocket", ""],
])(
  "%s in a page of another origin get all, as docs/clients.md has it",
  async (section, start) => {
    const userId = `page-${section}`;
    const send = openSender(server.url, await server.adminToken());
    await sendMany(send, userId, stored.length, String, 1);
    const page = await openPage(snippetOf(section) + start, await server.userToken(userId));
    await sees(page, stored);
    await send({ to: userId, data: "now", level: 1 });
    await sees(page, [...stored, "now"]);
  },
  120_000,
);

test("an EventSource that lost its connection goes on with a new ticket", async () => {
  const userId = "page-offline";
  const send = openSender(server.url, await server.adminToken());
  const page = await openPage(`${snippetOf("Server-sent events")}receive();`, await server.userToken(userId));
  await send({ to: userId, data: "a" });
  await sees(page, ["a"]);
  // A newer session of the device ends the page's, and then leaves it the place.
  const headers = { token: await server.userToken(userId) };
  const newer = new AbortController();
  await fetch(`${server.url}/events?deviceID=web-1`, { headers, signal: newer.signal });
  newer.abort();
  await send({ to: userId, data: "b" });
  await sees(page, ["a", "b"]);
}, 120_000);
