import { connect, headers, type Msg, type NatsConnection } from "@nats-io/transport-node";
import { pino } from "pino";
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { type Broker, connectBroker } from "../../src/broker/connect.ts";
import { declare } from "../../src/broker/declare.ts";
import { listen, push, tell, tellLater, whenListening } from "../../src/broker/signal.ts";
import { deadlineIn } from "../../src/deadline.ts";
import { toErrorFacts } from "../../src/errors.ts";
import { inboxSpecs } from "../../src/inbox/layout.ts";
import { type Cluster, startCluster } from "../helpers/cluster.ts";
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

  test("has no headers but those that it is given, where the broker is a single server", async () => {
    const { got } = await eavesdrop(server.url, subject);
    await push(broker, subject, Buffer.from("1"), inTime());
    await push(broker, subject, Buffer.from("2"), inTime(), { Key: "value" });
    await vi.waitFor(() =>
      expect(got.map(({ headers }) => headers?.toString())).toEqual([undefined, "NATS/1.0\r\nKey: value\r\n\r\n"]),
    );
  });
});

/** Hears what is published on a subject, as it is, over a connection of its own. */
async function eavesdrop(url: string, subject: string): Promise<{ nc: NatsConnection; got: Msg[] }> {
  const nc = await connect({ servers: url });
  onTestFinished(() => nc.close());
  const got: Msg[] = [];
  nc.subscribe(subject, { callback: (_, msg) => void got.push(msg) });
  await nc.flush();
  return { nc, got };
}

describe("push in a cluster", () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await startCluster();
  });
  afterAll(() => cluster.remove());

  const connectTo = async (url: string): Promise<Broker> => {
    const broker = await connectBroker({ servers: [url], requestTimeoutMs: 5_000, log: pino({ level: "silent" }) });
    onTestFinished(() => broker.close());
    return broker;
  };

  /** What a new publisher pushes, as another node gets it. */
  const record = async (texts: readonly string[]) => {
    const publisher = await connectTo(cluster.urls[0]);
    const { nc, got } = await eavesdrop(cluster.urls[1], subject);
    // Until the publisher's node knows that somebody listens at the other.
    await vi.waitFor(() => {
      tell(publisher, subject);
      expect(got.length).toBeGreaterThan(0);
    });
    for (const text of texts) await push(publisher, subject, Buffer.from(text), inTime(), { Key: text });
    return vi.waitFor(() => {
      const pushes = got.filter(({ data }) => data.length > 0);
      expect(pushes.map((msg) => msg.string())).toEqual(texts);
      return { nc, pushes };
    });
  };

  const publish = (nc: NatsConnection, msgs: readonly (Msg | undefined)[]) => {
    for (const msg of msgs) nc.publish(subject, msg?.data, msg?.headers && { headers: msg.headers });
  };

  /** What is heard, of pushes their header, until what is told without a header. */
  const hear = (listener: Broker) => {
    const heard: string[] = [];
    const listening = listen(listener, subject, ({ header }) => void heard.push(header("Key")));
    const whenHeard = (keys: readonly string[]) => vi.waitFor(() => expect(heard).toEqual([...keys, ""]));
    return { whenHeard, stop: () => listening.stop() };
  };

  test("is heard once, and not after what was published later", async () => {
    const { nc, pushes } = await record(["1", "2", "3"]);
    const [first, second, third] = pushes;
    const listener = await connectTo(cluster.urls[1]);
    const before = hear(listener);
    await whenListening(listener, inTime());
    publish(nc, [second, first, second, third, third, undefined]);
    await before.whenHeard(["2", "3"]);
    before.stop();
    const after = hear(listener);
    await whenListening(listener, inTime());
    publish(nc, [third, undefined]);
    await after.whenHeard([]);
  });

  test("is numbered together with what is told later", async () => {
    const publisher = await connectTo(cluster.urls[0]);
    const { got } = await eavesdrop(cluster.urls[0], subject);
    tellLater(publisher, subject, Buffer.from("2"));
    tellLater(publisher, subject, new Uint8Array(publisher.nc.info?.max_payload ?? 0));
    tellLater(publisher, subject, Buffer.from("3"));
    await push(publisher, subject, Buffer.from("1"), inTime());
    await vi.waitFor(() => expect(got).toHaveLength(3));
    const numbers = got.map(({ headers }) => headers?.get("Mustreach-Number").split(".") ?? []);
    expect(got.map((msg) => msg.string())).toEqual(["1", "2", "3"]);
    expect(numbers.map(([, number]) => number)).toEqual(["1", "2", "3"]);
    expect(new Set(numbers.map(([publisher]) => publisher)).size).toBe(1);
  });

  test("is numbered by each publisher for itself; of 1,000 at most it is known what was heard", async () => {
    const { pushes: one } = await record(["1", "2"]);
    const { nc, pushes: other } = await record(["a"]);
    const listener = await connectTo(cluster.urls[1]);
    const { whenHeard } = hear(listener);
    await whenListening(listener, inTime());
    publish(nc, [...one, ...other, ...other, ...one]);
    const further = Array.from({ length: 999 }, (_, i) => `further-${i}`);
    for (const publisher of further) {
      const block = headers();
      block.set("Mustreach-Number", `${publisher}.1`);
      block.set("Key", publisher);
      nc.publish(subject, "", { headers: block });
    }
    publish(nc, [...other, ...one, undefined]);
    await whenHeard(["1", "2", "a", ...further, "1", "2"]);
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
