import { create, toBinary } from "@bufbuild/protobuf";
import { headers, type Msg, type MsgHdrs, MsgHdrsImpl } from "@nats-io/transport-node";
import { pino } from "pino";
import { expect, test, vi } from "vitest";
import { connectBroker } from "../src/broker/connect.ts";
import { declare } from "../src/broker/declare.ts";
import { createDirectGet } from "../src/broker/reads/create-direct-get.ts";
import { toToken } from "../src/broker/subjects.ts";
import { readHeaders } from "../src/decode-stored.ts";
import { toErrorFacts } from "../src/errors.ts";
import { type Message, MessageSchema, NotificationSchema } from "../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { encodeItem, itemHeaders } from "../src/inbox/items.ts";
import { maxOverheadBytes } from "../src/limits.ts";
import { createPublisher } from "../src/publishing/publish.ts";
import { escalationHeaders } from "../src/reaching/escalations.ts";
import type { Delivery } from "../src/sending/deliver.ts";
import { createFanout, decodeFanoutJob, encodeFanoutJob, type FanoutJob } from "../src/sending/fan-out.ts";
import { fanoutSubject, laneOf, scheduleSubject, sendingSpecs } from "../src/sending/layout.ts";
import { createSchedule, decodeScheduledSend, encodeScheduledSend } from "../src/sending/schedule.ts";
import { useBroker } from "./helpers/broker.ts";

const server = useBroker();

async function openQueues() {
  const lines: Record<string, unknown>[] = [];
  const log = pino({ level: "warn" }, { write: (line: string) => void lines.push(JSON.parse(line)) });
  const { url, dial } = server;
  const broker = await connectBroker({ servers: [url], dial, requestTimeoutMs: 5_000, log });
  const publisher = createPublisher(broker, { sendTimeoutMs: 5_000, isFsynced: () => true });
  const get = createDirectGet(broker, { timeoutMs: 5_000 });
  await declare(broker, sendingSpecs, 1);
  return {
    broker,
    lines,
    fanout: createFanout(broker, publisher, get, log),
    schedule: createSchedule(broker, publisher, get, log),
  };
}

/** The longest ids, of three bytes a character: nine when they are in a header. */
const id = (bytes: number) => "日".repeat(Math.floor(bytes / 3));
const serverMsgId = "0".repeat(32);
const notification = create(NotificationSchema, {
  serverMsgId,
  clientMsgId: id(256),
  sendTime: 253_402_300_799_999n,
  sendUserId: id(1_024),
  recvGroupId: id(1_024),
  key: id(1_024),
  data: "{}",
  reliabilityLevel: 2,
  collapseKey: id(256),
});
const message: Message = create(MessageSchema, {
  conversationId: `si_${id(1_024)}_${id(1_024)}`,
  conversationSequence: 2n ** 53n,
  notification,
});
const largest = 2 ** 53 - 1;
const options = { expiresAtMs: largest, escalateAfterMs: largest, operationId: id(768), report: "send" } as const;

const job: FanoutJob = {
  items: [
    { kind: "notification", notification },
    { kind: "message", message },
  ],
  groupId: id(1_024),
  groupVersion: largest,
  recvUserIds: [],
  ...options,
};

const scheduled: Delivery = {
  record: {
    serverMsgId,
    clientMsgId: id(256),
    sendTime: largest,
    fingerprint: Buffer.alloc(32, 7).toString("base64url"),
    mustReach: true,
    recvUserId: "",
    recvGroupId: id(1_024),
    recvUserIds: [],
    groupVersion: largest,
    expiresAtMs: largest,
    deliverAtMs: 253_402_300_799_999,
    reportKey: id(1_024),
    recvDeviceId: "",
    exceptDeviceId: id(256),
    isUserScoped: false,
    collapseKey: id(256),
  },
  notification,
  sendMsg: true,
  escalateAfterMs: 86_400_000,
  operationId: id(768),
};

test.each<[what: string, job: FanoutJob]>([
  ["a notification with its chat copy", job],
  ["a notification", { ...job, items: job.items.slice(0, 1) }],
  ["a chat copy", { ...job, items: job.items.slice(1) }],
  ["one that does not expire", { ...job, expiresAtMs: undefined, escalateAfterMs: undefined, report: undefined }],
  ["a notification to a list", { ...job, items: job.items.slice(0, 1), groupId: "", recvUserIds: ["ann", "bob"] }],
])("a fan-out of %s is stored as it is", (_, wanted) => {
  expect(decodeFanoutJob(encodeFanoutJob(wanted))).toEqual(wanted);
});

test("a scheduled send is stored as it is", () => {
  expect(decodeScheduledSend(encodeScheduledSend(scheduled))).toEqual(scheduled);
  const plain = { ...scheduled, escalateAfterMs: undefined };
  expect(decodeScheduledSend(encodeScheduledSend(plain))).toEqual(plain);
});

test.each([
  ["JSON of an earlier version", Buffer.from('{"items":[],"groupId":"g"}')],
  ["nothing", new Uint8Array()],
  ["half of it", encodeFanoutJob(job).subarray(0, 1_500)],
])("%s is no job, and says so", (_, bytes) => {
  for (const decode of [decodeFanoutJob, decodeScheduledSend]) {
    let thrown: unknown;
    try {
      decode(bytes);
    } catch (error) {
      thrown = error;
    }
    expect(toErrorFacts(thrown)).toMatchObject({ errCode: 500, errDlt: expect.stringContaining("what is stored is") });
  }
});

