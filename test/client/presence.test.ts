import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { ClientOptions } from "../../src/client/index.ts";
import { fakeToken, useClient, useFakeService } from "./fake-service.ts";

// What a browser tells its pages is told here by the test: Node has no such events. A real page is in
// test/e2e/web-page.test.ts.

const often = { interval: 2 };
const page = { window: new EventTarget(), document: new EventTarget() };

beforeEach(() => {
  page.window = new EventTarget();
  page.document = new EventTarget();
  vi.stubGlobal("addEventListener", page.window.addEventListener.bind(page.window));
  vi.stubGlobal("document", page.document);
});
afterEach(() => vi.unstubAllGlobals());

const tell = (target: "window" | "document", name: string, persisted?: boolean) =>
  page[target].dispatchEvent(Object.assign(new Event(name), { persisted }));

/** A client that would wait for long before it connects again. */
async function setUp(options: Partial<ClientOptions> = {}) {
  const service = await useFakeService();
  const client = useClient(service, { reconnect: { minDelayMs: 60_000, maxDelayMs: 60_000 }, ...options });
  const seen: bigint[] = [];
  client.onRecvCustomBusinessMessage(({ sequence }) => void seen.push(sequence));
  const connecting = client.connect();
  const session = await service.session();
  session.ready();
  await connecting;
  return { service, client, session, seen };
}

const isStatus = ({ status }: { status(): string }, expected: string) =>
  vi.waitFor(() => expect(status()).toBe(expected), often);

describe.each([
  ["is offline", "window", "offline", "window", "online", undefined],
  ["is frozen", "document", "freeze", "document", "resume", undefined],
  ["is put aside for the way back", "window", "pagehide", "window", "pageshow", true],
] as const)("a page that %s", (_, goAt, go, comeAt, come, persisted) => {
  test("ends its session at once, and goes on at once when it is back", async () => {
    const errors: unknown[] = [];
    const { service, client, session, seen } = await setUp({ onError: (error) => errors.push(error) });
    session.notify(1n);
    await service.acked(1n);
    for (const sequence of [2n, 3n]) {
      tell(goAt, go, persisted);
      await isStatus(client, "waiting");
      tell(comeAt, come, persisted);
      const next = await service.session();
      expect(next.request.afterSequence).toBe(sequence - 1n);
      next.ready();
      next.notify(sequence);
      await service.acked(sequence);
    }
    expect(session.left.aborted).toBe(true);
    expect(seen).toEqual([1n, 2n, 3n]);
    expect(errors).toMatchObject([{ errCode: 90_004 }, { errCode: 90_004 }]);
  });
});

test("a page that comes back while it waits does not wait any longer, but only once", async () => {
  const { service, client, session } = await setUp();
  session.end();
  await isStatus(client, "waiting");
  tell("window", "offline");
  tell("window", "online");
  (await service.session()).end();
  await isStatus(client, "waiting");
  expect(service.opened()).toBe(2);
});

test("a page that is left for good says nothing", async () => {
  const { client, session, seen } = await setUp();
  tell("window", "pagehide", false);
  tell("window", "pageshow", false);
  session.notify(1n);
  await vi.waitFor(() => expect(seen).toEqual([1n]), often);
  expect(client.status()).toBe("ready");
});

test("a client that is closed listens no more", async () => {
  const { client } = await setUp();
  await client.close();
  tell("window", "offline");
  expect(client.status()).toBe("closed");
});

test("tabs that share a stream are all offline with it, and go on together", async () => {
  const token = fakeToken({ UserID: "presence", PlatformID: 5 });
  const { service, client, session } = await setUp({ shareStream: true, token });
  const other = useClient(service, { shareStream: true, token, reconnect: { minDelayMs: 60_000 } });
  await other.connect();
  // Frozen tabs are told what they have missed by the one that leads.
  tell("document", "freeze");
  expect(session.left.aborted).toBe(false);
  tell("window", "offline");
  await isStatus(client, "waiting");
  await isStatus(other, "waiting");
  await vi.waitFor(() => expect(session.left.aborted).toBe(true), often);
  tell("window", "online");
  (await service.session()).ready();
  await isStatus(client, "ready");
  await isStatus(other, "ready");
  expect(service.opened()).toBe(2);
});
