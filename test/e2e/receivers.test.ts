import { expect, onTestFinished, test, vi } from "vitest";
import { startExternalBroker } from "../helpers/external-broker.ts";
import { startProcess } from "../helpers/process.ts";
import { openAndClose } from "../helpers/receivers.ts";

/** Of how many, by RECEIVERS; more take longer, up to 100,000 and beyond. */
const count = Number(process.env.RECEIVERS ?? 1_000);

/** What a process may hold more afterwards than before, in bytes, for what it remembers: a session would hold 15,000. */
const maxGrownBytes = 5_000_000 + 200 * count;

/** Connections of the clients that are kept for their next call, and ours to the broker. */
const maxSockets = 15;

const timeout = 120_000 + 50 * count;

test("after many receivers were opened and closed by every door, handles, timers, subscriptions and heap are as before", {
  timeout,
}, async () => {
  const broker = await startExternalBroker({ monitored: true });
  onTestFinished(() => broker.remove());
  const service = await startProcess({ NATS_URL: broker.url, PARTITIONS: "1" });
  onTestFinished(() => service.remove());
  const { url, userToken: tokenOf } = service;
  // What is made on first use is there then.
  await openAndClose({ url, count: 200, atOnce: 50, tokenOf });
  const measure = async () => {
    const { bytes, resources } = await service.holdings();
    const { TCPSocketWrap: sockets = 0, Timeout: timers = 0 } = resources;
    return { bytes, sockets, timers, subscriptions: await broker.subscriptions() };
  };
  const isQuiet = async () => expect((await measure()).sockets).toBeLessThan(maxSockets);
  await vi.waitFor(isQuiet, timeout);
  const before = await measure();
  await openAndClose({ url, count, atOnce: 50, tokenOf });
  await vi.waitFor(isQuiet, timeout);
  await vi.waitFor(async () => {
    const { timers, subscriptions } = await measure();
    expect(timers).toBeLessThanOrEqual(before.timers);
    expect(subscriptions).toBeLessThanOrEqual(before.subscriptions);
  }, timeout);
  const after = await measure();
  if (process.env.RECEIVERS !== undefined) process.stdout.write(`${JSON.stringify({ count, before, after })}\n`);
  expect(after.bytes - before.bytes).toBeLessThan(maxGrownBytes);
});
