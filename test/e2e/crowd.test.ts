import { createClient } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { errorTable, toErrorFacts } from "../../src/errors.ts";
import { DeliveryService, Start } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { openSender, type Sender, sendMany, useDevices } from "../helpers/device.ts";
import { type ServiceProcess, startProcess } from "../helpers/process.ts";

useDevices();
const holder: { service?: ServiceProcess; send?: Sender } = {};
beforeAll(async () => {
  holder.service = await startProcess({ PARTITIONS: "1" });
  holder.send = openSender(holder.service.url, await holder.service.adminToken());
});
afterAll(() => holder.service?.remove());

const started = () => {
  const { service, send } = holder;
  if (service === undefined || send === undefined) throw new Error("the service runs inside tests only");
  return { service, send };
};

/** The median time that a must-reach send to another user takes, in milliseconds. */
async function medianSendMs(count: number): Promise<number> {
  const { send } = started();
  const times: number[] = [];
  for (let i = 0; i < count; i++) {
    const startedMs = performance.now();
    await send({ to: "honest", data: String(i) });
    times.push(performance.now() - startedMs);
  }
  return times.toSorted((a, b) => a - b)[Math.floor(count / 2)] ?? Number.POSITIVE_INFINITY;
}

/** Opens sessions at a rate, reads nothing of them, and leaves each after a while; how many were refused, by code. */
async function storm(userId: string, options: { perSecond: number; keepMs: number; toDeviceId(i: number): string }) {
  const { service } = started();
  const token = await service.userToken(userId);
  const sessionManager = new Http2SessionManager(service.url);
  const delivery = createClient(DeliveryService, createGrpcTransport({ baseUrl: service.url, sessionManager }));
  // From then on the client knows how many streams it may have.
  await delivery.ack({}, { headers: { token } }).catch(() => {});
  const codes = new Map<number, number>();
  let opened = 0;
  const open = () => {
    const { signal, abort } = abortAfter(options.keepMs);
    const request = { deviceId: options.toDeviceId(opened++), start: Start.ALL };
    const events = delivery.subscribe(request, { headers: { token }, signal })[Symbol.asyncIterator]();
    // The first event tells whether it was let in; no more is read.
    events.next().catch((error: unknown) => {
      if (signal.aborted) return;
      abort();
      const { errCode } = toErrorFacts(error);
      codes.set(errCode, (codes.get(errCode) ?? 0) + 1);
    });
  };
  const timer = setInterval(open, 1_000 / options.perSecond);
  return {
    codes,
    opened: () => opened,
    stop() {
      clearInterval(timer);
      sessionManager.abort();
    },
  };
}

function abortAfter(ms: number) {
  const controller = new AbortController();
  const abort = () => controller.abort();
  setTimeout(abort, ms).unref();
  return { signal: controller.signal, abort };
}

describe("what one user does with sessions leaves another's must-reach sends alone", () => {
  test.each([
    ["reopens 150 a second into a backlog", { perSecond: 150, keepMs: 200, toDeviceId: () => "phone" }],
    ["opens 5,000 sessions", { perSecond: 700, keepMs: 60_000, toDeviceId: (i: number) => `device-${i}` }],
  ])(
    "one who %s",
    async (what, options) => {
      const { send } = started();
      const userId = `mallory who ${what}`;
      await sendMany(send, userId, 200, () => ".".repeat(8_192), 16);
      await medianSendMs(20);
      const quietMs = await medianSendMs(100);
      const { codes, opened, stop } = await storm(userId, options);
      const startedMs = performance.now();
      const times: number[] = [];
      try {
        while (performance.now() - startedMs < 7_000) times.push(await medianSendMs(20));
      } finally {
        stop();
      }
      const busyMs = times.toSorted((a, b) => a - b)[Math.floor(times.length / 2)];
      // What is more is for this process, which makes the storm on the same processors.
      expect(busyMs).toBeLessThan(2 * quietMs + 20);
      expect([...codes.keys()]).toEqual([errorTable.ConnOverMaxNumLimit.errCode]);
      expect(codes.get(errorTable.ConnOverMaxNumLimit.errCode)).toBeGreaterThan(opened() / 2);
    },
    60_000,
  );
});
