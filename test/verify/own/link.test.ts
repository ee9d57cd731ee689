import { once } from "node:events";
import { connect, createServer } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { expect, onTestFinished, test, vi } from "vitest";
import { openLink } from "../../../src/verify/own/link.ts";
import { listen } from "../../helpers/listen.ts";

/** Longer than an end takes on its way to us, in milliseconds. */
const arrivesMs = 100;

test("connections are lost also while they are being shut down", async () => {
  const ends: (() => void)[] = [];
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => {});
    ends.push(() => socket.end());
  });
  const link = await openLink(await listen(server));
  onTestFinished(() => void server.close());
  const client = connect({ port: link.port, host: "127.0.0.1", allowHalfOpen: true });
  client.on("error", () => {});
  await once(server, "connection");

  link.stall();
  for (const end of ends) end();
  await delay(arrivesMs);
  // The shutdown begins in this turn, and is not over before the next.
  link.mend();
  await new Promise((resolve) => process.nextTick(resolve));
  link.reset();
  await vi.waitFor(() => {
    client.write("is anybody there?");
    expect(client.destroyed).toBe(true);
  });
  await link.close();
});
