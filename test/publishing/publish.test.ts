import { pino } from "pino";
import { beforeEach, describe, expect, test } from "vitest";
import { type Broker, connectBroker } from "../../src/broker/connect.ts";
import { declare } from "../../src/broker/declare.ts";
import { deadlineIn } from "../../src/deadline.ts";
import { toErrorFacts } from "../../src/errors.ts";
import { inboxSpecs, inboxSubject } from "../../src/inbox/layout.ts";
import { createPublisher, type Publisher } from "../../src/publishing/publish.ts";
import { type ExternalBroker, startExternalBroker } from "../helpers/external-broker.ts";

let server: ExternalBroker;
let broker: Broker;
beforeEach(async () => {
  server = await startExternalBroker();
  broker = await connectBroker({ servers: [server.url], requestTimeoutMs: 5_000, log: pino({ level: "silent" }) });
  await declare(broker, inboxSpecs({ partitions: 1, retentionMs: 3_600_000, maxStoreBytes: 50_000_000 }), 1);
  return async () => {
    await broker.close();
    await server.remove();
  };
});

const open = ({ sendTimeoutMs = 5_000, fsynced = true, isReplicated = false } = {}) =>
  createPublisher(broker, { sendTimeoutMs, isFsynced: () => fsynced, isReplicated });
const write = (id: string, text = id) => ({
  subject: inboxSubject(0, "dXNlcg", 20_000, id),
  payload: Buffer.from(text),
  headers: { "Test-Id": id },
});
/** Above the broker's own limit of 1 MiB. */
const tooLarge = new Uint8Array(1_100_000);
const count = async () => (await broker.jsm.streams.info("INBOX_0")).state.messages;

