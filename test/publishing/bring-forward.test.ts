import { pino } from "pino";
import { beforeEach, expect, test, vi } from "vitest";
import { type Broker, connectBroker } from "../../src/broker/connect.ts";
import { declare } from "../../src/broker/declare.ts";
import { createDirectGet } from "../../src/broker/reads/create-direct-get.ts";
import type { DirectGet } from "../../src/broker/reads/direct-get.ts";
import { readStoredAt } from "../../src/broker/write.ts";
import { bringForward } from "../../src/publishing/bring-forward.ts";
import { createPublisher, type Publisher } from "../../src/publishing/publish.ts";
import { storeLater } from "../../src/publishing/store-later.ts";
import { createJumpingClock, type JumpingClock } from "../../src/testing/jumping-clock.ts";
import { startExternalBroker } from "../helpers/external-broker.ts";

const stream = "JOBS";
const place = { stream, filter: "kept.*" };
const hourMs = 3_600_000;

let broker: Broker;
let get: DirectGet;
let publisher: Publisher;
let clock: JumpingClock;
beforeEach(async () => {
  const server = await startExternalBroker();
  broker = await connectBroker({ servers: [server.url], requestTimeoutMs: 5_000, log: pino({ level: "silent" }) });
  const spec = { name: stream, description: "", subjects: ["kept.*", "due.*"], isQueue: true, hasSchedules: true };
  await declare(broker, [spec], 1);
  get = createDirectGet(broker, { timeoutMs: 5_000 });
  publisher = createPublisher(broker, { sendTimeoutMs: 5_000, isFsynced: () => true });
  clock = createJumpingClock();
  return async () => {
    get.close();
    await broker.close();
    await server.remove();
  };
});

const keep = (id: string, atMs: number, through: Pick<Publisher, "store"> = publisher) =>
  storeLater(through, clock, stream, { subject: `kept.${id}`, target: `due.${id}`, payload: Buffer.from(id), atMs });
const subjects = async (filter: string) => (await get.under(stream, filter)).map(({ subject }) => subject);

test("what is due after a jump is stored in the order of its times; the rest waits for as much less", async () => {
  const startMs = clock.now();
  await keep("c", startMs + 2 * hourMs);
  await keep("b", startMs + 40_000);
  await keep("a", startMs + 30_000);
  await clock.advance(60_000);
  expect(await subjects("due.*")).toEqual([]);
  await bringForward({ broker, get, clock }, [place]);
  expect(await subjects("due.*")).toEqual(["due.a", "due.b"]);
  const [due] = await get.under(stream, "due.*");
  expect(Buffer.from(due?.payload ?? []).toString()).toBe("a");
  const kept = await get.last(stream, "kept.c");
  const header = kept?.header ?? (() => "");
  expect(header("Nats-Schedule")).toBe(`@at ${new Date(startMs + 2 * hourMs - 60_000).toISOString()}`);

  // Again, and with what was kept after the jump, nothing comes nearer than it is.
  await keep("d", startMs + 3 * hourMs);
  await bringForward({ broker, get, clock }, [place]);
  expect(await subjects("kept.*")).toEqual(["kept.d", "kept.c"].toSorted());
  for (const message of await get.under(stream, "kept.*")) {
    expect(readStoredAt(message.header).atMs - startMs).toBe(message.subject === "kept.c" ? 2 * hourMs : 3 * hourMs);
  }
});

test("what is kept while the clock jumps is kept by the clock as it is then", async () => {
  const atMs = clock.now() + hourMs;
  const store = vi.fn<Publisher["store"]>(async (...write) => {
    const stored = await publisher.store(...write);
    if (store.mock.calls.length === 1) await clock.advance(2 * hourMs);
    return stored;
  });
  await keep("a", atMs, { store });
  await vi.waitFor(async () => expect(await subjects(">")).toEqual(["due.a"]));
});

test("what left or was cancelled in the meantime is left as it is", async () => {
  await keep("a", clock.now() + hourMs);
  await clock.advance(1_000);
  const under: DirectGet["under"] = async (...what) => {
    const found = await get.under(...what);
    for (const { sequence } of found) await broker.jsm.streams.deleteMessage(stream, sequence);
    return found;
  };
  await bringForward({ broker, get: { ...get, under }, clock }, [place]);
  expect(await subjects(">")).toEqual([]);
});
