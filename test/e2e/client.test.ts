import { beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { type ClientOptions, createClient } from "../../src/client/index.ts";
import { clientWays } from "../helpers/client-ways.ts";
import { openSender, sendMany, useDevices } from "../helpers/device.ts";
import { useServer } from "../helpers/server.ts";

const server = useServer({ HEARTBEAT: "1s" });
useDevices();

const soon = { timeout: 20_000, interval: 5 };
let users = 0;

describe.each(clientWays)("the client by %s", (way, toOptions) => {
  async function setUp() {
    const userId = `client-${++users}`;
    const token = await server.userToken(userId);
    const send = openSender(server.url, await server.adminToken());
    const open = (options: Partial<ClientOptions> = {}) => {
      const seen: string[] = [];
      const client = createClient({
        baseUrl: server.url,
        token,
        deviceId: "phone",
        ...toOptions(server.url),
        ...options,
      });
      onTestFinished(() => client.close({ deadlineMs: 0 }));
      client.onRecvCustomBusinessMessage(({ data }) => void seen.push(data));
      return { client, seen };
    };
    return { userId, open, send };
  }

  beforeEach(() => void server.log.splice(0));

  const numbers = (count: number) => Array.from({ length: count }, (_, index) => String(index));

  test("drains what waits, once and in order, and what it has handled does not come again", async () => {
    const { userId, open, send } = await setUp();
    await sendMany(send, userId, 300, String, 1);
    const first = open();
    await first.client.connect();
    await vi.waitFor(() => expect(first.seen).toHaveLength(300), soon);
    expect(first.seen).toEqual(numbers(300));
    await first.client.close();
    await send({ to: userId, data: "later" });
    const second = open();
    await second.client.connect();
    await vi.waitFor(() => expect(second.seen).toEqual(["later"]), soon);
    await second.client.close();
    const opened = server.log.filter(({ msg, rpc }) => msg === "stream opened" && String(rpc).endsWith(`/${way}`));
    expect(opened).toHaveLength(2);
  });

  test("is superseded by another one of the same device, and stops", async () => {
    const { userId, open, send } = await setUp();
    const closed = Promise.withResolvers<unknown>();
    const first = open({ onStatus: (status, error) => status === "closed" && closed.resolve(error) });
    await first.client.connect();
    const second = open();
    await second.client.connect();
    expect(await closed.promise).toMatchObject({ errCode: 1506 });
    await send({ to: userId, data: "to the second" });
    await vi.waitFor(() => expect(second.seen).toEqual(["to the second"]), soon);
    expect(first.seen).toEqual([]);
  });
});