describe("store", () => {
  test("resolves with the sequence when the broker has acknowledged", async () => {
    const publisher = open();
    expect(await publisher.store("INBOX_0", write("a"))).toEqual({ kind: "stored", sequence: 1 });
    expect(await publisher.store("INBOX_0", write("b"))).toEqual({ kind: "stored", sequence: 2 });
    const message = await broker.jsm.streams.getMessage("INBOX_0", { seq: 2 });
    expect(message?.string()).toBe("b");
    expect(message?.header.get("Test-Id")).toBe("b");
  });

  test("is refused for a subject that is taken, and what is there stays", async () => {
    const publisher = open();
    await publisher.store("INBOX_0", write("a", "first"));
    expect(await publisher.store("INBOX_0", write("a", "second"))).toMatchObject({ kind: "refused" });
    expect((await broker.jsm.streams.getMessage("INBOX_0", { seq: 1 }))?.string()).toBe("first");
    expect(await count()).toBe(1);
  });

  test.each([
    [true, 1_000],
    [false, 100],
  ])("stores each of many at the same moment once (fsynced: %s)", async (fsynced, length) => {
    const publisher = open({ fsynced });
    const stored = await Promise.all(Array.from({ length }, (_, i) => publisher.store("INBOX_0", write(`id-${i}`))));
    const sequences = stored.map((one) => (one.kind === "stored" ? one.sequence : 0));
    expect(sequences.toSorted((a, b) => a - b)).toEqual(Array.from({ length }, (_, i) => i + 1));
    // Each was told its own sequence.
    for (const i of [0, 40, length / 2, length - 1]) {
      const message = await broker.jsm.streams.getMessage("INBOX_0", { seq: sequences[i] ?? 0 });
      expect(message?.string()).toBe(`id-${i}`);
    }
  });

  test("refuses only the duplicates among many at the same moment", async () => {
    const publisher = open();
    for (const i of [3, 77, 150]) await publisher.store("INBOX_0", write(`id-${i}`));
    const kinds = await Promise.all(
      Array.from({ length: 200 }, (_, i) => publisher.store("INBOX_0", write(`id-${i}`)).then(({ kind }) => kind)),
    );
    expect(kinds.flatMap((kind, i) => (kind === "refused" ? [i] : []))).toEqual([3, 77, 150]);
    expect(await count()).toBe(200);
  });

  describe("with a follower", () => {
    const sequencesOf = async (publisher: Publisher, ids: readonly string[]) => {
      const stored = await Promise.all(ids.map((id) => publisher.store("INBOX_0", write(id), write(`${id}-follower`))));
      return stored.map((one) => (one.kind === "stored" ? [one.sequence, one.followedAt] : undefined));
    };

    test.each([true, false])("stores both, one after the other (fsynced: %s)", async (fsynced) => {
      expect(await sequencesOf(open({ fsynced }), ["a", "b", "c"])).toEqual([
        [1, 2],
        [3, 4],
        [5, 6],
      ]);
      const message = await broker.jsm.streams.getMessage("INBOX_0", { seq: 4 });
      expect(message?.string()).toBe("b-follower");
    });

    test("stores neither when the first is taken, alone or among many", async () => {
      const publisher = open();
      await publisher.store("INBOX_0", write("taken"));
      expect(await sequencesOf(publisher, ["taken"])).toEqual([undefined]);
      const ids = Array.from({ length: 300 }, (_, i) => (i === 100 ? "taken" : `id-${i}`));
      const sequences = await sequencesOf(publisher, ids);
      expect(sequences[100]).toBeUndefined();
      // What was not stored with its first can be stored alone.
      for (const [i, stored] of sequences.entries()) {
        if (i === 100) continue;
        expect(stored?.[0]).toBeGreaterThan(1);
        if (stored?.[1] === undefined) await publisher.store("INBOX_0", write(`${ids[i]}-follower`));
        else expect(stored[1]).toBe(Number(stored[0]) + 1);
      }
      expect(await count()).toBe(1 + 299 * 2);
      const taken = { last_by_subj: write("taken-follower").subject };
      expect(await broker.jsm.streams.getMessage("INBOX_0", taken)).toBeNull();
    });

    test("shares a sync with others that wait", async () => {
      const publisher = open();
      const ids = Array.from({ length: 500 }, (_, i) => `id-${i}`);
      const sequences = await sequencesOf(publisher, ids);
      for (const stored of sequences) expect(stored?.[1]).toBe(Number(stored?.[0]) + 1);
      expect(await count()).toBe(1_000);
    });

    test("stores it in one batch where streams have replicas, and no message names the one before it", async () => {
      const publishers = [true, false].map((fsynced) => open({ fsynced, isReplicated: true }));
      await publishers[0]?.store("INBOX_0", write("taken"));
      expect(await sequencesOf(open({ isReplicated: true }), ["taken"])).toEqual([undefined]);
      const stored = await Promise.all(
        publishers.map((publisher, n) =>
          sequencesOf(
            publisher,
            Array.from({ length: 30 }, (_, i) => `${n}-${i}`),
          ),
        ),
      );
      for (const one of stored.flat()) expect(one?.[1]).toBe(Number(one?.[0]) + 1);
      expect(await count()).toBe(1 + 60 * 2);
      const names = ["Nats-Expected-Last-Msg-Id", "Nats-Msg-Id"];
      for (let seq = 1; seq <= 121; seq++) {
        const header = (await broker.jsm.streams.getMessage("INBOX_0", { seq }))?.header;
        expect(names.map((name) => header?.get(name))).toEqual(["", ""]);
      }
    });

    test("says so when another publisher has come between, and stores the first", async () => {
      const others = [open(), open({ fsynced: false }), open()];
      const stored = await Promise.all(
        others.map((publisher, n) =>
          sequencesOf(
            publisher,
            Array.from({ length: 30 }, (_, i) => `${n}-${i}`),
          ),
        ),
      );
      const found = stored.flat();
      const followers = found.filter((one) => one?.[1] !== undefined);
      expect(await count()).toBe(found.length + followers.length);
      expect(found.every((one) => one !== undefined)).toBe(true);
    });
  });

  test("fails with 90004 in time when the broker is away", async () => {
    // One after the other, they would take longer than a test may.
    const publisher = open({ sendTimeoutMs: 5_000 });
    await server.pause();
    const all = await Promise.all(
      Array.from({ length: 100 }, (_, i) => publisher.store("INBOX_0", write(`id-${i}`)).catch(toErrorFacts)),
    );
    for (const facts of all) expect(facts).toMatchObject({ errCode: 90004 });
  });

  test("goes on by itself when the broker comes back in time, and stores each once", async () => {
    const publisher = open({ sendTimeoutMs: 20_000 });
    await server.pause();
    const storing = Array.from({ length: 100 }, (_, i) => publisher.store("INBOX_0", write(`id-${i}`)));
    await server.resume();
    await Promise.all(storing);
    expect(await count()).toBe(100);
  });

  test("fails with 90004 in time where no stream has the subject", async () => {
    const publisher = open({ sendTimeoutMs: 300 });
    const nowhere = { subject: "nowhere", payload: Buffer.from(""), headers: {} };
    expect(await publisher.store("NOWHERE", nowhere).catch(toErrorFacts)).toMatchObject({ errCode: 90004 });
  });
});

