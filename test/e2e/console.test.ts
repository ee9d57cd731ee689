import { createServer } from "node:http";
import type { Page } from "playwright-core";
import { expect, onTestFinished, test, vi } from "vitest";
import { useBrowser } from "../helpers/browser.ts";
import { webhookSecret } from "../helpers/escalation.ts";
import { listen } from "../helpers/listen.ts";
import { startTestServer, type TestServer, useServer } from "../helpers/server.ts";

const browser = useBrowser();
const server = useServer();
const soon = { timeout: 60_000, interval: 50 };

/** The console, and what the browser complains about: scripts that fail, and what the policy forbids. */
async function visit({
  adminUrl,
}: Pick<TestServer, "adminUrl"> = server): Promise<{ page: Page; complaints: string[] }> {
  const page = await browser.visit(`${adminUrl}/console`);
  const complaints: string[] = [];
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(error.message));
  // From its beginning.
  await page.reload();
  return { page, complaints };
}

async function signIn(page: Page, token: string): Promise<void> {
  await page.getByLabel("Token").fill(token);
  await page.getByRole("button", { name: "Sign in" }).click();
}

const turnTo = (page: Page, name: string) => page.getByRole("link", { name, exact: true }).click();

test("an operator sends, sees it arrive at a device that acknowledges, and sees its status", async () => {
  const { page, complaints } = await visit();
  await signIn(page, await server.adminToken());

  await turnTo(page, "Devices");
  await page.locator("#device").getByLabel("User").fill("alice");
  await page.locator("#device").getByLabel("Device", { exact: true }).fill("phone");
  await page.getByRole("button", { name: "Connect" }).click();
  await page.locator("#device .pill.online").waitFor();

  await turnTo(page, "Send");
  await page.getByLabel("Its id", { exact: true }).fill("alice");
  await page.locator("#send [name=data]").fill('{"text":"<img src=x onerror=alert(1)>"}');
  expect(await page.locator("#code").textContent()).toContain(`curl -sS ${server.url}/msg/send_business_notification`);
  await page.getByRole("button", { name: "Send", exact: true }).click();
  await page.getByText("Sent, fsynced.").waitFor();

  await page.getByRole("link", { name: "Show its status" }).click();
  await page.getByText("1 of 1 recipient not acknowledged yet").waitFor();

  await turnTo(page, "Devices");
  const event = page.getByRole("listitem").filter({ hasText: "order.paid" });
  await event.getByText('{"text":"<img src=x onerror=alert(1)>"}').waitFor();
  // Sent again, since it was not acknowledged.
  await page.getByRole("button", { name: "Go offline" }).click();
  await page.getByRole("button", { name: "Go online" }).click();
  await vi.waitFor(async () => expect(await event.getAttribute("data-again")).toBe("sent again"), soon);
  await event.getByRole("button", { name: "Acknowledge" }).click();
  await event.getByText("acknowledged").waitFor();

  // It is looked up again without being asked for.
  await event.getByRole("link", { name: "status" }).click();
  await page.getByText("1 of 1 recipient acknowledged").waitFor();
  expect(await page.locator(".device.delivered").textContent()).toContain("phone");

  await turnTo(page, "Live");
  await vi.waitFor(async () => expect(await page.locator("#charts").textContent()).toContain("WebSocket 0"), soon);
  const charts = await page.locator("#charts").textContent();
  expect(charts).toMatch(/Time to reach a device.*Backlog.*to be acknowledged here 0/s);
  expect(charts).toMatch(/Sessions, by door.*SSE\) 1/s);
  expect(complaints).toEqual([]);
});

test("what is sent from the console while a device is offline is there, in order, when it is online again", async () => {
  const { page, complaints } = await visit();
  await signIn(page, await server.adminToken());
  await turnTo(page, "Devices");
  await page.locator("#device").getByLabel("User").fill("walter");
  await page.getByRole("button", { name: "Connect" }).click();
  await page.locator("#device .pill.online").waitFor();
  await page.getByRole("button", { name: "Go offline" }).click();

  await turnTo(page, "Send");
  await page.getByLabel("Its id", { exact: true }).fill("walter");
  for (const key of ["one", "two", "three"]) {
    await page.locator("#send [name=key]").fill(key);
    const answered = page.waitForResponse((response) => response.url().endsWith("/send_business_notification"));
    await page.getByRole("button", { name: "Send", exact: true }).click();
    expect(await (await answered).json()).toMatchObject({ errCode: 0 });
  }

  await turnTo(page, "Devices");
  const arrived = page.getByRole("listitem").filter({ has: page.getByRole("button", { name: "Acknowledge" }) });
  expect(await arrived.count()).toBe(0);
  await page.getByRole("button", { name: "Go online" }).click();
  await vi.waitFor(async () => expect(await arrived.count()).toBe(3), soon);
  // The newest is on top.
  const keys = (await arrived.allTextContents()).map((text) => /one|two|three/.exec(text)?.[0]);
  expect(keys).toEqual(["three", "two", "one"]);
  expect(complaints).toEqual([]);
});

