import { expect, onTestFinished, test, vi } from "vitest";
import { startExternalBroker } from "../helpers/external-broker.ts";
import { requireOpenFiles } from "../helpers/open-files.ts";
import { startProcess } from "../helpers/process.ts";
import { openAndClose } from "../helpers/receivers.ts";

/** Of how many, by RECEIVERS: `npm run test:receivers` has 100,000. */
const count = Number(process.env.RECEIVERS ?? 1_000);

/** How many are open at a time. */
const atOnce = 50;

/** Files that each of the two ends needs: a socket for each receiver, as many that are closing, and what it has anyway. */
const openFiles = 2 * atOnce + 150;

/** Lines that tell how far it is, where RECEIVERS is set. */
const lines = 20;

/**
 * What a process may hold more afterwards than before, in bytes. It remembers the last 10,000 tokens that it has verified, with
 * 350 bytes for each; a session would hold 15,000.
 */
const maxGrownBytes = 5_000_000 + 350 * Math.min(count, 10_000);

/** Connections of the clients that are kept for their next call, and ours to the broker. */
const maxSockets = 15;

/** In milliseconds, for 20 a second: two busy cores were seen to do 50, and less busy ones 160. */
const timeout = 120_000 + 50 * count;

test("after many receivers were opened and closed by every door, handles, timers, subscriptions and heap are as before", {
  timeout,
}, async () => {
  requireOpenFiles(openFiles, `${atOnce} receivers at a time`);
  const broker = await startExternalBroker({ monitored: true });
  onTestFinished(() => broker.remove());
  const service = await startProcess({ NATS_URL: broker.url, PARTITIONS: "1" });
  onTestFinished(() => service.remove());
  const { url, userToken: tokenOf } = service;
  // What is made on first use is there then.
  await openAndClose({ url, count: 200, atOnce, tokenOf });
  const measure = async () => {
    const { bytes, resources } = await service.holdings();
    const { TCPSocketWrap: sockets = 0, Timeout: timers = 0 } = resources;
    return { bytes, sockets, timers, subscriptions: await broker.subscriptions() };
  };
  const isQuiet = async () => expect((await measure()).sockets).toBeLessThan(maxSockets);
  await vi.waitFor(isQuiet, timeout);
  const before = await measure();
  const report = process.env.RECEIVERS === undefined ? () => {} : tell;
  const startedMs = performance.now();
  const onProgress = (closed: number) => {
    if (closed % Math.ceil(count / lines) > 0 && closed < count) return;
    const seconds = Math.round((performance.now() - startedMs) / 1_000);
    report(`${closed} of ${count} receivers were opened and closed in ${seconds} s`);
  };
  await openAndClose({ url, count, atOnce, tokenOf, onProgress });
  await vi.waitFor(isQuiet, timeout);
  await vi.waitFor(async () => {
    const { timers, subscriptions } = await measure();
    expect(timers).toBeLessThanOrEqual(before.timers);
    expect(subscriptions).toBeLessThanOrEqual(before.subscriptions);
  }, timeout);
  const after = await measure();
  report(JSON.stringify({ count, before, after }));
  expect(after.bytes - before.bytes).toBeLessThan(maxGrownBytes);
});

function tell(line: string): void {
  process.stdout.write(`${line}\n`);
}
