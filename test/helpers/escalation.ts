import { createServer, type IncomingHttpHeaders } from "node:http";
import { create } from "@bufbuild/protobuf";
import { pino } from "pino";
import { Webhook } from "standardwebhooks";
import { afterEach } from "vitest";
import { connectBroker } from "../../src/broker/connect.ts";
import { declare } from "../../src/broker/declare.ts";
import { createDirectGet } from "../../src/broker/reads/create-direct-get.ts";
import { createCursors } from "../../src/cursors/cursors.ts";
import { cursorSpec } from "../../src/cursors/layout.ts";
import { NotificationSchema } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { createInbox } from "../../src/inbox/inbox.ts";
import type { WriteOptions } from "../../src/inbox/items.ts";
import { inboxSpecs } from "../../src/inbox/layout.ts";
import { createLive } from "../../src/live/signals.ts";
import { createPublisher } from "../../src/publishing/publish.ts";
import { createDeadLetters } from "../../src/reaching/dead-letters.ts";
import { type EscalateOptions, startEscalate } from "../../src/reaching/escalate.ts";
import { createEscalations } from "../../src/reaching/escalations.ts";
import { createLaterLooks } from "../../src/reaching/later-looks.ts";
import { reachingSpecs } from "../../src/reaching/layout.ts";
import { type ReplayRequest, replay } from "../../src/reaching/replay.ts";
import { type ReachOptions, startReach } from "../../src/reaching/watch.ts";
import { consumeReach, type ReachConsumerOptions } from "../../src/reaching/watched.ts";
import type { WebhookBody } from "../../src/reaching/webhook-body.ts";
import { createTombstones } from "../../src/recalling/tombstones.ts";
import { createWebhook } from "../../src/webhook/post.ts";
import type { TestBroker } from "./broker.ts";
import { openEpochs } from "./epochs.ts";
import { listen } from "./listen.ts";

const log = pino({ level: "silent" });
const partitions = 2;
const retentionMs = 3_600_000;
/** What the webhooks of tests are signed with. */
export const webhookSecret = `whsec_${Buffer.from("a webhook's secret of 31 bytes!").toString("base64")}`;
const keys = [Buffer.from(webhookSecret.slice("whsec_".length), "base64")];

/** What an instance of the service has for reach and escalation, as `server.ts` puts it together. */
export async function openInstance({ url, dial }: Pick<TestBroker, "url" | "dial">) {
  const broker = await connectBroker({ servers: [url], dial, requestTimeoutMs: 2_000, log });
  const specs = [
    ...inboxSpecs({ partitions, retentionMs, maxStoreBytes: 100_000_000 }),
    cursorSpec(retentionMs),
    ...reachingSpecs({ retentionMs, maxStoreBytes: 50_000_000 }),
  ];
  await declare(broker, specs, 1);
  const publisher = createPublisher(broker, { sendTimeoutMs: 5_000, isFsynced: () => true });
  const get = createDirectGet(broker, { timeoutMs: 2_000 });
  const inbox = createInbox(broker, publisher, get, partitions, openEpochs(broker, partitions));
  const live = createLive(broker, { partitions, timeoutMs: 5_000 });
  const cursors = createCursors(broker, get, { coalesceMs: 20, log });
  const escalations = createEscalations(broker, publisher, get, { retentionMs, ackWaitMs: 5_000, log });
  const laterLooks = createLaterLooks(broker, publisher, { ackWaitMs: 5_000, log });
  const deadLetters = createDeadLetters(broker, publisher, get);
  const desk = {
    list: deadLetters.list,
    replay: (request: ReplayRequest) => replay({ deadLetters, escalations }, request),
  };
  const stops: (() => Promise<void>)[] = [];

  return {
    broker,
    inbox,
    live,
    cursors,
    escalations,
    deadLetters,
    laterLooks,
    tombstones: createTombstones(publisher, get, partitions),
    desk,

    /** Starts the watch, without a webhook unless `escalate` is given; looks come after 100 ms. */
    async startReach(
      options: Partial<ReachOptions> &
        Partial<Pick<ReachConsumerOptions, "ackWaitMs" | "maxAckPending" | "maxHeld">> = {},
    ) {
      const { ackWaitMs = 10_000, maxAckPending = 50_000, maxHeld = 512, ...rest } = options;
      const reach = await startReach({
        consume: (onEntry) =>
          consumeReach(broker, { partitions, ackWaitMs, maxAckPending, maxHeld, laterLooks, onEntry, log }),
        later: laterLooks.add,
        cursors,
        wake: live.publishWake,
        wakeDelayMs: 100,
        escalationDelayMs: 300,
        comeBackMs: 0,
        gatherMs: 10,
        log,
        ...rest,
      });
      stops.push(reach.stop);
      return reach;
    },

    /** Starts the worker for a webhook; pauses between attempts are at most 20 ms. */
    async startEscalate(webhookUrl: string, options: Partial<EscalateOptions> & { readonly timeoutMs?: number } = {}) {
      const { timeoutMs = 5_000, ...rest } = options;
      const escalate = await startEscalate({
        escalations,
        deadLetters,
        cursors,
        webhook: createWebhook({ url: webhookUrl, keys, timeoutMs }),
        minDelayMs: 20,
        maxDelayMs: 20,
        stopMs: 100,
        log,
        ...rest,
      });
      stops.push(escalate.stop);
      return escalate;
    },

    /** Stores a must-reach notification, and returns its sequence. */
    async send(userId: string, data: string, options: Omit<WriteOptions, "operationId"> = {}) {
      const notification = create(NotificationSchema, {
        serverMsgId: `server id of ${data}`,
        clientMsgId: `id of ${data}`,
        sendTime: BigInt(Date.now()),
        sendUserId: "system",
        recvUserId: userId,
        key: "test",
        data,
        reliabilityLevel: 2,
      });
      await inbox.write(userId, { kind: "notification", notification }, { operationId: "test", ...options });
      return inbox.newestSequence(userId);
    },

    /** Acknowledges with a device, and stores its cursor. */
    async acknowledge(userId: string, sequence: number, deviceId = "phone") {
      cursors.advance(userId, deviceId, sequence);
      await cursors.flush(userId, deviceId);
    },

    /** How many messages the durable consumers of these streams hold or have not got yet, and how many deliveries. */
    async consumed(consumer: "reach" | "look" | "escalate") {
      const streams = { reach: ["INBOX_0", "INBOX_1"], look: ["LATER_LOOKS"], escalate: ["ESCALATIONS"] }[consumer];
      const infos = await Promise.all(streams.map((stream) => broker.jsm.consumers.info(stream, consumer)));
      const sum = (pick: (info: (typeof infos)[number]) => number) => infos.reduce((total, i) => total + pick(i), 0);
      return {
        pending: sum((info) => info.num_pending + info.num_ack_pending),
        deliveries: sum((info) => info.delivered.consumer_seq),
      };
    },

    async close() {
      for (const stop of stops) await stop();
      await cursors.close();
      get.close();
      await broker.close();
    },
  };
}

