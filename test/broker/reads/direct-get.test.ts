import { headers, type Msg } from "@nats-io/transport-node";
import { pino } from "pino";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type Broker, connectBroker } from "../../../src/broker/connect.ts";
import { createDirectGet } from "../../../src/broker/reads/create-direct-get.ts";
import {
  type DirectGet,
  type DirectGetRequest,
  type DirectMessage,
  readsOver,
} from "../../../src/broker/reads/direct-get.ts";
import { toErrorFacts } from "../../../src/errors.ts";
import { startBroker, type TestBroker } from "../../helpers/broker.ts";

const shared: { server?: TestBroker; broker?: Broker } = {};
let get: DirectGet;

beforeAll(async () => {
  const server = await startBroker();
  shared.server = server;
  const { url, dial } = server;
  shared.broker = await connectBroker({
    servers: [url],
    dial,
    requestTimeoutMs: 5_000,
    log: pino({ level: "silent" }),
  });
  const { js, jsm } = shared.broker;
  await jsm.streams.add({ name: "S", subjects: ["s.>"], allow_direct: true, max_msgs_per_subject: 1 });
  for (let i = 1; i <= 5; i++) await js.publish(`s.a.${i}`, `a${i}`);
  await js.publish("s.b.1", "b1");
  await jsm.streams.add({ name: "MANY", subjects: ["many.*"], allow_direct: true });
  await Promise.all(Array.from({ length: 1_025 }, (_, i) => js.publish(`many.${i}`)));
});
beforeEach(() => {
  if (shared.broker !== undefined) get = createDirectGet(shared.broker, { timeoutMs: 5_000 });
  return () => get.close();
});
afterAll(async () => {
  await shared.broker?.close();
  await shared.server?.remove();
});

async function read(request: DirectGetRequest) {
  const found = await get.ask("S", request);
  if (found === undefined) throw new Error("too many results");
  return { ...found, texts: found.messages.map(({ payload }) => Buffer.from(payload).toString()) };
}

describe("one message", () => {
  test("is found by its subject, with its place, time and headers", async () => {
    const startedMs = Date.now();
    const { messages, texts } = await read({ last_by_subj: "s.a.3" });
    expect(texts).toEqual(["a3"]);
    expect(messages[0]).toMatchObject({ subject: "s.a.3", sequence: 3 });
    expect(messages[0]?.header("Nats-Stream")).toBe("S");
    expect(messages[0]?.header("Absent")).toBe("");
    expect(Math.abs((messages[0]?.timeMs ?? 0) - startedMs)).toBeLessThan(60_000);
  });

  test("that is not there is nothing, not an error", async () => {
    expect(await read({ last_by_subj: "s.c" })).toMatchObject({ messages: [], pending: 0 });
  });
});

describe("many messages", () => {
  test("come in one answer, in order, with the end of the stream", async () => {
    expect(await read({ multi_last: ["s.a.*"] })).toMatchObject({
      texts: ["a1", "a2", "a3", "a4", "a5"],
      pending: 0,
      upToSequence: 6,
    });
  });

  test("start at a sequence, and tell how many are left out", async () => {
    expect(await read({ multi_last: ["s.>"], seq: 3, batch: 2 })).toMatchObject({ texts: ["a3", "a4"], pending: 2 });
    expect(await read({ next_by_subj: "s.a.*", seq: 3, batch: 2 })).toMatchObject({ texts: ["a3", "a4"], pending: 1 });
  });

  test("that do not exist are none", async () => {
    expect(await read({ multi_last: ["s.c.*"] })).toMatchObject({ messages: [], pending: 0 });
    expect(await read({ multi_last: ["s.a.*"], seq: 7 })).toMatchObject({ messages: [], pending: 0 });
    expect(await read({ next_by_subj: "s.a.*", seq: 7, batch: 2 })).toMatchObject({ messages: [], pending: 0 });
  });

  test("beyond 1,024 subjects are too many for the index", async () => {
    expect(await get.index("MANY", ["many.*"], { from: 1, count: 10 })).toBeUndefined();
    const found = await get.along("MANY", "many.*", { from: 1, count: 10 });
    expect(found).toMatchObject({ pending: 1_015 });
  });
});

