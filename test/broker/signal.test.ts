import { pino } from "pino";
import { beforeEach, describe, expect, test, vi } from "vitest";
import { type Broker, connectBroker } from "../../src/broker/connect.ts";
import { declare } from "../../src/broker/declare.ts";
import { listen, push, tell, tellLater, whenListening } from "../../src/broker/signal.ts";
import { deadlineIn } from "../../src/deadline.ts";
import { toErrorFacts } from "../../src/errors.ts";
import { inboxSpecs } from "../../src/inbox/layout.ts";
import { type ExternalBroker, startExternalBroker } from "../helpers/external-broker.ts";

let server: ExternalBroker;
let broker: Broker;
beforeEach(async () => {
  server = await startExternalBroker();
  broker = await connectBroker({ servers: [server.url], requestTimeoutMs: 5_000, log: pino({ level: "silent" }) });
  return async () => {
    await broker.close();
    await server.remove();
  };
});

const subject = "live.0.dXNlcg.push";
const inTime = () => deadlineIn(20_000);

describe("push", () => {
  test("reaches whoever listens, in order, and is not stored", async () => {
    await declare(broker, inboxSpecs({ partitions: 1, retentionMs: 3_600_000, maxStoreBytes: 50_000_000 }), 1);
    const heard: string[] = [];
    const listening = listen(broker, "live.0.>", ({ payload }) => void heard.push(Buffer.from(payload).toString()));
    await whenListening(broker, inTime());
    const sent = Array.from({ length: 100 }, (_, i) => String(i));
    for (const text of sent) await push(broker, subject, Buffer.from(text), inTime());
    await vi.waitFor(() => expect(heard).toEqual(sent));
    expect((await broker.jsm.streams.info("INBOX_0")).state.messages).toBe(0);
    listening.stop();
    tell(broker, subject, "not heard");
    await whenListening(broker, inTime());
    expect(heard).toEqual(sent);
  });

  test("is refused at once with 1001 when it is larger than the broker takes", async () => {
    const pushing = push(broker, subject, new Uint8Array(1_100_000), inTime());
    const facts = { errCode: 1001, errDlt: expect.stringContaining("max_payload") };
    expect(await pushing.catch(toErrorFacts)).toMatchObject(facts);
  });

  test("fails with 90004 in time when the broker is away", async () => {
    await server.pause();
    await expect.poll(() => broker.isConnected()).toBe(false);
    const pushing = push(broker, subject, Buffer.from("lost"), deadlineIn(300));
    expect(await pushing.catch(toErrorFacts)).toMatchObject({ errCode: 90004 });
  });
});

describe("what is told later", () => {
  test("comes in order, after what the same turn of the event loop pushes", async () => {
    const heard: string[] = [];
    listen(broker, subject, ({ payload }) => void heard.push(Buffer.from(payload).toString()));
    await whenListening(broker, inTime());
    for (const text of ["2", "3"]) tellLater(broker, subject, Buffer.from(text));
    tellLater(broker, subject, new Uint8Array(1_100_000));
    tellLater(broker, subject, Buffer.from("4"));
    await push(broker, subject, Buffer.from("1"), inTime());
    await vi.waitFor(() => expect(heard).toEqual(["1", "2", "3", "4"]));
  });

  test("is lost while the broker is away, or not to be used any more", async () => {
    await server.pause();
    await expect.poll(() => broker.isConnected()).toBe(false);
    tellLater(broker, subject, Buffer.from("lost"));
    await server.resume();
    await broker.whenConnected(inTime());
    const heard: string[] = [];
    listen(broker, subject, ({ payload }) => void heard.push(Buffer.from(payload).toString()));
    await whenListening(broker, inTime());
    tellLater(broker, subject, Buffer.from("heard"));
    await vi.waitFor(() => expect(heard).toEqual(["heard"]));
    tellLater(broker, subject, Buffer.from("lost"));
    await broker.close();
  });
});

describe("listening", () => {
  test("begins, and goes on, over a restart of the broker", async () => {
    const heard: string[] = [];
    const hear = (name: string) => listen(broker, subject, () => void heard.push(name));
    hear("before");
    const pausing = server.pause();
    // In the dying connection, and while there is none.
    const listening = [whenListening(broker, inTime())];
    hear("dying");
    listening.push(whenListening(broker, inTime()));
    await pausing;
    await expect.poll(() => broker.isConnected()).toBe(false);
    hear("away");
    listening.push(whenListening(broker, inTime()));
    await server.resume();
    await Promise.all(listening);
    tell(broker, subject);
    await vi.waitFor(() => expect(heard.toSorted()).toEqual(["away", "before", "dying"]));
  });

  test("fails with 90004 in time when the broker is away", async () => {
    await server.pause();
    expect(await whenListening(broker, deadlineIn(300)).catch(toErrorFacts)).toMatchObject({ errCode: 90004 });
  });

  test("tells nobody through a connection that is closed", async () => {
    await broker.close();
    expect(() => tell(broker, subject)).not.toThrow();
  });
});
