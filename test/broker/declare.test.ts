import { JetStreamApiError, jetstream, StorageType } from "@nats-io/jetstream";
import { Kvm } from "@nats-io/kv";
import { nanos } from "@nats-io/transport-node";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { type Broker, connectBroker } from "../../src/broker/connect.ts";
import { declare, type StreamSpec, streamProblems } from "../../src/broker/declare.ts";
import { inboxSpecs, inboxSubject } from "../../src/inbox/layout.ts";
import { useBroker } from "../helpers/broker.ts";

const server = useBroker();
const options = { partitions: 2, retentionMs: 3_600_000, maxStoreBytes: 20_000_000 };
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

const declareInbox = (settings: typeof options) => declare(broker, inboxSpecs(settings), 1);
const problems = (settings = options) => streamProblems(broker, inboxSpecs(settings), 1);
/** A broker that cannot place its first streams, as one whose cluster is being started. */
function forming(refusals: number): Broker {
  const { streams } = broker.jsm;
  const noPeers = { code: 400, err_code: 10005, description: "no suitable peers for placement" };
  const add: typeof streams.add = (config) =>
    refusals-- > 0 ? Promise.reject(new JetStreamApiError(noPeers)) : streams.add(config);
  return { ...broker, jsm: { ...broker.jsm, streams: { ...streams, add, info: (name) => streams.info(name) } } };
}
const configOf = async (name: string) => (await broker.jsm.streams.info(name)).config;

describe("the inbox streams", () => {
  test("creates a stream for each partition, which refuses what it cannot keep", async () => {
    expect(await declareInbox(options)).toBe(true);
    expect(await problems()).toEqual([]);
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
    await declareInbox(options);
    const before = [await configOf("INBOX_0"), await configOf("INBOX_1")];
    expect(await declareInbox(options)).toBe(false);
    expect([await configOf("INBOX_0"), await configOf("INBOX_1")]).toEqual(before);
  });

  test("waits for a cluster that has no place for them yet, and says so now and then", async () => {
    const said: unknown[] = [];
    expect(await declare(forming(3), inboxSpecs(options), 1, (err) => said.push(err))).toBe(true);
    expect(said.map(String)).toEqual(["JetStreamApiError: no suitable peers for placement"]);
    expect(await problems()).toEqual([]);
  });

  test("waits for as long as the cluster takes", async () => {
    vi.useFakeTimers({ toFake: ["performance"] });
    onTestFinished(() => void vi.useRealTimers());
    const said: unknown[] = [];
    const declaring = declare(forming(3), inboxSpecs(options), 1, (err) => {
      said.push(err);
      vi.advanceTimersByTime(3_600_000);
    });
    expect(await declaring).toBe(true);
    // An hour has passed each time.
    expect(said).toHaveLength(3);
  });

  test("tells that inboxes are new when one of them had gone", async () => {
    await declareInbox(options);
    await broker.jsm.streams.delete("INBOX_1");
    expect(await problems()).toEqual(["streams are missing: INBOX_1"]);
    expect(await declareInbox(options)).toBe(true);
    expect(await problems()).toEqual([]);
  });

  test("brings existing streams to another retention and size, with what they hold", async () => {
    await declareInbox(options);
    const subject = inboxSubject(0, "dXNlcg", 20_000, "aWQ");
    await jetstream(broker.nc).publish(subject, "kept");
    const changed = { ...options, retentionMs: 60_000, maxStoreBytes: 40_000_000 };
    expect(await declareInbox(changed)).toBe(false);
    expect(await configOf("INBOX_0")).toMatchObject({
      max_age: nanos(60_000),
      duplicate_window: nanos(1_000),
      max_bytes: 20_000_000,
    });
    expect((await broker.jsm.streams.getMessage("INBOX_0", { last_by_subj: subject }))?.string()).toBe("kept");
    expect(await declareInbox(options)).toBe(false);
    expect((await configOf("INBOX_0")).max_age).toBe(nanos(3_600_000));
  });

  test("brings the streams of an earlier version to the subjects and hints of this one", async () => {
    await declareInbox(options);
    const declared = await configOf("INBOX_0");
    const earlier = { ...declared, subjects: ["inbox.0.*.*.*"], republish: undefined };
    await broker.nc.request("$JS.API.STREAM.UPDATE.INBOX_0", JSON.stringify(earlier));
    expect((await configOf("INBOX_0")).republish).toBeUndefined();
    expect(await declareInbox(options)).toBe(false);
    const { subjects, republish } = await configOf("INBOX_0");
    expect(subjects).toEqual(declared.subjects);
    expect(republish).toEqual(declared.republish);
  });

  test("refuses another number of partitions, names both, and leaves the streams alone", async () => {
    await declareInbox(options);
    for (const partitions of [1, 3]) {
      await expect(declareInbox({ ...options, partitions })).rejects.toThrow(
        `created with MUSTREACH_PARTITIONS=2, not ${partitions}`,
      );
    }
    expect(await problems({ ...options, partitions: 3 })).toContain("streams are missing: INBOX_2");
    expect((await configOf("INBOX_0")).max_bytes).toBe(10_000_000);
  });

  test("refuses a stream of the same name that is not ours", async () => {
    await broker.jsm.streams.add({ name: "INBOX_0", subjects: ["something.else"] });
    await expect(declareInbox(options)).rejects.toThrow("MUSTREACH_PARTITIONS=unknown");
  });
});

