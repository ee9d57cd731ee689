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

interface Attack {
  /** How many sessions it opens in all, and how many of them at a time. */
  readonly sessions: number;
  readonly atOnce: number;
  /** Whether a session that was let in is left when the next is opened. */
  readonly leaves: boolean;
  toDeviceId(i: number): string;
}

/** Opens sessions one after the other, and reads nothing of them. */
function storm(userId: string, { sessions, atOnce, leaves, toDeviceId }: Attack) {
  const { service } = started();
  const sessionManager = new Http2SessionManager(service.url);
  const delivery = createClient(DeliveryService, createGrpcTransport({ baseUrl: service.url, sessionManager }));
  const refusals: unknown[] = [];
  const state = { isOver: false };
  let opened = 0;
  const openInTurn = async (token: string) => {
    let controller = new AbortController();
    while (opened < sessions) {
      const { signal } = controller;
      const request = { deviceId: toDeviceId(opened++), start: Start.ALL };
      const events = delivery.subscribe(request, { headers: { token }, signal })[Symbol.asyncIterator]();
      // The first event tells whether it was let in; no more is read.
      await events.next().catch((error: unknown) => refusals.push(error));
      if (!leaves) continue;
      controller.abort();
      controller = new AbortController();
    }
  };
  const open = async () => {
    const token = await service.userToken(userId);
    // From then on the client knows how many streams it may have.
    await delivery.ack({}, { headers: { token } }).catch(() => {});
    await Promise.all(Array.from({ length: atOnce }, () => openInTurn(token)));
  };
  const over = open().finally(() => {
    state.isOver = true;
    sessionManager.abort();
  });
  return { refusals, state, over };
}

/** More than a session costs, also where a send waits for a slow disk: sessions that are opened for one send. */
const maxSessionsPerSend = 100;

describe("what one user does with sessions leaves another's must-reach sends alone", () => {
  test.each<[what: string, attack: Attack]>([
    ["reopens one session 1,000 times", { sessions: 1_000, atOnce: 8, leaves: true, toDeviceId: () => "phone" }],
    ["opens 2,000 sessions", { sessions: 2_000, atOnce: 32, leaves: false, toDeviceId: (i) => `device-${i}` }],
  ])("one who %s", async (what, attack) => {
    const { send } = started();
    const userId = `mallory who ${what}`;
    await sendMany(send, userId, 200, () => ".".repeat(8_192), 16);
    const { refusals, state, over } = storm(userId, attack);
    let sends = 0;
    for (; !state.isOver; sends++) await send({ to: "honest", data: String(sends) });
    await over;
    expect(sends).toBeGreaterThan(attack.sessions / maxSessionsPerSend);
    const others = refusals.filter((error) => toErrorFacts(error).errCode !== errorTable.ConnOverMaxNumLimit.errCode);
    expect(others).toEqual([]);
    expect(refusals.length).toBeGreaterThan(attack.sessions / 2);
  });
});
