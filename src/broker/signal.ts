import { randomBytes } from "node:crypto";
import { headers, type Msg, type MsgHdrs } from "@nats-io/transport-node";
import type { Deadline } from "../deadline.ts";
import { readHeaders } from "../decode-stored.ts";
import { atEndOfTurn } from "../end-of-turn.ts";
import type { Broker } from "./connect.ts";
import { toFailure } from "./faults.ts";
import { type Message, sendMessages } from "./messages.ts";
import { untilAnswered } from "./until.ts";

/** A message to whoever listens at the moment; nothing of it is stored or acknowledged. */
export interface Signal {
  readonly subject: string;
  readonly payload: Uint8Array;
  /** Where an answer is expected. */
  readonly reply?: string | undefined;
  /** The value of a header, or "". */
  header(name: string): string;
}

/**
 * Tells whoever listens. It may be lost, and is while there is no connection.
 *
 * @param reply where an answer is expected. When nobody listens, the broker sends one there, without a body.
 */
export function tell(broker: Broker, subject: string, payload?: string, reply?: string): void {
  if (!broker.nc.isClosed()) broker.nc.publish(subject, payload, reply === undefined ? undefined : { reply });
}

const later = new Map<Broker, Message[]>();

/** What a number takes with its header, in bytes, at most. */
const maxHeadBytes = 128;

/**
 * Tells whoever listens, when everything else that this turn of the event loop has to say is said. It may be lost, and is
 * while there is no connection, and when it is larger than the broker takes. It is numbered as what is {@link push}ed.
 */
export function tellLater(broker: Broker, subject: string, payload: Uint8Array): void {
  const message = { subject, payload, headers: "" };
  const waiting = later.get(broker);
  if (waiting !== undefined) return void waiting.push(message);
  later.set(broker, [message]);
  // What is written at the end of this turn comes before the second.
  atEndOfTurn(() => atEndOfTurn(() => tellAll(broker)));
}

function tellAll(broker: Broker): void {
  const { nc } = broker;
  const isNumbered = isInCluster(nc);
  const maxBytes = (nc.info?.max_payload ?? 0) - (isNumbered ? maxHeadBytes : 0);
  const messages = later.get(broker)?.filter(({ payload }) => payload.length <= maxBytes) ?? [];
  later.delete(broker);
  if (messages.length === 0 || !broker.isConnected() || nc.isDraining() || nc.isClosed()) return;
  const number = () => `${numberHeader}: ${nextNumber(broker)}\r\n`;
  sendMessages(nc, isNumbered ? messages.map((message) => ({ ...message, headers: number() })) : messages);
}

/**
 * Tells whoever listens, once there is a connection; what is told in one turn of the event loop goes out in one write.
 * {@link listen} passes it on once, and not after what was pushed later over the same connection.
 *
 * @throws NetworkError (90004) when there is none at `deadline`, ArgsError (1001) for a payload
 * that is larger than the broker takes.
 */
export async function push(
  broker: Broker,
  subject: string,
  payload: Uint8Array,
  deadline: Deadline,
  values?: Readonly<Record<string, string>>,
): Promise<void> {
  await broker.whenConnected(deadline);
  await endOfTurn();
  const all = isInCluster(broker.nc) ? { ...values, [numberHeader]: nextNumber(broker) } : values;
  try {
    broker.nc.publish(subject, payload, all && { headers: toHeaders(all) });
  } catch (error) {
    throw toFailure(error);
  }
}

function toHeaders(values: Readonly<Record<string, string>>): MsgHdrs {
  const block = headers();
  for (const [name, value] of Object.entries(values)) block.set(name, value);
  return block;
}

/**
 * By whom a message was pushed, and its number among theirs, `<publisher>.<number>`. Where there are several servers, one
 * that is late to learn that a listener has moved to another may have that one get a message again, or after later ones.
 */
const numberHeader = "Mustreach-Number";

/** A server that is alone has neither other ways for a message nor, in what it tells of itself, this. */
function isInCluster({ info }: { readonly info?: { readonly cluster?: string | undefined } | undefined }): boolean {
  return info?.cluster !== undefined;
}

const pushed = new WeakMap<Broker, { readonly publisher: string; count: number }>();

function nextNumber(broker: Broker): string {
  const own = pushed.get(broker) ?? { publisher: randomBytes(9).toString("base64url"), count: 0 };
  pushed.set(broker, own);
  own.count++;
  return `${own.publisher}.${own.count}`;
}