test("every form of a notification has room for the longest ids beside its data", () => {
  const item = { kind: "message", message } as const;
  const stored = {
    partition: 255,
    sequence: largest,
    storedAtMs: largest,
    userId: id(1_024),
    expiresAtMs: largest,
    isReported: true,
  };
  const dead = { "Mustreach-Attempts": String(largest), "Mustreach-Error": encodeURIComponent("日".repeat(500)) };
  const forms: Record<string, number> = {
    inbox: encodeItem(item).length + bytesOf({ ...itemHeaders(id(1_024), item, options), ...batchHeaders }),
    fanout: encodeFanoutJob(job).length,
    schedule: encodeScheduledSend(scheduled).length + bytesOf(scheduleHeaders),
    deadLetter:
      toBinary(NotificationSchema, notification).length +
      bytesOf({ ...escalationHeaders({ id: "", notification, ...stored }), ...dead }),
  };
  for (const [form, bytes] of Object.entries(forms))
    expect([form, Math.max(bytes, maxOverheadBytes)]).toEqual([form, maxOverheadBytes]);
});

const batchHeaders = {
  "Nats-Batch-Id": "0".repeat(36),
  "Nats-Batch-Sequence": "1000",
  "Nats-Batch-Commit": "1",
  "Nats-Expected-Last-Subject-Sequence": String(largest),
  "Nats-TTL": "999999999s",
};
const scheduleHeaders = {
  "Nats-Schedule": `@at ${new Date(253_402_300_799_999).toISOString()}`,
  "Nats-Schedule-Target": `due.${toToken(serverMsgId)}`,
};

/** On the wire: `NATS/1.0`, and a line for each. */
function bytesOf(headers: Readonly<Record<string, string>>): number {
  return Object.entries(headers).reduce((sum, [name, value]) => sum + name.length + value.length + 4, 12);
}

test("a job that cannot be read does not hold up what follows it, and is told in the log", async () => {
  const { broker, lines, fanout, schedule } = await openQueues();
  await broker.js.publish(fanoutSubject(laneOf(job), "older"), '{"items":[{"kind":"notification"}]}');
  await fanout.publish(job);
  const target = { "Nats-Schedule-Target": "due.older", "Nats-Schedule": `@at ${new Date().toISOString()}` };
  const publisher = createPublisher(broker, { sendTimeoutMs: 5_000, isFsynced: () => true });
  await publisher.store("SCHEDULE", { subject: scheduleSubject("older"), payload: Buffer.from("{}"), headers: target });
  await schedule.add({ ...scheduled, record: { ...scheduled.record, deliverAtMs: Date.now() + 1_000 } });

  const expanded: FanoutJob[] = [];
  const due: Delivery[] = [];
  const stops = [
    await fanout.work(async (next) => void expanded.push(next)),
    await schedule.work(async (next) => void due.push(next)),
  ];
  await vi.waitFor(() => expect([expanded.length, due.length]).toEqual([1, 1]));
  expect(expanded).toEqual([job]);
  const dropped = lines.filter(({ msg }) => String(msg).includes("cannot be read"));
  expect(dropped.map(({ stream }) => stream).toSorted()).toEqual(["FANOUT", "SCHEDULE"]);
  await vi.waitFor(async () => {
    for (const name of ["FANOUT", "SCHEDULE"]) {
      expect((await broker.jsm.streams.info(name)).state.messages).toBe(0);
    }
  });
  for (const stop of stops) await stop();
  await broker.close();
});

test("headers are read as the client library reads them, whatever stands before and in the payload", async () => {
  const connection = await server.connect();
  const toHeaders = (values: Readonly<Record<string, string>>): MsgHdrs => {
    const all = headers();
    for (const [name, value] of Object.entries(values)) all.set(name, value);
    return all;
  };
  const looksLikeHeaders = "\r\nHMSG a 1 12 12\r\nNATS/1.0\r\nA: of the payload\r\n\r\n";
  const sent: readonly (readonly [payload: string, headers?: MsgHdrs])[] = [
    ["1", toHeaders({ A: "one", "A-Longer": "another" })],
    [looksLikeHeaders],
    ["", toHeaders({ "A-Longer": "NATS/1.0", B: "日本 😀" })],
    [looksLikeHeaders, toHeaders({ A: "NATS/1.0 200 OK", B: "A: none" })],
    [`${looksLikeHeaders}2`],
    ["", headers(408, "Request Timeout")],
    ["x".repeat(100_000), toHeaders({ B: "of a large one" })],
    ["\r\n\r\n"],
  ];
  const got: Msg[] = [];
  const subscription = connection.subscribe("headers", { callback: (_, msg) => void got.push(msg) });
  for (let i = 0; i < 200; i++)
    for (const [payload, headers] of sent) connection.publish("headers", payload, headers && { headers });
  await vi.waitFor(() => expect(got).toHaveLength(200 * sent.length), { timeout: 20_000 });
  subscription.unsubscribe();
  const decode = vi.spyOn(MsgHdrsImpl, "decode");
  for (const [i, msg] of got.entries()) {
    const read = readHeaders(msg);
    const [payload, wanted] = sent[i % sent.length] ?? [""];
    expect(msg.string()).toBe(payload);
    for (const name of ["A", "A-Longer", "B", "HMSG a 1 12 12"]) {
      expect([i, name, read(name)]).toEqual([i, name, wanted?.get(name) ?? ""]);
    }
  }
  // It is asked for those two only whose values look like a beginning.
  expect(decode).toHaveBeenCalledTimes(2 * 200);
});
