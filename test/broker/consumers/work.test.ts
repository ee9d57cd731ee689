import { nanos } from "@nats-io/transport-node";
import { pino } from "pino";
import { afterEach, describe, expect, test, vi } from "vitest";
import { connectBroker } from "../../../src/broker/connect.ts";
import { declareConsumer } from "../../../src/broker/consumers/declare.ts";
import { jobConsumer, type WorkOptions, work } from "../../../src/broker/consumers/work.ts";
import { everything, nextMessageSubject } from "../../../src/broker/subjects.ts";
import { useBroker } from "../../helpers/broker.ts";

const log = pino({ level: "silent" });
const server = useBroker();
const opened: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close();
});
const waitFor = <T>(check: () => T | Promise<T>) => vi.waitFor(check, { interval: 10 });

let streams = 0;
async function openJobs() {
  const { url, dial } = server;
  const broker = await connectBroker({ servers: [url], dial, requestTimeoutMs: 2_000, log });
  opened.push(() => broker.close());
  const stream = `J${++streams}`;
  await broker.jsm.streams.add({ name: stream, subjects: [`j.${streams}`], retention: "workqueue" });
  return {
    broker,
    stream,
    publish: (job: string) => broker.js.publish(`j.${streams}`, job),
    waiting: async () => (await broker.jsm.streams.info(stream)).state.messages,
    async start(doJob: WorkOptions<string>["work"]) {
      const decode = (payload: Uint8Array) => Buffer.from(payload).toString();
      const stop = await work(broker, { stream, durable: "worker", filter: everything, decode, work: doJob, log });
      opened.push(stop);
      return stop;
    },
  };
}

describe("jobs", () => {
  test("are done one at a time over all workers, in order, and then are gone", async () => {
    const { publish, waiting, start } = await openJobs();
    const done: string[] = [];
    let underWay = 0;
    const doJob = async (job: string) => {
      expect(++underWay).toBe(1);
      await new Promise((resolve) => setTimeout(resolve, 5));
      underWay--;
      done.push(job);
    };
    await start(doJob);
    await start(doJob);
    const jobs = Array.from({ length: 30 }, (_, i) => String(i));
    for (const job of jobs) await publish(job);
    await waitFor(() => expect(done).toHaveLength(30));
    expect(done).toEqual(jobs);
    await waitFor(async () => expect(await waiting()).toBe(0));
  });

  test("that fail are done again, before what follows", async () => {
    const { publish, waiting, start } = await openJobs();
    const tried: string[] = [];
    for (const job of ["a", "b"]) await publish(job);
    await start(async (job) => {
      if (tried.push(job) < 3) throw new Error("not yet");
    });
    await waitFor(async () => expect(await waiting()).toBe(0));
    expect(tried).toEqual(["a", "a", "a", "b"]);
  });

  test.each([
    { failed: 0, delayMs: 200 },
    { failed: 2, delayMs: 800 },
    { failed: 3, delayMs: 1_600 },
    { failed: 12, delayMs: 1_600 },
  ])("that fail after $failed times are done again in $delayMs ms", async ({ failed, delayMs }) => {
    const { broker, stream, publish, start } = await openJobs();
    await declareConsumer(broker, jobConsumer({ stream, durable: "worker", filter: everything }));
    await publish("a");
    const elsewhere = await broker.js.consumers.get(stream, "worker");
    for (let i = 0; i < failed; i++) (await elsewhere.next())?.nak();
    const told = Promise.withResolvers<string>();
    broker.nc.subscribe("$JS.ACK.>", { callback: (_, msg) => told.resolve(msg.string()) });
    const begun: string[] = [];
    await start(async (job) => {
      begun.push(job);
      throw new Error("not yet");
    });
    expect(await told.promise).toBe(`-NAK ${JSON.stringify({ delay: nanos(delayMs) })}`);
    expect(begun).toEqual(["a"]);
  });

  test("under way when their worker stops are given up, and done by another", async () => {
    const { publish, waiting, start } = await openJobs();
    await publish("a");
    const begun = Promise.withResolvers<void>();
    const stop = await start(async (_, signal) => {
      begun.resolve();
      await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
    });
    await begun.promise;
    const done: string[] = [];
    await start(async (job) => void done.push(job));
    await stop();
    await waitFor(() => expect(done).toEqual(["a"]));
    await waitFor(async () => expect(await waiting()).toBe(0));
  });

  test("of a worker that was killed are done by another, and soon", async () => {
    const { broker, stream, publish, waiting, start } = await openJobs();
    const { url, dial } = server;
    const killed = await connectBroker({ servers: [url], dial, requestTimeoutMs: 2_000, log });
    const done: string[] = [];
    const begun = Promise.withResolvers<void>();
    await work(killed, {
      ...{ stream, durable: "worker", filter: everything, log },
      decode: String,
      work: () => {
        begun.resolve();
        return new Promise(() => {});
      },
    });
    await publish("a");
    await publish("b");
    await begun.promise;
    await killed.nc.close();
    await start(async (job) => void done.push(job));
    await waitFor(async () => expect(await waiting()).toBe(0));
    expect(done).toEqual(["a", "b"]);
    // What it was told to wait for, and not how long it took.
    const { config } = await broker.jsm.consumers.info(stream, "worker");
    expect(config.ack_wait).toBeLessThanOrEqual(nanos(2_500));
  });

  test("are asked for one ahead only: who has got stuck keeps few from the others", async () => {
    const { broker, stream, publish, waiting, start } = await openJobs();
    const batches: number[] = [];
    broker.nc.subscribe(nextMessageSubject(stream, "worker"), {
      callback: (_, msg) => void batches.push(msg.json<{ batch: number }>().batch),
    });
    await start(async () => {});
    for (const job of ["a", "b", "c"]) await publish(job);
    await waitFor(async () => expect(await waiting()).toBe(0));
    await broker.nc.flush();
    expect(batches.length).toBeGreaterThan(0);
    expect(Math.max(...batches)).toBeLessThanOrEqual(2);
  });

  test("that end while the broker is away are done after, and hold up the others no longer", async () => {
    const { broker, publish, waiting, start } = await openJobs();
    const done: string[] = [];
    const lost = new Promise<void>((resolve) => broker.onDisconnect(resolve));
    const back = new Promise<void>((resolve) => broker.onReconnect(resolve));
    await publish("a");
    await start(async (job) => {
      if (job === "a" && done.length === 0) {
        process.kill(server.pid(), "SIGKILL");
        await lost;
      }
      done.push(job);
    });
    await back;
    await publish("b");
    await waitFor(async () => expect(await waiting()).toBe(0));
    expect(new Set(done)).toEqual(new Set(["a", "b"]));
  });
});
