import { JetStreamApiError } from "@nats-io/jetstream";
import { nanos } from "@nats-io/transport-node";
import { pino } from "pino";
import { afterEach, describe, expect, test, vi } from "vitest";
import { type Broker, connectBroker } from "../../../src/broker/connect.ts";
import { type ConsumeOptions, consume, type Delivery } from "../../../src/broker/consumers/consume.ts";
import { everything } from "../../../src/broker/subjects.ts";
import { useBroker } from "../../helpers/broker.ts";

const log = pino({ level: "silent" });
const server = useBroker();
const opened: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close();
});
const waitFor = <T>(check: () => T | Promise<T>) => vi.waitFor(check, { interval: 10 });

let streams = 0;
/** A stream of a test, with its own name and subject. */
async function openStream() {
  const { url, dial } = server;
  const broker = await connectBroker({ servers: [url], dial, requestTimeoutMs: 2_000, log });
  opened.push(() => broker.close());
  const stream = `S${++streams}`;
  await broker.jsm.streams.add({ name: stream, subjects: [`s.${streams}.*`] });
  const subject = `s.${streams}.a`;
  const publish = (count: number) =>
    Promise.all(Array.from({ length: count }, (_, i) => broker.js.publish(subject, String(i))));
  const info = () => broker.jsm.consumers.info(stream, "worker");
  return { broker, stream, publish, info };
}

/** Consumes, and collects what is delivered without settling it. */
async function collect(broker: Broker, stream: string, options: Partial<ConsumeOptions> = {}) {
  const deliveries: Delivery[] = [];
  const consumption = await consume(broker, {
    stream,
    durable: "worker",
    filter: everything,
    maxHeld: 10,
    onDelivery: (delivery) => void deliveries.push(delivery),
    log,
    ...options,
  });
  opened.push(() => consumption.stop());
  return { deliveries, pull: consumption };
}