test("the broker tells of a stored notification by a hint without its body", async () => {
  await declareInbox(options);
  const hints = broker.nc.subscribe("live.>", { max: 1 });
  await broker.nc.flush();
  const ack = await jetstream(broker.nc).publish(inboxSubject(1, "dXNlcg", 20_000, "aWQ"), "secret");
  for await (const hint of hints) {
    expect(hint.subject).toBe("live.1.dXNlcg.hint.20000.aWQ");
    expect(hint.headers?.get("Nats-Sequence")).toBe(String(ack.seq));
    expect(hint.data).toHaveLength(0);
  }
});

describe("a bucket", () => {
  const bucket: StreamSpec = {
    name: "KV_TEST",
    description: "a test's",
    subjects: ["$KV.TEST.>"],
    refusesWhenFull: true,
    maxAgeMs: 3_600_000,
  };
  const openBucket = () => new Kvm(broker.js).open("TEST");
  const maxAge = async () => (await configOf("KV_TEST")).max_age;

  test("is brought to another retention, with what it holds", async () => {
    await declare(broker, [bucket], 1);
    await (await openBucket()).put("a", "1");
    await declare(broker, [{ ...bucket, maxAgeMs: 7_200_000 }], 1);
    expect(await maxAge()).toBe(nanos(7_200_000));
    expect((await (await openBucket()).get("a"))?.string()).toBe("1");
    await declare(broker, [bucket], 1);
    expect(await maxAge()).toBe(nanos(3_600_000));
  });

  test("is brought to a retention of less than the two minutes for which duplicates are known", async () => {
    await declare(broker, [bucket], 1);
    await declare(broker, [{ ...bucket, maxAgeMs: 60_000 }], 1);
    expect(await maxAge()).toBe(nanos(60_000));
  });

  test("that keeps entries longer is left to it, where that is asked for", async () => {
    await declare(broker, [{ ...bucket, maxAgeMs: 7_200_000 }], 1);
    await declare(broker, [{ ...bucket, isNeverShortened: true }], 1);
    expect(await maxAge()).toBe(nanos(7_200_000));
    expect(await streamProblems(broker, [{ ...bucket, isNeverShortened: true }], 1)).toEqual([]);
    expect(await streamProblems(broker, [bucket], 1)).toEqual(["KV_TEST is not as declared"]);
  });

  test("is one that the client library would have made", async () => {
    await declare(broker, [bucket], 1);
    const ours = await configOf("KV_TEST");
    await broker.jsm.streams.delete("KV_TEST");
    await new Kvm(broker.js).create("TEST", { description: "a test's", ttl: 3_600_000, storage: StorageType.File });
    expect(ours).toEqual({ ...(await configOf("KV_TEST")), allow_atomic: true, metadata: ours.metadata });
  });
});