describe("by name", () => {
  const textOf = (message: DirectMessage | undefined) => message && Buffer.from(message.payload).toString();

  test("at is the message of a sequence, last and next those of a filter", async () => {
    expect(textOf(await get.at("S", 4))).toBe("a4");
    expect(await get.at("S", 99)).toBeUndefined();
    expect(textOf(await get.last("S", "s.a.*"))).toBe("a5");
    expect(textOf(await get.next("S", "s.a.*", 3))).toBe("a3");
    expect(await get.next("S", "s.a.*", 6)).toBeUndefined();
  });

  test("lastOf is all of some subjects, and a mistake for more than 1,024", async () => {
    expect((await get.lastOf("S", ["s.b.1", "s.a.2", "s.c"])).map(textOf)).toEqual(["a2", "b1"]);
    await expect(get.lastOf("MANY", ["many.*"])).rejects.toThrow(RangeError);
  });

  test("under is all that matches, however many", async () => {
    expect((await get.under("S", "s.a.*")).map(textOf)).toEqual(["a1", "a2", "a3", "a4", "a5"]);
    expect(await get.under("MANY", "many.*")).toHaveLength(1_025);
  });
});

test("reads at the same time get each its own answer", async () => {
  const answers = await Promise.all(
    Array.from({ length: 200 }, (_, i) => read({ last_by_subj: `s.a.${(i % 5) + 1}` })),
  );
  expect(answers.map(({ texts }) => texts[0])).toEqual(Array.from({ length: 200 }, (_, i) => `a${(i % 5) + 1}`));
});

test("reads of a stream that nobody serves wait until somebody does, and hold up no others", async () => {
  if (shared.broker === undefined) throw new Error("no broker");
  const { js, jsm } = shared.broker;
  const patient = createDirectGet(shared.broker, { timeoutMs: 60_000 });
  const waiting = Array.from({ length: 200 }, () => patient.last("LATE", "late.x"));
  expect((await patient.last("S", "s.b.1"))?.subject).toBe("s.b.1");
  await jsm.streams.add({ name: "LATE", subjects: ["late.*"], allow_direct: true });
  await js.publish("late.x", "x");
  // Those that asked before the publish have found nothing.
  expect(await Promise.all(waiting)).toHaveLength(200);
  expect((await patient.last("LATE", "late.x"))?.subject).toBe("late.x");
  patient.close();
});

describe("a read that is not answered, as by a replica that was killed, is asked again", () => {
  const answer = (msg: Msg, text: string) => {
    const about = headers();
    for (const [name, value] of Object.entries({
      Subject: "x",
      Sequence: "1",
      "Time-Stamp": new Date(0).toISOString(),
    })) {
      about.set(`Nats-${name}`, value);
    }
    msg.respond(text, { headers: about });
  };

  /** Reads from somebody who is asked twice, and whose answer is up to the test. */
  async function readFrom(onSecond: (first: Msg, second: Msg) => void) {
    if (shared.broker === undefined) throw new Error("no broker");
    const { nc } = shared.broker;
    const asked: Msg[] = [];
    const replica = nc.subscribe("$JS.API.DIRECT.GET.LOST", {
      callback(_, msg) {
        asked.push(msg);
        const [first, second] = asked;
        if (first !== undefined && second === msg) onSecond(first, second);
      },
    });
    const patient = createDirectGet(shared.broker, { timeoutMs: 60_000 });
    const found = await patient.last("LOST", "x");
    replica.unsubscribe();
    patient.close();
    return Buffer.from(found?.payload ?? []).toString();
  }

  test("and answered then", async () => {
    expect(await readFrom((_, second) => answer(second, "second"))).toBe("second");
  });

  test("and may still be answered the first time", async () => {
    expect(await readFrom((first) => answer(first, "first"))).toBe("first");
  });
});

describe("a read that cannot be answered fails with 90004", () => {
  test("in time, when nobody answers", async () => {
    if (shared.broker === undefined) throw new Error("no broker");
    const hasty = createDirectGet(shared.broker, { timeoutMs: 50 });
    // A subject where something listens that never answers; without it there would be "no responders" at once.
    const silent = shared.broker.nc.subscribe("$JS.API.DIRECT.GET.SILENT");
    expect(await hasty.last("SILENT", "x").catch(toErrorFacts)).toMatchObject({ errCode: 90004 });
    silent.unsubscribe();
    hasty.close();
  });

  test("in time, when nobody serves the stream", async () => {
    if (shared.broker === undefined) throw new Error("no broker");
    const hasty = createDirectGet(shared.broker, { timeoutMs: 200 });
    expect(await hasty.last("GONE", "x").catch(toErrorFacts)).toMatchObject({ errCode: 90004 });
    hasty.close();
  });

  test("at once when the reader is closed, with 90103", async () => {
    if (shared.broker === undefined) throw new Error("no broker");
    const silent = shared.broker.nc.subscribe("$JS.API.DIRECT.GET.SILENT");
    const closing = createDirectGet(shared.broker, { timeoutMs: 60_000 });
    const reading = closing.last("SILENT", "x").catch(toErrorFacts);
    closing.close();
    expect(await reading).toMatchObject({ errCode: 90103 });
    silent.unsubscribe();
  });
});

