import { DiscardPolicy, JetStreamApiError } from "@nats-io/jetstream";
import { pino } from "pino";
import { beforeEach, describe, expect, test, vi } from "vitest";
import { type Broker, connectBroker } from "../../src/broker/connect.ts";
import { again } from "../../src/broker/until.ts";
import { maxBatchMessages, remove, replace, write } from "../../src/broker/write.ts";
import { deadlineIn } from "../../src/deadline.ts";
import { toErrorFacts } from "../../src/errors.ts";
import { useBroker } from "../helpers/broker.ts";

const server = useBroker();
let broker: Broker;
beforeEach(async () => {
  const { url, dial } = server;
  broker = await connectBroker({ servers: [url], dial, requestTimeoutMs: 5_000, log: pino({ level: "silent" }) });
  await broker.jsm.streams.add({
    name: "RECORDS",
    subjects: ["record.*"],
    max_msgs_per_subject: 1,
    discard: DiscardPolicy.New,
    max_msgs: 3,
    allow_atomic: true,
    allow_msg_ttl: true,
  });
  return async () => {
    await broker.jsm.streams.delete("RECORDS");
    await broker.close();
  };
});

const record = (name: string, text: string) => ({ subject: `record.${name}`, payload: Buffer.from(text) });
const last = (name: string) => broker.jsm.streams.getMessage("RECORDS", { last_by_subj: `record.${name}` });
const inTime = () => deadlineIn(5_000);

describe("write", () => {
  test("stores one with what goes with it, or refuses it where another record is than it replaces", async () => {
    const first = { ...record("a", "1"), headers: { "Test-Id": "a" }, replaces: 0, ttlMs: 1_500 };
    expect(await write(broker, [first], 5_000)).toEqual({ kind: "stored", sequence: 1 });
    const { header } = (await last("a")) ?? {};
    expect([header?.get("Test-Id"), header?.get("Nats-TTL"), header?.get("Nats-Batch-Id")]).toEqual(["a", "2s", ""]);
    expect(await write(broker, [first], 5_000)).toMatchObject({ kind: "refused" });
    expect(await write(broker, [{ ...record("a", "2"), replaces: 1 }], 5_000)).toEqual({ kind: "stored", sequence: 2 });
  });

  test.each(["a\r\nNats-Rollup: all", "a\n", "\r"])("takes no header of two lines: %j", async (value) => {
    const one = { ...record("a", "1"), headers: { "Test-Id": value } };
    await expect(write(broker, [one], 5_000)).rejects.toThrow("Test-Id");
    await expect(write(broker, [record("b", "1"), one], 5_000)).rejects.toThrow("Test-Id");
    expect(await last("a")).toBeNull();
  });

  test("stores all or none", async () => {
    const [a, b] = [record("a", "1"), record("b", "1")];
    expect(await write(broker, [a, { ...b, replaces: 7 }], 5_000)).toMatchObject({ kind: "refused" });
    expect(await last("a")).toBeNull();
    expect(await write(broker, [a, { ...b, replaces: 0 }], 5_000)).toEqual({ kind: "stored", sequence: 2 });
  });

  test.each([0, maxBatchMessages + 1])("does not take %i", async (length) => {
    const writes = Array.from({ length }, () => record("a", "1"));
    await expect(write(broker, writes, 5_000)).rejects.toThrow(RangeError);
  });
});

describe("remove", () => {
  test("removes a message once, and knows one that is not there", async () => {
    await write(broker, [record("a", "1")], 5_000);
    expect(await remove(broker, "RECORDS", 1)).toBe(true);
    expect(await last("a")).toBeNull();
    expect(await remove(broker, "RECORDS", 1, false)).toBe(false);
    expect(await remove(broker, "GONE", 1)).toBe(false);
  });

  test("does not take a message for gone where the cluster has no leader", async () => {
    vi.spyOn(broker.jsm.streams, "deleteMessage").mockRejectedValue(
      new JetStreamApiError({ code: 503, err_code: 10008, description: "JetStream system temporarily unavailable" }),
    );
    expect(await remove(broker, "RECORDS", 1).catch(toErrorFacts)).toMatchObject({ errCode: 90004 });
  });
});

describe("replace", () => {
  test("loses nothing of what many change at the same time", async () => {
    const count = () =>
      replace(broker, inTime(), async () => {
        const before = await last("a");
        const next = Number(before?.string() ?? 0) + 1;
        return { writes: [{ ...record("a", String(next)), replaces: before?.seq ?? 0 }], answer: next };
      });
    const answers = await Promise.all(Array.from({ length: 10 }, count));
    expect(answers.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 10 }, (_, i) => i + 1));
    expect((await last("a"))?.string()).toBe("10");
  });

  test("writes nothing where nothing is to change, and reads again where it is told to", async () => {
    const reads = [again, { writes: [], answer: "as it was" }] as const;
    let tries = 0;
    expect(await replace(broker, inTime(), async () => reads[tries++] ?? again)).toBe("as it was");
    expect(await last("a")).toBeNull();
  });

  test("ends with what the broker refuses for another reason, and with what the reading throws", async () => {
    await write(
      broker,
      ["a", "b", "c"].map((name) => record(name, "1")),
      5_000,
    );
    const fourth = async () => ({ writes: [{ ...record("d", "1"), replaces: 0 }], answer: undefined });
    expect(await replace(broker, inTime(), fourth).catch(toErrorFacts)).toMatchObject({ errCode: 90101 });
    const mistake = new TypeError("test");
    await expect(replace(broker, inTime(), () => Promise.reject(mistake))).rejects.toBe(mistake);
  });
});