describe("a consumer", () => {
  test("delivers what is there and what comes, with its place, time and count", async () => {
    const { broker, stream, publish } = await openStream();
    const beganMs = Date.now();
    await publish(1);
    const { deliveries } = await collect(broker, stream);
    await waitFor(() => expect(deliveries).toHaveLength(1));
    await publish(1);
    await waitFor(() => expect(deliveries).toHaveLength(2));
    expect(deliveries.map(({ sequence }) => sequence)).toEqual([1, 2]);
    expect(deliveries.map(({ count }) => count)).toEqual([1, 1]);
    for (const { storedAtMs } of deliveries) {
      expect(storedAtMs).toBeGreaterThanOrEqual(beganMs);
      expect(storedAtMs).toBeLessThanOrEqual(Date.now());
    }
    expect(Buffer.from(deliveries[0]?.payload ?? []).toString()).toBe("0");
  });

  test("is waited for while its stream has no leader", async () => {
    const { broker, stream, publish } = await openStream();
    await publish(1);
    const { consumers } = broker.jsm;
    let refusals = 2;
    const info: typeof consumers.info = (...which) =>
      refusals-- > 0
        ? Promise.reject(new JetStreamApiError({ code: 503, err_code: 10008, description: "not available" }))
        : consumers.info(...which);
    const add: typeof consumers.add = (...which) => consumers.add(...which);
    const electing = { ...broker, jsm: { ...broker.jsm, consumers: { ...consumers, info, add } } };
    const { deliveries } = await collect(electing, stream);
    await waitFor(() => expect(deliveries).toHaveLength(1));
    expect(refusals).toBeLessThan(0);
  });

  test("holds no more than it may, and asks for more when there is room again", async () => {
    const { broker, stream, publish, info } = await openStream();
    await publish(25);
    const { deliveries } = await collect(broker, stream);
    await waitFor(() => expect(deliveries).toHaveLength(10));
    await waitFor(async () => expect(await info()).toMatchObject({ num_ack_pending: 10, num_pending: 15 }));
    for (const delivery of deliveries.splice(0)) delivery.ack();
    await waitFor(() => expect(deliveries).toHaveLength(10));
    for (const delivery of deliveries.splice(0)) delivery.ack();
    await waitFor(() => expect(deliveries).toHaveLength(5));
    for (const delivery of deliveries) delivery.ack();
    await waitFor(async () => expect(await info()).toMatchObject({ num_ack_pending: 0, num_pending: 0 }));
    expect((await info()).delivered.consumer_seq).toBe(25);
  });

  test("delivers again what is nak'ed, after its delay; the first answer counts", async () => {
    const { broker, stream, publish, info } = await openStream();
    await publish(1);
    const { deliveries } = await collect(broker, stream);
    await waitFor(() => expect(deliveries).toHaveLength(1));
    const nakedMs = Date.now();
    deliveries[0]?.nak(300);
    deliveries[0]?.ack();
    await waitFor(() => expect(deliveries).toHaveLength(2));
    expect(Date.now() - nakedMs).toBeGreaterThanOrEqual(299);
    expect(deliveries[1]?.count).toBe(2);
    deliveries[1]?.nak(0);
    await waitFor(() => expect(deliveries).toHaveLength(3));
    deliveries[2]?.ack();
    await waitFor(async () => expect((await info()).num_ack_pending).toBe(0));
  });

  test("gives up a message that cannot be read, and goes on", async () => {
    const { broker, stream, publish, info } = await openStream();
    await publish(3);
    const read: number[] = [];
    await collect(broker, stream, {
      onDelivery(delivery) {
        if (delivery.sequence === 2) throw new Error("cannot be read");
        read.push(delivery.sequence);
        delivery.ack();
      },
    });
    await waitFor(() => expect(read).toEqual([1, 3]));
    await waitFor(async () => expect((await info()).num_ack_pending).toBe(0));
  });

  test("delivers again what nobody has answered in time, unless it is still worked on; an ack can be confirmed", async () => {
    const { broker, stream, publish, info } = await openStream();
    await publish(2);
    const { deliveries } = await collect(broker, stream, { ackWaitMs: 600 });
    await waitFor(() => expect(deliveries).toHaveLength(2));
    const alive = setInterval(() => deliveries[0]?.working(), 100);
    await waitFor(() => expect(deliveries.length).toBeGreaterThanOrEqual(4));
    clearInterval(alive);
    expect(new Set(deliveries.slice(1).map(({ sequence }) => sequence))).toEqual(new Set([2]));
    await deliveries[0]?.doubleAck();
    deliveries.at(-1)?.ack();
    await waitFor(async () => expect((await info()).num_ack_pending).toBe(0));
  });

  test("that stops gives back what it holds, at once, and takes nothing more", async () => {
    const { broker, stream, publish } = await openStream();
    await publish(10);
    const { deliveries, pull } = await collect(broker, stream);
    await waitFor(() => expect(deliveries).toHaveLength(10));
    deliveries[0]?.ack();
    const next = await collect(broker, stream);
    await pull.stop();
    await publish(1);
    await waitFor(() => expect(next.deliveries).toHaveLength(10));
    expect(deliveries).toHaveLength(10);
    expect(next.deliveries.map(({ sequence }) => sequence).toSorted((a, b) => a - b)).toEqual([
      2, 3, 4, 5, 6, 7, 8, 9, 10, 11,
    ]);
  });

  test("that pauses takes nothing more, and what it holds can be acked", async () => {
    const { broker, stream, publish, info } = await openStream();
    await publish(3);
    const { deliveries, pull } = await collect(broker, stream);
    await waitFor(() => expect(deliveries).toHaveLength(3));
    await pull.pause();
    await publish(1);
    for (const delivery of deliveries) delivery.ack();
    await waitFor(async () => expect(await info()).toMatchObject({ num_ack_pending: 0, num_pending: 1 }));
    expect(deliveries).toHaveLength(3);
  });

  test("goes on after the broker was killed", async () => {
    const { broker, stream, publish, info } = await openStream();
    await publish(2);
    const { deliveries } = await collect(broker, stream);
    await waitFor(() => expect(deliveries).toHaveLength(2));
    const lost = new Promise<void>((resolve) => broker.onReconnect(resolve));
    process.kill(server.pid(), "SIGKILL");
    await lost;
    await publish(1);
    await waitFor(() => expect(deliveries.map(({ sequence }) => sequence)).toContain(3));
    // Those from before count as well.
    for (const delivery of deliveries) delivery.ack();
    await waitFor(async () => expect((await info()).num_ack_pending).toBe(0));
  });

  test("creates its consumer again when it was deleted", async () => {
    const { broker, stream, publish } = await openStream();
    const { deliveries } = await collect(broker, stream);
    await broker.jsm.consumers.delete(stream, "worker");
    await publish(1);
    await waitFor(() => expect(deliveries).toHaveLength(1));
  });

  test("brings an existing consumer up to date", async () => {
    const { broker, stream, publish, info } = await openStream();
    await publish(2);
    const { deliveries, pull } = await collect(broker, stream);
    await waitFor(() => expect(deliveries).toHaveLength(2));
    for (const delivery of deliveries) delivery.ack();
    await waitFor(async () => expect((await info()).num_ack_pending).toBe(0));
    await pull.stop();
    await collect(broker, stream, { ackWaitMs: 7_000 });
    // It still stands where it was.
    expect(await info()).toMatchObject({ config: { ack_wait: nanos(7_000) }, delivered: { stream_seq: 2 } });
  });

  test("of a stream that does not exist fails", async () => {
    const { broker } = await openStream();
    await expect(collect(broker, "NONE")).rejects.toThrow("stream not found");
  });
});