describe("many reads at a time", () => {
  /** Reads over a connection whose requests are counted while they are under way. */
  function countReads(request: DirectGetRequest, count: number) {
    const { broker } = shared;
    if (broker === undefined) throw new Error("there is no broker");
    let asked = 0;
    let answered = 0;
    let most = 0;
    const publish = broker.nc.publish.bind(broker.nc);
    broker.nc.publish = (...args) => {
      asked++;
      most = Math.max(most, asked - answered);
      publish(...args);
    };
    const reads = Array.from({ length: count }, () =>
      get.ask("S", request).then((found) => {
        answered++;
        return found;
      }),
    );
    return Promise.all(reads)
      .then((found) => ({ found, asked, most }))
      .finally(() => {
        broker.nc.publish = publish;
      });
  }

  test("are asked for 64 at a time", async () => {
    const { found, asked, most } = await countReads({ last_by_subj: "s.a.1" }, 500);
    expect(found).toHaveLength(500);
    expect(asked).toBe(500);
    expect(most).toBeLessThanOrEqual(64);
  });

  test("are asked for until their answers may add up to 32 MiB", async () => {
    const page = { multi_last: ["s.a.*"], max_bytes: 4_194_304 };
    const { asked, most } = await countReads(page, 100);
    expect(asked).toBe(100);
    expect(most).toBeLessThanOrEqual(8);
  });

  test("that wait for their turn fail in time, and are not asked for later", async () => {
    const { broker } = shared;
    if (broker === undefined) throw new Error("there is no broker");
    const impatient = createDirectGet(broker, { timeoutMs: 200 });
    const publish = broker.nc.publish;
    let asked = 0;
    // A broker that does not answer.
    broker.nc.publish = () => void asked++;
    const reads = Array.from({ length: 100 }, () => impatient.last("S", "s.a.1"));
    const outcomes = await Promise.allSettled(reads).finally(() => {
      broker.nc.publish = publish;
    });
    expect(outcomes.every((outcome) => outcome.status === "rejected")).toBe(true);
    // Which of those that time out together are told first is up to the clock; not all had their turn.
    expect(asked).toBeLessThan(100);
    impatient.close();
  });
});

test("reads are answered over a restart of the broker: those in the dying connection, and those without one", async () => {
  const { server, broker } = shared;
  if (server === undefined || broker === undefined) throw new Error("there is no broker");
  const reads = createDirectGet(broker, { timeoutMs: 30_000 });
  const disconnected = new Promise<void>((resolve) => broker.onDisconnect(resolve));
  process.kill(server.pid(), "SIGKILL");
  const dying = reads.lastOf("S", ["s.a.*"]);
  await disconnected;
  // More than are asked for at a time.
  const away = Array.from({ length: 100 }, () => reads.last("S", "s.b.1"));
  expect(await dying).toHaveLength(5);
  for (const found of await Promise.all(away)) expect(found?.subject).toBe("s.b.1");
  reads.close();
});

test.each([
  ["a page of the index", async (reads: DirectGet) => (await reads.index("S", ["x.*"]))?.messages],
  ["all under a filter", (reads: DirectGet) => reads.under("S", "x.*")],
  ["the last of some subjects", (reads: DirectGet) => reads.lastOf("S", ["x.a", "x.b"])],
])("%s is read again when the broker broke off", async (_, readAll) => {
  const message = (subject: string, sequence: number): DirectMessage => ({
    ...{ subject, sequence, payload: new Uint8Array(), timeMs: 0 },
    header: () => "",
  });
  const [a, b] = [message("x.a", 1), message("x.b", 2)];
  const pages = [
    { messages: [a], pending: 0, upToSequence: undefined },
    { messages: [a, b], pending: 0, upToSequence: 9 },
  ];
  const found = await readAll(
    readsOver(
      async () => pages.shift(),
      () => {},
    ),
  );
  expect(found).toEqual([a, b]);
});
