import { createInbox, type Msg } from "@nats-io/transport-node";
import { failure } from "../errors.ts";
import type { Broker } from "./connect.ts";
import { toFailure } from "./faults.ts";
import { createLimit } from "./limit.ts";
import { directGetSubject } from "./subjects.ts";

/** A request of the direct get API (ADR-31): one message, or many in one round trip. */
export interface DirectGetRequest {
  /** Start at this stream sequence. */
  readonly seq?: number;
  /** The last message of each subject that matches one of these; at most 1,024 subjects may match. */
  readonly multi_last?: readonly string[];
  /** The messages that match this, in order. */
  readonly next_by_subj?: string;
  /** The last message that matches this. */
  readonly last_by_subj?: string;
  /** At most this many messages; required with next_by_subj for more than one. */
  readonly batch?: number;
  /** Stop after the message that reaches this many bytes. Default for more than one message: 4 MiB. */
  readonly max_bytes?: number;
}

/** The answer to a {@link DirectGetRequest}. */
export interface DirectGetResponse {
  readonly messages: readonly DirectMessage[];
  /** How many more match. */
  readonly pending: number;
  /** With multi_last: the last sequence of the stream at the time of the read. */
  readonly upToSequence: number | undefined;
}

/** A stored message. */
export interface DirectMessage {
  readonly subject: string;
  readonly sequence: number;
  readonly payload: Uint8Array;
  /** When it was stored, in epoch milliseconds. */
  readonly timeMs: number;
  /** The value of a header, or "". */
  header(name: string): string;
}

/** More subjects match than multi_last answers. */
export const tooManyResults = Symbol("too many results");

/** Reads stored messages. */
export interface DirectGet {
  /**
   * @throws NetworkError (90004) when the broker does not answer in time.
   */
  (stream: string, request: DirectGetRequest): Promise<DirectGetResponse | typeof tooManyResults>;
  /** Stops; pending reads fail. */
  close(): void;
}

/** Reads that the broker is asked at a time; more wait here. */
const maxInFlight = 64;

/**
 * What the answers to these add up to, in bytes. A broker gives up a connection for which it holds 64 MiB, its
 * max_pending: all reads, and whatever else is on the connection, would fail together.
 */
const maxInFlightBytes = 33_554_432;

/** A batch ends with the message that reaches this size, in bytes. */
const maxBatchBytes = 4_194_304;

/** What a single message is taken to weigh, in bytes: notifications are rarely larger, and records never. */
const singleBytes = 65_536;

interface Pending {
  readonly batched: boolean;
  readonly messages: DirectMessage[];
  resolve(response: DirectGetResponse | typeof tooManyResults): void;
  reject(error: unknown): void;
  timer: NodeJS.Timeout;
}

/**
 * Creates a reader over one shared reply subscription: measured at 52 µs of CPU per live read against 88 µs for the
 * client library's own call, which subscribes for each.
 */
export function createDirectGet(broker: Broker, options: { readonly timeoutMs: number }): DirectGet {
  const prefix = createInbox();
  const pending = new Map<string, Pending>();
  let next = 0;

  const finish = (token: string): Pending | undefined => {
    const read = pending.get(token);
    if (read === undefined) return undefined;
    clearTimeout(read.timer);
    pending.delete(token);
    return read;
  };

  const subscription = broker.nc.subscribe(`${prefix}.*`, {
    callback(error, msg) {
      if (error !== null) return;
      const token = msg.subject.slice(prefix.length + 1);
      const read = pending.get(token);
      if (read === undefined) return;
      const status = msg.headers?.code ?? 0;
      if (status === 0) {
        read.messages.push(toDirectMessage(msg));
        if (!read.batched) finish(token)?.resolve({ messages: read.messages, pending: 0, upToSequence: undefined });
        return;
      }
      finish(token);
      // 204 is the end of a batch, 404 an empty result. ADR-31.
      if (status === 204 || status === 404) {
        const upTo = msg.headers?.get("Nats-UpTo-Sequence");
        read.resolve({
          messages: read.messages,
          pending: Number(msg.headers?.get("Nats-Num-Pending") || 0),
          upToSequence: upTo ? Number(upTo) : undefined,
        });
      } else if (status === 413) {
        read.resolve(tooManyResults);
      } else {
        const description = msg.headers?.description ?? "";
        // 503: nobody serves the stream at the moment.
        const name = status === 503 ? "NetworkError" : "BrokerRefusedError";
        read.reject(failure(name, `the broker cannot read the store: ${status} ${description}`.trim()));
      }
    },
  });

  const limit = createLimit({ maxInFlight, maxWeight: maxInFlightBytes });

  const get = (stream: string, request: DirectGetRequest) => {
    const batched = request.multi_last !== undefined || request.batch !== undefined;
    const bounded = batched ? { max_bytes: maxBatchBytes, ...request } : request;
    const token = String(++next);
    const deadlineMs = Date.now() + options.timeoutMs;
    const answer = new Promise<DirectGetResponse | typeof tooManyResults>((resolve, reject) => {
      // From now on: what waits for its turn has no more time than what is under way.
      const timer = setTimeout(() => {
        pending.delete(token);
        reject(failure("NetworkError", "the broker did not answer a read in time"));
      }, options.timeoutMs);
      pending.set(token, { batched, messages: [], resolve, reject, timer });
    });
    const ask = async () => {
      if (!pending.has(token) || Date.now() >= deadlineMs) return;
      try {
        broker.nc.publish(directGetSubject(stream), JSON.stringify(bounded), { reply: `${prefix}.${token}` });
      } catch (cause) {
        finish(token)?.reject(toFailure(cause));
      }
      await answer.catch(() => {}); // Who asked hears of it.
    };
    void limit(bounded.max_bytes ?? singleBytes, ask);
    return answer;
  };

  const failAll = (name: "NetworkError" | "ServerStoppingError", errDlt: string) => {
    for (const token of [...pending.keys()]) finish(token)?.reject(failure(name, errDlt));
  };
  const stopListening = broker.onDisconnect(() => failAll("NetworkError", "the connection to the broker was lost"));

  return Object.assign(get, {
    close() {
      stopListening();
      subscription.unsubscribe();
      failAll("ServerStoppingError", "the server is stopping");
    },
  });
}

function toDirectMessage(msg: Msg): DirectMessage {
  return {
    subject: msg.headers?.get("Nats-Subject") ?? "",
    sequence: Number(msg.headers?.get("Nats-Sequence")),
    payload: msg.data,
    timeMs: Date.parse(msg.headers?.get("Nats-Time-Stamp") ?? ""),
    header: (name) => msg.headers?.get(name) ?? "",
  };
}
