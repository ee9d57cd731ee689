import { once } from "node:events";
import { connect, createServer } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { openSharedPort } from "../../src/workers/port.ts";
import { listen } from "../helpers/listen.ts";

const loopback = (port: number) => ({ host: "127.0.0.1", port });

test("a port that is taken is refused with the system's error, and one of 0 is a free one", async () => {
  const holder = createServer();
  onTestFinished(() => void holder.close());
  const port = await listen(holder);
  await expect(openSharedPort(loopback(port))).rejects.toMatchObject({
    code: "EADDRINUSE",
    message: `listen EADDRINUSE: address already in use 127.0.0.1:${port}`,
  });
  const free = await openSharedPort({ host: "localhost", port: 0 });
  onTestFinished(free.close);
  expect(free.fd).toBeGreaterThan(2);
});

test("an address that is not this machine's is refused", async () => {
  await expect(openSharedPort({ host: "192.0.2.1", port: 0 })).rejects.toMatchObject({ code: "EADDRNOTAVAIL" });
});

test("who listens by the descriptor gets the connections", async () => {
  const { fd } = await openSharedPort(loopback(0));
  const server = createServer((socket) => socket.end("here")).listen({ fd });
  onTestFinished(() => void server.close());
  await once(server, "listening");
  const address = server.address();
  const client = connect(typeof address === "object" ? (address?.port ?? 0) : 0, "127.0.0.1");
  expect(String((await once(client, "data"))[0])).toBe("here");
  client.destroy();
});
