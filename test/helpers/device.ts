import { type Client, createClient } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { afterAll } from "vitest";
import { type ErrorFacts, toErrorFacts } from "../../src/errors.ts";
import {
  DeliveryService,
  type Notification,
  type Ready,
  type Start,
  type SubscribeResponse,
} from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { MsgService, type SendBusinessNotificationResponse } from "../../src/gen/mustreach/msg/v1/msg_pb.ts";

/** One event of a session. */
export type DeviceEvent = SubscribeResponse["event"];

/** What a session begins with; absent fields take the service's defaults. */
export interface SubscribeOptions {
  readonly start?: Start;
  readonly afterSequence?: bigint;
  readonly epoch?: string;
  readonly window?: number;
}

/** A device of a user, over a gRPC connection of its own. */
export interface Device {
  readonly delivery: Client<typeof DeliveryService>;
  /** Opens a session and reads its first event, which is `ready`. */
  subscribe(options?: SubscribeOptions): Promise<DeviceSession>;
  /** Acknowledges, and resolves to the cursor that the service answers. */
  ack(sequence: bigint, epoch?: string): Promise<bigint>;
  /** Cuts the connection, as the end of the device's process would. */
  kill(): void;
}

/** An open session. Its events are read when they are asked for and not before, so that a test can stop reading. */
export interface DeviceSession {
  readonly ready: Ready;
  /** The next event of any kind; undefined at the end of the stream. Rejects after a minute, and with the stream's error. */
  next(): Promise<DeviceEvent | undefined>;
  /** The next that is no heartbeat. */
  nextEvent(): Promise<DeviceEvent | undefined>;
  /** The next notifications; heartbeats are skipped, any other event is an error. */
  take(count: number): Promise<Notification[]>;
  /**
   * All notifications until the service has nothing more to say, which it shows by a heartbeat. What is not stored, sent
   * or acknowledged by the time of the call may come after it.
   */
  takeUntilIdle(): Promise<Notification[]>;
  /** The same of all events, heartbeats left out. */
  eventsUntilIdle(): Promise<DeviceEvent[]>;
  /** Reads on to the end; resolves to the error that ended the stream, undefined for a stream that just ended. */
  whenEnded(): Promise<ErrorFacts | undefined>;
}

/** How long an event may take, in milliseconds. */
const eventTimeoutMs = 60_000;

/** A heartbeat that comes this soon after a question, in milliseconds, was on its way before it. */
const staleHeartbeatMs = 400;

/** What to close when a file is done. */
const opened: (() => void)[] = [];

/** Gives the tests of a file devices and senders, which are cut off after the last. */
export function useDevices(): (url: string, token: string, deviceId?: string) => Device {
  afterAll(() => {
    for (const close of opened.splice(0)) close();
  });
  return openDevice;
}

function openDevice(url: string, token: string, deviceId = "phone"): Device {
  const sessionManager = new Http2SessionManager(url);
  const delivery = createClient(DeliveryService, createGrpcTransport({ baseUrl: url, sessionManager }));
  const headers = { token };
  const kill = () => sessionManager.abort();
  opened.push(kill);
  return {
    delivery,
    async subscribe(options = {}) {
      const stream = delivery.subscribe({ deviceId, ...options }, { headers });
      return toSession(stream[Symbol.asyncIterator]());
    },
    ack: async (sequence, epoch = "") => (await delivery.ack({ deviceId, sequence, epoch }, { headers })).sequence,
    kill,
  };
}

async function toSession(events: AsyncIterator<SubscribeResponse>): Promise<DeviceSession> {
  let seen = 0n;
  const next = async (): Promise<DeviceEvent | undefined> => {
    const result = await inTime(events.next());
    const event = result.done === true ? undefined : result.value.event;
    if (event?.case === "ready") seen = event.value.resumeSequence;
    else if (event?.case === "notification") seen = event.value.sequence;
    else if (event?.case === "message") seen = event.value.notification?.sequence ?? seen;
    else if (event?.case === "gap") seen = event.value.to;
    return event;
  };
  const eventsUntilIdle = async (): Promise<DeviceEvent[]> => {
    const events: DeviceEvent[] = [];
    const askedAt = performance.now();
    for (let isSecond = false; ; ) {
      const event = await next();
      if (event?.case !== "heartbeat") {
        events.push(event ?? { case: undefined });
        isSecond = false;
      } else if (performance.now() - askedAt > staleHeartbeatMs) {
        // Where more is known than was sent, it may be for another device or gone, or its read is slow.
        if (isSecond || event.value.latestSequence <= seen) return events;
        isSecond = true;
      }
    }
  };
  const first = await next();
  if (first?.case !== "ready") throw new Error(`expected ready, got ${first?.case ?? "the end"}`);
  return {
    ready: first.value,
    next,
    async nextEvent() {
      for (;;) {
        const event = await next();
        if (event?.case !== "heartbeat") return event;
      }
    },
    async take(count) {
      const taken: Notification[] = [];
      while (taken.length < count) {
        const event = await next();
        if (event?.case !== "heartbeat") taken.push(toNotification(event));
      }
      return taken;
    },
    eventsUntilIdle,
    takeUntilIdle: async () => (await eventsUntilIdle()).map(toNotification),
    async whenEnded() {
      try {
        while ((await next()) !== undefined);
        return undefined;
      } catch (error) {
        return toErrorFacts(error);
      }
    },
  };
}

function toNotification(event: DeviceEvent | undefined): Notification {
  if (event?.case !== "notification") throw new Error(`expected a notification, got ${event?.case ?? "the end"}`);
  return event.value;
}

async function inTime<T>(promise: Promise<T>): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`no event within ${eventTimeoutMs} ms`)), eventTimeoutMs);
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** What a test sends; `data` is what tells one from another. */
export interface TestSend {
  readonly to: string;
  readonly data: string;
  /** Default 2. */
  readonly level?: 1 | 2;
  readonly clientMsgId?: string;
  readonly ttlSeconds?: number;
}

/** Sends over one gRPC connection with an admin's token. */
export type Sender = (request: TestSend) => Promise<SendBusinessNotificationResponse>;

/** Opens a connection to send on, which is closed with the devices. */
export function openSender(url: string, adminToken: string): Sender {
  const sessionManager = new Http2SessionManager(url);
  const client = createClient(MsgService, createGrpcTransport({ baseUrl: url, sessionManager }));
  opened.push(() => sessionManager.abort());
  return ({ to, data, level = 2, clientMsgId = "", ttlSeconds = 0 }) =>
    client.sendBusinessNotification(
      { sendUserId: "system", recvUserId: to, key: "test", data, reliabilityLevel: level, clientMsgId, ttlSeconds },
      { headers: { token: adminToken } },
    );
}

/** Sends `count` notifications, `concurrency` at a time; `toData` names each by its number. */
export async function sendMany(
  send: Sender,
  to: string,
  count: number,
  toData: (index: number) => string = String,
  concurrency = 64,
): Promise<void> {
  let next = 0;
  const worker = async () => {
    for (let index = next++; index < count; index = next++) await send({ to, data: toData(index) });
  };
  await Promise.all(Array.from({ length: concurrency }, worker));
}

/** The data of notifications, in their order. */
export function dataOf(notifications: readonly Notification[]): string[] {
  return notifications.map(({ data }) => data);
}

/** Whether sequences strictly increase. */
export function isIncreasing(notifications: readonly Notification[]): boolean {
  return notifications.every(({ sequence }, i) => i === 0 || sequence > (notifications[i - 1]?.sequence ?? 0n));
}