describe("a mass of writes", () => {
  test("is asked of the broker 1,024 at a time", async () => {
    let underWay = 0;
    let most = 0;
    const ask: Broker["ask"] = async (...question) => {
      most = Math.max(most, ++underWay);
      return broker.ask(...question).finally(() => underWay--);
    };
    const publisher = createPublisher({ ...broker, ask }, { sendTimeoutMs: 30_000, isFsynced: () => false });
    await Promise.all(Array.from({ length: 3_000 }, (_, i) => publisher.store("INBOX_0", write(`id-${i}`))));
    expect(await count()).toBe(3_000);
    expect(most).toBe(1_024);
  });

  test("is refused with 429 beyond what is held in memory, and only that", async () => {
    const publisher = open({ sendTimeoutMs: 1_000 });
    await server.pause();
    await expect.poll(() => broker.isConnected()).toBe(false);
    const payload = Buffer.alloc(1_048_576);
    const outcomes = await Promise.all(
      Array.from({ length: 130 }, (_, i) =>
        publisher.store("INBOX_0", { ...write(`id-${i}`), payload }).catch(toErrorFacts),
      ),
    );
    const codes = outcomes.map((outcome) => ("errCode" in outcome ? outcome.errCode : 0));
    expect(codes.filter((code) => code === 90004)).toHaveLength(128);
    expect(codes.filter((code) => code === 429)).toHaveLength(2);
    await server.resume();
    await broker.whenConnected(deadlineIn(20_000));
    // What was given up makes room.
    expect(await publisher.store("INBOX_0", write("a"))).toMatchObject({ kind: "stored" });
  });
});

describe("storeAll", () => {
  test("stores all in their order, or none", async () => {
    const publisher = open();
    const stored = await publisher.storeAll(["a", "b", "c"].map((id) => write(id)));
    expect(stored).toEqual({ kind: "stored", sequence: 3 });
    expect(await publisher.storeAll(["d", "b", "e"].map((id) => write(id)))).toMatchObject({ kind: "refused" });
    expect(await count()).toBe(3);
    expect((await broker.jsm.streams.getMessage("INBOX_0", { seq: 2 }))?.string()).toBe("b");
  });

  test("tries a batch again that the broker was too busy for, within its time", async () => {
    let busy = 2;
    const ask: Broker["ask"] = async (...question) => {
      if (busy-- <= 0) return broker.ask(...question);
      const error = { err_code: busy === 0 ? 10176 : 10210, description: "too busy" };
      return Object.assign(await broker.nc.request("$JS.API.INFO"), { json: () => ({ error }) });
    };
    const publisher = createPublisher({ ...broker, ask }, { sendTimeoutMs: 20_000, isFsynced: () => true });
    expect(await publisher.storeAll([write("a"), write("b")])).toEqual({ kind: "stored", sequence: 2 });
    busy = Number.POSITIVE_INFINITY;
    const hasty = createPublisher({ ...broker, ask }, { sendTimeoutMs: 300, isFsynced: () => true });
    expect(await hasty.storeAll([write("c")]).catch(toErrorFacts)).toMatchObject({ errCode: 90004 });
    expect(await count()).toBe(2);
  });

  test("fails with 90004 in time when the broker is away", async () => {
    const publisher = open({ sendTimeoutMs: 300 });
    await server.pause();
    expect(await publisher.storeAll([write("a")]).catch(toErrorFacts)).toMatchObject({ errCode: 90004 });
  });
});

test.each([
  ["stored", (publisher: Publisher) => publisher.store("INBOX_0", { ...write("a"), payload: tooLarge })],
  ["stored with others", (publisher: Publisher) => publisher.storeAll([{ ...write("a"), payload: tooLarge }])],
])("what is larger than the broker takes is refused at once with 1001 when it is %s", async (_, publish) => {
  const thrown = await publish(open({ sendTimeoutMs: 600_000 })).catch((error: unknown) => error);
  expect(toErrorFacts(thrown)).toMatchObject({ errCode: 1001, errDlt: expect.stringContaining("max_payload") });
  expect(await count()).toBe(0);
});
