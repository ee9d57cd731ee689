import { createInbox, type Msg, nanos } from "@nats-io/transport-node";
import type { BaseLogger } from "pino";
import { deadlineIn } from "../../deadline.ts";
import { readHeaders } from "../../decode-stored.ts";
import type { Broker } from "../connect.ts";
import { nextMessageSubject, parseDelivery } from "../subjects.ts";
import { until } from "../until.ts";
import { sayWaiting } from "../waiting-lines.ts";
import { type ConsumerSpec, declareConsumer } from "./declare.ts";

/** A message that a durable consumer has delivered to this instance. It is held until the first ack, nak or term. */
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
  /** As `ack`, confirmed. Rejects when the broker does not answer within 4 s: it is held then as before. */
  doubleAck(): Promise<void>;
  /** It is to be delivered again, to whichever instance asks, in `delayMs` milliseconds. */
  nak(delayMs: number): void;
  /** It is not to be delivered again. */
  term(): void;
  /** It is still being worked on: the ack wait begins anew. */
  working(): void;
}

/** What to consume, and how. */
export interface ConsumeOptions extends ConsumerSpec {
  /** At most about this many messages are held here at a time. */
  readonly maxHeld: number;
  /** Must not throw, but for a message that cannot be read: that one is given up. */
  readonly onDelivery: (delivery: Delivery) => void;
  readonly log: BaseLogger;
}

/** This instance's part in durable consumers, which goes on over restarts and leader changes of the broker. */
export interface Consumption {
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

/**
 * How long a consumer's stream may be without a leader when an instance starts, in milliseconds: a cluster waits up to 9 s
 * before it elects one, and may have to twice.
 */
const maxElectionMs = 30_000;

/** How long a pause may wait for a broker that does not answer, in milliseconds. */
const pauseTimeoutMs = 1_000;

/** How long the broker may be away, and again how long it may take, before an ack is not confirmed, in milliseconds. */
const doubleAckTimeoutMs = 2_000;

/**
 * Pulls from a durable consumer, which it creates or brings up to date.
 *
 * There is one request for messages at a time, and never for more than there is room. The client library's own
 * `consume` notices only after half a minute that a restarted broker has forgotten its request.
 *
 * @throws when the broker refuses the consumer or does not answer.
 */
export async function consume(broker: Broker, options: ConsumeOptions): Promise<Consumption> {
  const { stream, durable, maxHeld, onDelivery, log } = options;
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
    broker.nc.publish(nextMessageSubject(stream, durable), JSON.stringify(body), { reply: `${inbox}.${request}` });
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

  const sayLost = sayWaiting((err) => log.warn({ err, stream, durable }, "cannot find the consumer; trying again"));
  const declareAgain = async () => {
    await declareConsumer(broker, options).catch(sayLost);
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
    const delivery = toDelivery(broker, msg, () => {
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
      const { subject, sequence } = delivery;
      log.error({ err, stream, durable, subject, sequence }, "a message cannot be read: giving it up");
      delivery.term();
    }
  };

  await until(deadlineIn(maxElectionMs), () => declareConsumer(broker, options).then(() => true), sayLost);
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

/** Parts in several durable consumers as one. */
export function together(parts: readonly Consumption[]): Consumption {
  return {
    pause: async () => void (await Promise.all(parts.map((part) => part.pause()))),
    stop: async () => void (await Promise.all(parts.map((part) => part.stop()))),
  };
}

const positive = Buffer.from("+ACK");

function toDelivery(broker: Broker, msg: Msg, onSettle: () => void): Delivery {
  const reply = msg.reply ?? "";
  let isSettled = false;
  const settle = () => {
    if (isSettled) return;
    isSettled = true;
    onSettle();
  };
  const answer = (verb: string | Uint8Array) => {
    if (isSettled) return;
    msg.respond(verb);
    settle();
  };
  return {
    subject: msg.subject,
    payload: msg.data,
    ...parseDelivery(reply),
    header: readHeaders(msg),
    ack: () => answer(positive),
    async doubleAck() {
      await broker.whenConnected(deadlineIn(doubleAckTimeoutMs));
      await broker.nc.request(reply, "+ACK", { timeout: doubleAckTimeoutMs });
      settle();
    },
    nak: (delayMs) => answer(delayMs > 0 ? `-NAK ${JSON.stringify({ delay: nanos(Math.ceil(delayMs)) })}` : "-NAK"),
    term: () => answer("+TERM"),
    working: () => void (isSettled || msg.respond("+WPI")),
  };
}