/** Of how many publishers a connection knows what was heard last; the one that it has known longest makes room. */
const maxPublishers = 1_000;

/**
 * By connection and publisher, the last number that was heard: over all subjects, so that the order between them is kept,
 * too, and a subscription takes no more memory.
 */
const lastHeard = new WeakMap<Subscriptions, Map<string, number>>();

/** Whether a message is neither a copy of one that was heard, nor late; what has no number is news. */
function isNews(subscriptions: Subscriptions, number: string): boolean {
  if (number === "") return true;
  const end = number.indexOf(".");
  const publisher = number.slice(0, end);
  const count = Number(number.slice(end + 1));
  const last = lastHeard.get(subscriptions) ?? new Map<string, number>();
  lastHeard.set(subscriptions, last);
  if (count <= (last.get(publisher) ?? 0)) return false;
  last.set(publisher, count);
  if (last.size > maxPublishers) {
    const [longest = ""] = last.keys();
    last.delete(longest);
  }
  return true;
}

let turn: Promise<void> | undefined;

/** Resolves for all who wait in this turn of the event loop at once, in their order. */
function endOfTurn(): Promise<void> {
  turn ??= new Promise((resolve) => {
    atEndOfTurn(() => {
      turn = undefined;
      resolve();
    });
  });
  return turn;
}

/** The part of the client library's connection that knows its subscriptions. */
interface Subscriptions {
  /** What the server that it is connected to tells of itself. */
  readonly info?: { readonly cluster?: string | undefined };
  /** Gives it a number, and asks the broker, now and whenever there is another connection. */
  subscribe(subscription: Listening): void;
  unsubscribe(subscription: Listening): void;
}

/**
 * A subscription of an instance, of which there is one for each user. The client library's own has an iterator with its
 * promises besides, and is five times as large; this has what the library asks of one.
 */
class Listening {
  /** The number that the library gives it; its messages are found by it. */
  sid = 0;
  received = 0;
  readonly queue: undefined;
  readonly max: undefined;
  readonly subject: string;
  readonly #subscriptions: Subscriptions;
  readonly #onSignal: (signal: Signal) => void;
  #isStopped = false;

  constructor(subscriptions: Subscriptions, subject: string, onSignal: (signal: Signal) => void) {
    this.#subscriptions = subscriptions;
    this.subject = subject;
    this.#onSignal = onSignal;
    atEndOfTurn(() => {
      if (!this.#isStopped) this.#subscriptions.subscribe(this);
    });
  }

  /** Hears nothing more. */
  stop(): void {
    this.#isStopped = true;
    if (this.sid > 0) atEndOfTurn(() => this.#subscriptions.unsubscribe(this));
  }

  callback(error: Error | null, msg: Msg): void {
    if (error !== null || this.#isStopped) return;
    const header = readHeaders(msg);
    if (isInCluster(this.#subscriptions) && !isNews(this.#subscriptions, header(numberHeader))) return;
    this.#onSignal({ subject: msg.subject, payload: msg.data, reply: msg.reply, header });
  }

  /** Called when it, or the connection, has ended. */
  close(): void {}

  /** Called before the connection is closed; what is under way is then lost, as any signal may be. */
  async drain(): Promise<void> {}
}

/**
 * Listens, over reconnects as well, until it is stopped. The broker is asked at the end of this turn of the event loop,
 * before what {@link Broker.ask} asks from now on. In a cluster, of what is pushed to a subject one of its listeners on
 * this connection hears.
 */
export function listen(broker: Broker, subject: string, onSignal: (signal: Signal) => void): { stop(): void } {
  const { nc }: { readonly nc: Broker["nc"] & { readonly protocol?: Subscriptions } } = broker;
  if (nc.protocol === undefined) throw new TypeError("the client library keeps its subscriptions elsewhere");
  return new Listening(nc.protocol, subject, onSignal);
}

/**
 * Resolves when the broker knows who listens: nothing that is told from then on is missed.
 *
 * @throws NetworkError (90004) when it does not answer by `deadline`.
 */
export function whenListening(broker: Broker, deadline: Deadline): Promise<void> {
  return untilAnswered(broker, deadline, async () => {
    await endOfTurn();
    await broker.nc.flush();
  });
}
