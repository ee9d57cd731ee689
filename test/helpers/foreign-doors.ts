import { fromBinary } from "@bufbuild/protobuf";
import { AckPolicy, DeliverPolicy, type JsMsg, jetstream, jetstreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { expect, onTestFinished } from "vitest";
import { NotificationSchema } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { locateInbox } from "../../src/inbox/layout.ts";
import type { Arrival, Door, DoorDevice, DoorEnd } from "./door.ts";
import type { OpenimApp, SdkEvent } from "./openim-app.ts";
import { startGoApp } from "./openim-go.ts";
import { startJsApp } from "./openim-js.ts";

const soon = { timeout: 120_000, interval: 5 };

/** What an app takes for the end of its session. */
const ends = new Set(["OnKickedOffline", "OnUserTokenExpired", "OnUserTokenInvalid", "LoginFailed"]);

/** What an OpenIM SDK tells its app: a message's data, as the SDKs have it, or that it is over. */
function readSdkEvent({ event, data }: SdkEvent): Arrival | DoorEnd | undefined {
  if (ends.has(event)) return { kind: "end", how: event };
  if (event !== "OnRecvCustomBusinessMessage") return undefined;
  const message = typeof data === "string" ? JSON.parse(data) : data;
  return { kind: "notification", data: message.data, sequence: 0n, epoch: "" };
}

const openim = (name: string, start: (device: DoorDevice) => OpenimApp, end: Door["ends"]): Door => ({
  name,
  lacks: {
    acknowledgements: "its SDKs acknowledge by themselves what they have got",
    recalls: "its SDKs are told nothing of what was withdrawn",
  },
  ends: end,
  async open(device) {
    const app = start(device);
    let read = 0;
    const next = async (): Promise<Arrival | DoorEnd> => {
      for (;;) {
        await expect.poll(() => app.events.length, soon).toBeGreaterThan(read);
        const event = app.events[read++];
        const arrival = event && readSdkEvent(event);
        if (arrival !== undefined) return arrival;
      }
    };
    const isBegun = () => app.events.some(({ event }) => event === "OnSyncServerFinish" || ends.has(event));
    await expect.poll(isBegun, soon).toBe(true);
    const refusal = app.events.find(({ event }) => ends.has(event));
    if (refusal !== undefined) return { kind: "end", how: refusal.event };
    return { next, acknowledge: async () => {}, close: () => app.leave(), kill: () => app.kill() };
  },
});

const openimJs = openim(
  "OpenIM JavaScript frames",
  ({ url, userId, token, platformId }) => startJsApp(url, userId, token, platformId),
  { revoked: "OnKickedOffline", expired: "OnUserTokenExpired", refused: "OnKickedOffline" },
);

const openimGo = openim(
  "OpenIM Go frames",
  ({ url, userId, token, platformId, disk }) => startGoApp(url, userId, token, platformId, disk),
  { revoked: "OnKickedOffline", expired: "OnUserTokenExpired", refused: "OnKickedOffline" },
);

/** The one partition of the service under test. */
const partitions = 1;

/** A service with access to the broker, that has a durable consumer of its own, as docs/nats-layout.md has it. */
const native = (connect: () => Promise<NatsConnection>): Door => ({
  name: "NATS-native consumer",
  lacks: {
    online: "a consumer gets what is stored",
    tokens: "the broker's own permissions let it in",
    status: "GetDeliveryStatus knows of devices only",
    settling: "a consumer gets all that is stored for its user",
  },
  ends: { revoked: "", expired: "", refused: "" },
  async open({ userId, deviceId }) {
    const connection = await connect();
    const { stream, user, partition } = locateInbox(userId, partitions);
    const { consumers } = await jetstreamManager(connection);
    const durable = `native-${user}-${deviceId}`;
    // What was delivered and not acknowledged would come again later than what is newer: it begins anew behind its floor.
    const known = await consumers.info(stream, durable).catch(() => undefined);
    await consumers.delete(stream, durable).catch(() => false);
    await consumers.add(stream, {
      durable_name: durable,
      filter_subject: `inbox.${partition}.${user}.>`,
      // Not All: to the broker, what is recalled is acknowledged, and with that all that came before it.
      ack_policy: AckPolicy.Explicit,
      deliver_policy: DeliverPolicy.StartSequence,
      opt_start_seq: (known?.ack_floor.stream_seq ?? 0) + 1,
    });
    const consumer = await jetstream(connection).consumers.get(stream, durable);
    const incoming = await consumer.consume();
    const messages = incoming[Symbol.asyncIterator]();
    const unacknowledged: JsMsg[] = [];
    const kill = async () => {
      incoming.stop();
      await connection.close();
    };
    onTestFinished(kill);
    return {
      async next() {
        for (;;) {
          const { done, value: message } = await messages.next();
          if (done === true) return { kind: "end", how: "the consumer ended" };
          unacknowledged.push(message);
          const kind = message.headers?.get("Mustreach-Kind") || "notification";
          if (kind === "tombstone") continue;
          if (kind !== "notification" && kind !== "recall") throw new Error(`a ${kind} was not expected`);
          const sequence = BigInt(message.seq);
          const data = kind === "notification" ? fromBinary(NotificationSchema, message.data).data : "";
          return { kind, data, sequence, epoch: "" };
        }
      },
      async acknowledge({ sequence }) {
        const count = unacknowledged.findLastIndex(({ seq }) => seq <= Number(sequence)) + 1;
        for (const message of unacknowledged.splice(0, count)) await message.ackAck();
      },
      close: kill,
      kill,
    };
  },
});

/** The doors for receivers that are not ours. */
export const foreignDoors = (connect: () => Promise<NatsConnection>): readonly Door[] => [
  openimJs,
  openimGo,
  native(connect),
];