test("a search finds what is stored, and a device that acknowledges by itself gets more than its window", async () => {
  const { page, complaints } = await visit();
  const token = await server.adminToken();
  const notifications = Array.from({ length: 70 }, (_, index) => ({
    ...{ sendUserID: "imAdmin", recvUserID: "bob", key: `key-${index}`, data: "{}", reliabilityLevel: 2 },
  }));
  expect((await server.post("/msg/batch_send_business_notification", { notifications }, token)).json.errCode).toBe(0);
  await signIn(page, token);

  await turnTo(page, "Search");
  await page.locator("#search").getByLabel("User").fill("bob");
  await page.locator("#search").getByLabel("Key").fill("key-6");
  await page.getByRole("button", { name: "Search" }).click();
  await page.getByText("11 of 70 stored for bob.").waitFor();
  expect(await page.locator("#found b").first().textContent()).toBe("key-69");
  await page.locator("#found").getByRole("link", { name: "Status" }).first().click();
  // The search was no device.
  await page.getByText("no device has acknowledged anything yet").waitFor();

  await turnTo(page, "Devices");
  await page.locator("#device").getByLabel("User").fill("bob");
  await page.getByRole("button", { name: "Connect" }).click();
  await page.getByLabel("Acknowledge by itself").check();
  await vi.waitFor(async () => expect(await page.locator(".event.done").count()).toBe(70), soon);
  expect(complaints).toEqual([]);
});

test("a group is created, changed and dismissed", async () => {
  const { page, complaints } = await visit();
  await signIn(page, await server.adminToken());
  await turnTo(page, "Groups");
  await page.getByText("Create a group").click();
  await page.getByLabel("Its id; empty").fill("crew");
  await page.getByLabel("Owner").fill("ann");
  await page.getByLabel("Other members").fill("bob carol");
  await page.getByRole("button", { name: "Create" }).click();
  await page.getByText("3 members").waitFor();
  await page.getByRole("button", { name: "Remove bob" }).click();
  await page.getByText("2 members").waitFor();
  await page.getByLabel("Users to add").fill("dave, erin");
  await page.getByRole("button", { name: "Add", exact: true }).click();
  await page.getByText("4 members").waitFor();
  page.on("dialog", (dialog) => dialog.accept());
  await page.getByRole("button", { name: "Dismiss" }).click();
  await page.getByText("crew is dismissed.").waitFor();
  expect(complaints).toEqual([]);
});

test("who is no admin does not get in, and a reload forgets who did", async () => {
  const { page } = await visit();
  await signIn(page, await server.userToken("alice"));
  await page.getByRole("alert").getByText("1002").waitFor();
  expect(await page.getByRole("navigation").isVisible()).toBe(false);
  await signIn(page, await server.adminToken());
  await page.getByRole("navigation").waitFor();
  expect(await page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie])")).toBe('[{},{},""]');
  await page.reload();
  await page.getByLabel("Token").waitFor();
  expect(await page.getByRole("navigation").isVisible()).toBe(false);
});

test("a dead letter is read, and given to the webhook again", async () => {
  const posts: string[] = [];
  const webhook = createServer(async (request, response) => {
    posts.push((await request.toArray()).join(""));
    // Gone, which is final, and back when it is asked again.
    response.statusCode = posts.length === 1 ? 410 : 204;
    response.end();
  });
  onTestFinished(() => void webhook.close());
  const port = await listen(webhook);
  const escalating = await startTestServer({
    ESCALATION_URL: `http://127.0.0.1:${port}/`,
    ESCALATION_SECRET: webhookSecret,
  });
  onTestFinished(() => escalating.stop());
  const token = await escalating.adminToken();
  const body = { sendUserID: "imAdmin", recvUserID: "zoe", key: "lost", data: "{}", reliabilityLevel: 2 };
  await escalating.post("/msg/send_business_notification", { ...body, escalationDelaySeconds: 1 }, token);
  const died = () => escalating.log.some(({ msg }) => String(msg).includes("it is a dead letter now"));
  await vi.waitFor(() => expect(died()).toBe(true), soon);

  const { page, complaints } = await visit(escalating);
  await signIn(page, token);
  await turnTo(page, "Dead letters");
  await page.getByRole("button", { name: "Show", exact: true }).click();
  await page.getByText("lost for zoe").waitFor();
  await page.getByRole("button", { name: "Replay", exact: true }).click();
  await page.getByText("1 given to the webhook again.").waitFor();
  await page.getByText("There are none.").waitFor();
  await vi.waitFor(() => expect(posts).toHaveLength(2), soon);
  expect(complaints).toEqual([]);
});

test("a device that a newer session has ended does not take it back by itself", async () => {
  const { page } = await visit();
  await signIn(page, await server.adminToken());
  await turnTo(page, "Devices");
  await page.locator("#device").getByLabel("User").fill("twin");
  for (const cards of [1, 2]) {
    await page.getByRole("button", { name: "Connect" }).click();
    await vi.waitFor(async () => expect(await page.locator("article").count()).toBe(cards), soon);
    await page.locator("article").first().locator(".pill.online").waitFor();
  }
  const older = page.locator("article").last();
  await older.getByText(/^1506 /).waitFor();
  expect(await older.locator(".pill").textContent()).toBe("offline");
  expect(await page.locator("article").first().locator(".pill").textContent()).toBe("online");
  await older.getByRole("button", { name: "Remove" }).click();
  expect(await page.locator("article").count()).toBe(1);
});
