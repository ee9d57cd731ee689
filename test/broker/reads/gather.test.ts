import { pino } from "pino";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { type Broker, connectBroker } from "../../../src/broker/connect.ts";
import { createDirectGet } from "../../../src/broker/reads/create-direct-get.ts";
import {
  type DirectGet,
  type DirectGetRequest,
  type DirectMessage,
  readsOver,
} from "../../../src/broker/reads/direct-get.ts";
import { gathered } from "../../../src/broker/reads/gather.ts";
import { startBroker, type TestBroker } from "../../helpers/broker.ts";

const shared: { server?: TestBroker; broker?: Broker } = {};
let get: DirectGet;
let asked: DirectGetRequest[];
/** What a read of many is answered with, in place of the broker's answer. */
let disturb: ((request: DirectGetRequest) => Promise<never> | undefined) | undefined;

beforeAll(async () => {
  const server = await startBroker();
  const { url, dial } = server;
  const broker = await connectBroker({ servers: [url], dial, requestTimeoutMs: 5_000, log: pino({ level: "silent" }) });
  shared.server = server;
  shared.broker = broker;
  const { js, jsm } = broker;
  await jsm.streams.add({ name: "S", subjects: ["s.>"], allow_direct: true, max_msgs_per_subject: 1 });
  for (const user of ["a", "b", "aa"]) for (let i = 1; i <= 2; i++) await js.publish(`s.${user}.${i}`, `${user}${i}`);
  await js.publish("s.a.1.more", "deeper");
  await jsm.streams.add({ name: "MANY", subjects: ["many.*.*"], allow_direct: true });
  await Promise.all(Array.from({ length: 1_025 }, (_, i) => js.publish(`many.${i % 2 ? "odd" : "even"}.${i}`)));
});
beforeEach(() => {
  const { broker } = shared;
  if (broker === undefined) return;
  const direct = createDirectGet(broker, { timeoutMs: 5_000 });
  asked = [];
  disturb = undefined;
  const ask: DirectGet["ask"] = (stream, request) => {
    asked.push(request);
    return disturb?.(request) ?? direct.ask(stream, request);
  };
  get = gathered(readsOver(ask, direct.close));
  return () => get.close();
});
afterAll(async () => {
  await shared.broker?.close();
  await shared.server?.remove();
});

const texts = (messages: readonly DirectMessage[]) => messages.map(({ payload }) => Buffer.from(payload).toString());
const readUsers = async (...users: string[]) =>
  (await Promise.all(users.map((user) => get.under("S", `s.${user}.*`)))).map(texts);

test("who asks the same in a turn shares the answer, and only in that turn", async () => {
  const both = await Promise.all([get.next("S", "s.>", 1), get.next("S", "s.>", 1), get.next("S", "s.>", 2)]);
  expect(both.map((one) => one?.sequence)).toEqual([1, 1, 2]);
  expect(asked).toHaveLength(2);
  await get.next("S", "s.>", 1);
  expect(asked).toHaveLength(3);
});

test("what is below many subjects is one read, and each gets its own, in order", async () => {
  expect(await readUsers("a", "aa", "none", "b")).toEqual([["a1", "a2"], ["aa1", "aa2"], [], ["b1", "b2"]]);
  expect(asked).toEqual([{ multi_last: ["s.a.*", "s.aa.*", "s.none.*", "s.b.*"], seq: 1, max_bytes: undefined }]);
});

test("where there is nothing below any of them, that is the answer", async () => {
  expect(await readUsers("none", "nobody")).toEqual([[], []]);
  expect(asked).toHaveLength(1);
});

test("more than go into one read are several", async () => {
  await readUsers(...Array.from({ length: 65 }, (_, i) => `u${i}`));
  expect(asked.map(({ multi_last }) => multi_last?.length)).toEqual([64, 1]);
});

test("where they are too many together, or their read fails, each is read for itself", async () => {
  const [odd, even] = await Promise.all([get.under("MANY", "many.odd.*"), get.under("MANY", "many.even.*")]);
  expect([odd.length, even.length]).toEqual([512, 513]);
  disturb = ({ multi_last }) => (multi_last?.length === 2 ? Promise.reject(new Error("refused")) : undefined);
  expect(await readUsers("a", "b")).toEqual([
    ["a1", "a2"],
    ["b1", "b2"],
  ]);
});

test("of one that fails alone, who asked hears", async () => {
  disturb = () => Promise.reject(new Error("refused"));
  await expect(get.under("S", "s.a.*")).rejects.toThrow("refused");
  await expect(get.last("S", "s.a.1")).rejects.toThrow("refused");
});

test("pages, and reads from a sequence on, are asked as they are", async () => {
  const page = (from: number) => get.index("S", ["s.a.*"], { from, count: 1 });
  expect(await Promise.all([page(1), page(2)])).toMatchObject([{ pending: 1 }, { pending: 0 }]);
  expect(asked).toHaveLength(2);
});
