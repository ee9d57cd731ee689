import { create, toBinary } from "@bufbuild/protobuf";
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { NotificationSchema, Start } from "../../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { inboxStream, inboxSubject, locateInbox } from "../../../src/inbox/layout.ts";
import { nativeDoor } from "../../../src/verify/native/consumer.ts";
import { type ExternalBroker, startExternalBroker } from "../../helpers/external-broker.ts";

let broker: ExternalBroker;
let connection: NatsConnection;

beforeAll(async () => {
  broker = await startExternalBroker();
  connection = await broker.connect();
  const { streams } = await jetstreamManager(connection);
  await streams.add({ name: inboxStream(0), subjects: ["inbox.0.*.*.*"] });
});
afterAll(() => broker.remove());

let made = 0;

/** A user with so many notifications, and the sequence of each. */
async function createInbox(count: number) {
  const userId = `user-${++made}`;
  const sequences: number[] = [];
  for (let n = 0; n < count; n++) {
    const subject = inboxSubject(0, locateInbox(userId, 1).user, 20_000, `id-${n}`);
    const payload = toBinary(NotificationSchema, create(NotificationSchema, { data: String(n) }));
    sequences.push((await jetstream(connection).publish(subject, payload)).seq);
  }
  return { userId, sequences };
}

/** The user's program with a consumer, as it is started. */
async function start(userId: string) {
  const ending = new AbortController();
  onTestFinished(() => ending.abort());
  const door = nativeDoor({ servers: [`127.0.0.1:${broker.port}`], partitions: 1 })(userId);
  const request = { deviceId: "billing", window: 100, start: Start.RESUME };
  const session = door.open("", request, { token: "", signal: ending.signal });
  const ready = await session.next();
  return {
    ready,
    acknowledge: (sequence: number) => session.acknowledge({ sequence: BigInt(sequence), epoch: "" }),
    async take(count: number) {
      const taken: number[] = [];
      while (taken.length < count) {
        const event = await session.next();
        if (event === undefined) throw new Error("the session has ended");
        if (event.case === "notification") taken.push(Number(event.value.sequence));
      }
      return taken;
    },
    end: () => ending.abort(),
  };
}

test("a consumer at the broker that is started again goes on after what it has acknowledged", async () => {
  const { userId, sequences } = await createInbox(4);
  const [first = 0, second = 0, ...rest] = sequences;
  const before = await start(userId);
  expect(await before.take(4)).toEqual(sequences);
  await before.acknowledge(first);
  await before.acknowledge(second);
  before.end();
  const after = await start(userId);
  expect(after.ready).toMatchObject({ case: "ready", value: { resumeSequence: BigInt(second) } });
  expect(await after.take(2)).toEqual(rest);
});

test("what it has not acknowledged comes again, also where something after it was recalled meanwhile", async () => {
  const { userId, sequences } = await createInbox(3);
  const [first, second, third = 0] = sequences;
  const before = await start(userId);
  expect(await before.take(3)).toEqual(sequences);
  const { streams } = await jetstreamManager(connection);
  await streams.deleteMessage(inboxStream(0), third);
  before.end();
  const after = await start(userId);
  expect(after.ready).toMatchObject({ case: "ready", value: { resumeSequence: 0n } });
  expect(await after.take(2)).toEqual([first, second]);
});

test("it begins anew where something is lost on its way, so that the order stays", async () => {
  const { userId, sequences } = await createInbox(3);
  const before = await start(userId);
  // Delivered, and to another.
  const { stream, user } = locateInbox(userId, 1);
  const consumer = await jetstream(connection).consumers.get(stream, `verify-${user}-billing`);
  expect((await consumer.next())?.seq).toBe(sequences[0]);
  await expect(before.take(1)).rejects.toThrow("lost");
  expect(await (await start(userId)).take(3)).toEqual(sequences);
});
