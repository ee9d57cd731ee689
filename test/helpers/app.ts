import { expect, onTestFinished, vi } from "vitest";
import { type ClientOptions, createClient, type MustreachClient } from "../../src/client/index.ts";
import { openSender, type Sender, sendMany } from "./device.ts";
import type { TestServer } from "./server.ts";

/** An app with the client. */
export interface App {
  readonly client: MustreachClient;
  /** The data of what it has handled. */
  readonly seen: readonly string[];
  readonly errors: readonly unknown[];
}

/** A user of a service, and who sends to them. */
export interface AppUser {
  readonly userId: string;
  readonly send: Sender;
  /** Another app of theirs, on one device. It is closed with the test. */
  open(options?: Partial<ClientOptions>): App;
}

const soon = { timeout: 20_000, interval: 5 };
let users = 0;

/** A new user. Their apps have these options, unless they are opened with others. */
export async function newAppUser(server: TestServer, toAll: Partial<ClientOptions> = {}): Promise<AppUser> {
  const userId = `app-${++users}`;
  const token = await server.userToken(userId);
  return {
    userId,
    send: openSender(server.url, await server.adminToken()),
    open(options = {}) {
      const seen: string[] = [];
      const errors: unknown[] = [];
      const onError = (error: unknown) => void errors.push(error);
      const client = createClient({
        ...{ baseUrl: server.url, token, deviceId: "phone", onError },
        ...toAll,
        ...options,
      });
      onTestFinished(() => client.close({ deadlineMs: 0 }));
      client.onRecvCustomBusinessMessage(({ data }) => void seen.push(data));
      return { client, seen, errors };
    },
  };
}

/** By which methods sessions were opened, as the log has it: over a WebSocket it is Receive. */
export function openedSessions({ log }: TestServer): string[] {
  return log.filter(({ msg }) => msg === "stream opened").map(({ rpc }) => String(rpc).split("/").at(-1) ?? "");
}

/** An app drains what waits, once and in order, and what it has handled does not come again, to the second that is opened. */
export async function expectDrain({ userId, open, send }: AppUser): Promise<void> {
  await sendMany(send, userId, 300, String, 1);
  const first = open();
  await first.client.connect();
  await vi.waitFor(() => expect(first.seen).toHaveLength(300), soon);
  expect(first.seen).toEqual(Array.from({ length: 300 }, (_, index) => String(index)));
  await send({ to: userId, data: "pushed", level: 1 });
  await vi.waitFor(() => expect(first.seen.at(-1)).toBe("pushed"), soon);
  await first.client.close();
  await send({ to: userId, data: "later" });
  const second = open();
  await second.client.connect();
  await vi.waitFor(() => expect(second.seen).toEqual(["later"]), soon);
  await second.client.close();
  expect([...first.errors, ...second.errors]).toEqual([]);
}

/** An app is superseded by another one of the same device, and stops. */
export async function expectSuperseded({ userId, open, send }: AppUser): Promise<void> {
  const closed = Promise.withResolvers<unknown>();
  const first = open({ onStatus: (status, error) => status === "closed" && closed.resolve(error) });
  await first.client.connect();
  const second = open();
  await second.client.connect();
  expect(await closed.promise).toMatchObject({ errCode: 1506 });
  await send({ to: userId, data: "to the second" });
  await vi.waitFor(() => expect(second.seen).toEqual(["to the second"]), soon);
  expect(first.seen).toEqual([]);
}