export type TestInstance = Awaited<ReturnType<typeof openInstance>>;

/** Gives the tests of a file instances on a broker; after each test they are closed, and the broker is emptied. */
export function useInstances(server: TestBroker): () => Promise<TestInstance> {
  const open: TestInstance[] = [];
  afterEach(async () => {
    for (const instance of open.splice(0)) await instance.close();
    const sweeper = await connectBroker({
      servers: [server.url],
      dial: server.dial,
      requestTimeoutMs: 5_000,
      log,
    });
    for await (const name of sweeper.jsm.streams.names()) await sweeper.jsm.streams.delete(name);
    await sweeper.close();
  });
  return async () => {
    const instance = await openInstance(server);
    open.push(instance);
    return instance;
  };
}

/** A request that a receiver got. */
export interface Received {
  readonly headers: IncomingHttpHeaders;
  /** As it was sent. */
  readonly text: string;
  readonly body: WebhookBody;
  readonly atMs: number;
}

/** How a receiver answers. */
export interface ReceiverAnswer {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly text?: string;
}

/** A webhook of a test: a real server that answers as it is told, 200 by default. */
export interface Receiver {
  readonly url: string;
  /** What requests to it are signed with: {@link webhookSecret}. */
  readonly keys: readonly Uint8Array[];
  readonly received: readonly Received[];
  /** How the next requests are answered. */
  answer: (request: Received) => ReceiverAnswer | Promise<ReceiverAnswer>;
}

/**
 * Whether a request is genuine, as receivers find out.
 *
 * @throws WebhookVerificationError when it is not.
 */
export function verify({ text, headers }: Pick<Received, "text" | "headers">, secret = webhookSecret): unknown {
  const signed = ["webhook-id", "webhook-timestamp", "webhook-signature"].map((name) => [name, String(headers[name])]);
  return new Webhook(secret).verify(text, Object.fromEntries(signed));
}

/** Gives the tests of a file receivers, which are closed after each test. */
export function useReceivers(): (answer?: Receiver["answer"]) => Promise<Receiver> {
  const closers: (() => void)[] = [];
  afterEach(() => {
    for (const close of closers.splice(0)) close();
  });
  return async (answer = () => ({})) => {
    const received: Received[] = [];
    const server = createServer(async (request, response) => {
      const atMs = Date.now();
      let text = "";
      for await (const chunk of request.setEncoding("utf8")) text += chunk;
      const one = { headers: request.headers, text, body: JSON.parse(text), atMs };
      received.push(one);
      const { status = 200, headers = {}, text: reply = "" } = await receiver.answer(one);
      response.writeHead(status, headers).end(reply);
    });
    const port = await listen(server);
    closers.push(() => {
      server.closeAllConnections();
      server.close();
    });
    const receiver: Receiver = { url: `http://127.0.0.1:${port}/hook`, keys, received, answer };
    return receiver;
  };
}
