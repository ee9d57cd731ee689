import { jetstream } from "@nats-io/jetstream";
import { nanos } from "@nats-io/transport-node";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type Broker, connectBroker } from "../../src/broker/connect.ts";
import { declareBucket, missingStreams } from "../../src/broker/streams.ts";
import { inboxSubject } from "../../src/inbox/layout.ts";
import { declareStreams, type StreamOptions } from "../../src/inbox/streams.ts";
import { useBroker } from "../helpers/broker.ts";

const server = useBroker();
const options: StreamOptions = { partitions: 2, replicas: 1, retentionMs: 3_600_000, maxStoreBytes: 20_000_000 };
let broker: Broker;

beforeEach(async () => {
  broker = await connectBroker({
    servers: [server.url],
    dial: server.dial,
    requestTimeoutMs: 5_000,
    log: pino({ level: "silent" }),
  });
});
afterEach(async () => {
  for await (const { config } of broker.jsm.streams.list()) await broker.jsm.streams.delete(config.name);
  await broker.close();
});

const configOf = async (name: string) => (await broker.jsm.streams.info(name)).config;

describe("declareStreams", () => {
  test("creates a stream for each partition, which refuses what it cannot keep", async () => {
    expect(await declareStreams(broker, options)).toBe(true);
    expect(await missingStreams(broker, ["INBOX_0", "INBOX_1"])).toEqual([]);
    for (const name of ["INBOX_0", "INBOX_1"]) {
      expect(await configOf(name)).toMatchObject({
        storage: "file",
        retention: "limits",
        max_age: nanos(3_600_000),
        max_bytes: 10_000_000,
        max_msgs_per_subject: 1,
        discard: "new",
        discard_new_per_subject: true,
        allow_direct: true,
      });
    }
  });

  test("tells that nothing is new, and changes nothing, when it is called again", async () => {
    await declareStreams(broker, options);
    const before = [await configOf("INBOX_0"), await configOf("INBOX_1")];
    expect(await declareStreams(broker, options)).toBe(false);
    expect([await configOf("INBOX_0"), await configOf("INBOX_1")]).toEqual(before);
  });

  test("tells that inboxes are new when one of them had gone", async () => {
    await declareStreams(broker, options);
    await broker.jsm.streams.delete("INBOX_1");
    expect(await missingStreams(broker, ["INBOX_0", "INBOX_1"])).toEqual(["INBOX_1"]);
    expect(await declareStreams(broker, options)).toBe(true);
    expect(await missingStreams(broker, ["INBOX_0", "INBOX_1"])).toEqual([]);
  });

  test("brings existing streams to another retention and size, with what they hold", async () => {
    await declareStreams(broker, options);
    const subject = inboxSubject(0, "dXNlcg", 20_000, "aWQ");
    await jetstream(broker.nc).publish(subject, "kept");
    const changed = { ...options, retentionMs: 60_000, maxStoreBytes: 40_000_000 };
    expect(await declareStreams(broker, changed)).toBe(false);
    expect(await configOf("INBOX_0")).toMatchObject({
      max_age: nanos(60_000),
      duplicate_window: nanos(60_000),
      max_bytes: 20_000_000,
    });
    expect((await broker.jsm.streams.getMessage("INBOX_0", { last_by_subj: subject }))?.string()).toBe("kept");
    expect(await declareStreams(broker, options)).toBe(false);
    expect((await configOf("INBOX_0")).max_age).toBe(nanos(3_600_000));
  });

  test("brings the streams of an earlier version to the subjects and hints of this one", async () => {
    await declareStreams(broker, options);
    const declared = await configOf("INBOX_0");
    const earlier = { ...declared, subjects: ["inbox.0.*.*.*"], republish: undefined };
    await broker.nc.request("$JS.API.STREAM.UPDATE.INBOX_0", JSON.stringify(earlier));
    expect((await configOf("INBOX_0")).republish).toBeUndefined();
    expect(await declareStreams(broker, options)).toBe(false);
    const { subjects, republish } = await configOf("INBOX_0");
    expect(subjects).toEqual(declared.subjects);
    expect(republish).toEqual(declared.republish);
  });

  test("refuses another number of partitions, names both, and leaves the streams alone", async () => {
    await declareStreams(broker, options);
    for (const partitions of [1, 3]) {
      await expect(declareStreams(broker, { ...options, partitions })).rejects.toThrow(
        `created with MUSTREACH_PARTITIONS=2, not ${partitions}`,
      );
    }
    expect(await missingStreams(broker, ["INBOX_0", "INBOX_1", "INBOX_2"])).toEqual(["INBOX_2"]);
    expect((await configOf("INBOX_0")).max_bytes).toBe(10_000_000);
  });

  test("refuses a stream of the same name that is not ours", async () => {
    await broker.jsm.streams.add({ name: "INBOX_0", subjects: ["something.else"] });
    await expect(declareStreams(broker, options)).rejects.toThrow("MUSTREACH_PARTITIONS=unknown");
  });
});

test("the broker tells of a stored notification by a hint without its body", async () => {
  await declareStreams(broker, options);
  const hints = broker.nc.subscribe("live.>", { max: 1 });
  await broker.nc.flush();
  const ack = await jetstream(broker.nc).publish(inboxSubject(1, "dXNlcg", 20_000, "aWQ"), "secret");
  for await (const hint of hints) {
    expect(hint.subject).toBe("live.1.dXNlcg.hint.20000.aWQ");
    expect(hint.headers?.get("Nats-Sequence")).toBe(String(ack.seq));
    expect(hint.data).toHaveLength(0);
  }
});

describe("declareBucket", () => {
  const bucket = { description: "a test's", replicas: 1, ttlMs: 3_600_000 };
  const maxAge = async () => (await configOf("KV_TEST")).max_age;

  test("brings an existing bucket to another retention, with what it holds", async () => {
    await (await declareBucket(broker, "TEST", bucket)).put("a", "1");
    const again = await declareBucket(broker, "TEST", { ...bucket, ttlMs: 7_200_000 });
    expect(await maxAge()).toBe(nanos(7_200_000));
    expect((await again.get("a"))?.string()).toBe("1");
    await declareBucket(broker, "TEST", bucket);
    expect(await maxAge()).toBe(nanos(3_600_000));
  });

  test("leaves one that keeps entries longer, where that is asked for", async () => {
    await declareBucket(broker, "TEST", { ...bucket, ttlMs: 7_200_000 });
    await declareBucket(broker, "TEST", { ...bucket, isNeverLowered: true });
    expect(await maxAge()).toBe(nanos(7_200_000));
  });
});
