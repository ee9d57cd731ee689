import type { ConsumerConfig } from "@nats-io/jetstream";
import { createInbox, type Msg, nanos } from "@nats-io/transport-node";
import type { BaseLogger } from "pino";
import type { Broker } from "./connect.ts";
import { declareConsumer } from "./declare-consumer.ts";
import { nextMessageSubject, parseDelivery } from "./subjects.ts";

/** A message that a durable consumer has delivered to this instance. It is held until the first ack or nak. */
export interface Delivery {
  readonly subject: string;
  readonly payload: Uint8Array;
  /** Its place in the stream. */
  readonly sequence: number;
  /** When it was stored, in epoch milliseconds of the broker's clock. */
  readonly storedAtMs: number;
  /** How often it has been delivered, from 1. */
  readonly count: number;
  /** The value of a header, or "". */
  header(name: string): string;
  /** It is done. Nobody waits for the broker's confirmation: if this is lost, it is delivered again. */
  ack(): void;
  /** It is to be delivered again, to whichever instance asks, in `delayMs` milliseconds. */
  nak(delayMs: number): void;
}

/** Options of {@link startPull}. */
export interface PullOptions {
  readonly stream: string;
  /** The durable consumer, which is created or brought up to date. */
  readonly consumer: Partial<ConsumerConfig> & { readonly durable_name: string };
  /** At most about this many deliveries are held here at a time. */
  readonly maxHeld: number;
  /** Must not throw, but for a message that cannot be read: that one is given up. */
  readonly onDelivery: (delivery: Delivery) => void;
  readonly log: BaseLogger;
}

/** The pulling of one durable consumer, which goes on over restarts and leader changes of the broker. */
export interface Pull {
  /** Takes no more deliveries. What is held can still be acked. */
  pause(): Promise<void>;
  /** Pauses, and gives back what is still held: another instance gets it at once. */
  stop(): Promise<void>;
}

/** The life of one request for messages, in milliseconds; the next one follows. */
const requestMs = 30_000;

/** How often the broker shows that a request is still known, in milliseconds. */
const heartbeatMs = 4_000;

/** Pause before a consumer that has no leader, or is not there, is asked again, in milliseconds. */
const retryMs = 250;

/** How long a pause may wait for a broker that does not answer, in milliseconds. */
const pauseTimeoutMs = 1_000;

const ackBytes = Buffer.from("+ACK");

/**
 * Pulls from a durable consumer, which it creates or brings up to date.
 *
 * There is one request for messages at a time, and never for more than there is room. The client library's own
 * `consume` notices only after half a minute that a restarted broker has forgotten its request.
 *
 * @throws when the broker refuses the consumer or does not answer.
 */
export async function startPull(broker: Broker, options: PullOptions): Promise<Pull> {
  const { stream, maxHeld, onDelivery, log } = options;
  const consumer = options.consumer.durable_name;
  const inbox = createInbox();
  const held = new Set<Delivery>();
  /** The number of the current request; answers to earlier ones are ignored. */
  let request = 0;
  /** How many messages the current request may still bring. */
  let awaited = 0;
  let isPaused = false;
  let retry: NodeJS.Timeout | undefined;
  let silence: NodeJS.Timeout | undefined;

  const ask = () => {
    retry = undefined;
    const batch = maxHeld - held.size;
    if (isPaused || awaited > 0 || batch <= 0 || !broker.isConnected() || broker.nc.isClosed()) return;
    awaited = batch;
    request++;
    const body = { batch, expires: nanos(requestMs), idle_heartbeat: nanos(heartbeatMs) };
    broker.nc.publish(nextMessageSubject(stream, consumer), JSON.stringify(body), { reply: `${inbox}.${request}` });
    watch();
  };
  // Not at once: many that are settled together make room for one request.
  const askIn = (delayMs: number) => {
    if (!isPaused) retry ??= setTimeout(ask, delayMs);
  };
  const askAnew = (delayMs: number) => {
    awaited = 0;
    clearTimeout(silence);
    askIn(delayMs);
  };
  /** Waits for the next sign of life of the current request. */
  const watch = () => {
    clearTimeout(silence);
    silence = setTimeout(() => askAnew(0), heartbeatMs * 2.5);
  };

  const declareAgain = async () => {
    await declareConsumer(broker, stream, options.consumer).catch((err: unknown) =>
      log.warn({ err, stream, consumer }, "cannot find the consumer; trying again"),
    );
    askAnew(retryMs);
  };

  const onStatus = (code: number, description: string) => {
    if (code === 100) watch();
    // Its time is up, or nothing is left of its batch.
    else if (code === 404 || code === 408 || /batch completed/i.test(description)) askAnew(0);
    // 503: nobody listens for requests, since the consumer has no leader or is not there.
    else if (code === 503 || /consumer deleted/i.test(description)) void declareAgain();
    else askAnew(retryMs);
  };

  const onMessage = (msg: Msg) => {
    awaited = Math.max(0, awaited - 1);
    const delivery = toDelivery(msg, () => {
      held.delete(delivery);
      if (awaited === 0) askIn(0);
    });
    held.add(delivery);
    if (isPaused) return delivery.nak(0);
    if (awaited === 0) askAnew(0);
    else watch();
    try {
      onDelivery(delivery);
    } catch (err) {
      log.error({ err, stream, consumer, sequence: delivery.sequence }, "a message cannot be read: giving it up");
      delivery.ack();
    }
  };

  await declareConsumer(broker, stream, options.consumer);
  const subscription = broker.nc.subscribe(`${inbox}.*`, {
    callback(error, msg) {
      if (error !== null) return;
      // Deliveries come with the subject that they are stored under.
      if (!msg.subject.startsWith(inbox)) onMessage(msg);
      else if (msg.subject === `${inbox}.${request}`) onStatus(msg.headers?.code ?? 0, msg.headers?.description ?? "");
    },
  });
  const forgetReconnects = broker.onReconnect(() => askAnew(0));
  ask();

  const pause = async () => {
    if (isPaused) return;
    isPaused = true;
    forgetReconnects();
    clearTimeout(retry);
    clearTimeout(silence);
    // What is on its way arrives before the drain ends, and goes back.
    const drained = broker.isConnected() ? subscription.drain() : subscription.unsubscribe();
    await Promise.race([drained, new Promise((resolve) => setTimeout(resolve, pauseTimeoutMs).unref())]);
  };

  return {
    pause,
    async stop() {
      await pause();
      for (const delivery of held) delivery.nak(0);
    },
  };
}

function toDelivery(msg: Msg, onSettle: () => void): Delivery {
  let isSettled = false;
  const settle = (answer: string | Uint8Array) => {
    if (isSettled) return;
    isSettled = true;
    msg.respond(answer);
    onSettle();
  };
  return {
    subject: msg.subject,
    payload: msg.data,
    ...parseDelivery(msg.reply ?? ""),
    header: (name) => msg.headers?.get(name) ?? "",
    ack: () => settle(ackBytes),
    nak: (delayMs) => settle(delayMs > 0 ? `-NAK ${JSON.stringify({ delay: nanos(Math.ceil(delayMs)) })}` : "-NAK"),
  };
}
