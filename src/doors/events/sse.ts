import type { ConnectError } from "@connectrpc/connect";
import type { Gate } from "../../auth/authenticate.ts";
import type { CallDeps, StreamMethod } from "../../calls/call.ts";
import { callerGone } from "../../calls/call-ends.ts";
import { CallContext } from "../../calls/context.ts";
import { corsFields } from "../../http/cors.ts";
import type { Target } from "../../http/target.ts";
import type { Exchange, Fields, Receiver } from "../../http2/exchange.ts";
import { peerOf } from "../../observe/peer.ts";
import { toErrorAnswer } from "./error-answer.ts";
import { EventCall } from "./event-call.ts";
import { encodeOnce, type JsonEvent } from "./event-json.ts";
import { readQuery, toEventId, toSubscribeRequest } from "./query.ts";

export interface SseOptions extends Pick<CallDeps, "callLog"> {
  /** DeliveryService.Subscribe. */
  readonly method: StreamMethod;
  /** Lets through who has a token in the headers, or a ticket in the query. */
  readonly gateOf: (ticket: string | undefined) => Gate;
}

/** Answers a request for server-sent events, and takes the rest of it; undefined when it is none. */
export type Sse = (exchange: Exchange, target: Target) => Receiver | undefined;

const path = "/events";

/** After which time an EventSource connects again by itself, in milliseconds: it does not tell a restart from a long one. */
const retryMs = 1_000;

const streamFields: Fields = [
  ...[":status", "200", ...corsFields],
  ...["content-type", "text/event-stream", "cache-control", "no-store"],
  // nginx would keep events back until it has a buffer full of them.
  ...["x-accel-buffering", "no"],
];

/** Creates the door of server-sent events (WHATWG HTML, 9.2): `GET /events` is DeliveryService.Subscribe. */
export function createSse(options: SseOptions): Sse {
  return (exchange, target) => {
    if (target.path !== path || exchange.headers[":method"] !== "GET") return undefined;
    const call = new SseCall(options, exchange, target);
    call.begin(target);
    return call;
  };
}

class SseCall extends EventCall implements Receiver {
  readonly #options: SseOptions;
  readonly #exchange: Exchange;
  #hasResponded = false;

  constructor(options: SseOptions, exchange: Exchange, { isHostBad }: Target) {
    const { headers } = exchange;
    const { method } = options.method;
    const peer = peerOf(exchange);
    super(
      options,
      new CallContext({ method, protocolName: "sse", url: `http://localhost${path}`, headers, peer, isHostBad }),
    );
    this.#options = options;
    this.#exchange = exchange;
  }

  begin(target: Target): void {
    const { method, gateOf } = this.#options;
    const query = readQuery(target);
    this.enter(gateOf(query.get("ticket")), () => {
      this.open(method, toSubscribeRequest(query, this.context.headers["last-event-id"]));
    });
  }

  write(frame: Uint8Array): boolean {
    if (this.isOver) return true;
    if (!this.#hasResponded) {
      this.#hasResponded = true;
      this.#exchange.respond([...streamFields, ...this.context.responseFields]);
    }
    return this.#exchange.write(encodeEvent(frame));
  }

  protected tellEnd(error: ConnectError | undefined): void {
    if (this.#hasResponded) {
      if (error !== undefined) this.#exchange.write(toBytes(`event: end\ndata: ${toErrorAnswer(error).json}\n\n`));
      this.#exchange.end();
    } else {
      this.#refuse(error ?? callerGone);
    }
  }

  #refuse(error: ConnectError): void {
    const { status, json, retryAfterMs } = toErrorAnswer(error);
    const body = toBytes(json);
    const fields = [":status", String(status), ...corsFields, ...this.context.responseFields];
    if (retryAfterMs !== undefined) fields.push("retry-after", String(Math.ceil(retryAfterMs / 1_000)));
    fields.push("content-type", "application/json", "content-length", String(body.length));
    this.#exchange.answer(fields, body);
  }

  onData(): void {}

  onEnd(): void {}

  onDrain(): void {
    this.source?.resume();
  }

  onClose(): void {
    this.stop(callerGone);
  }
}

const encodeEvent = encodeOnce((event) => toBytes(toEventText(event)));

/** An event with its name, what it says, and its place, by which the device continues when it connects again. */
function toEventText({ event, json }: JsonEvent): string {
  const text = `event: ${event.case}\ndata: ${json}\n\n`;
  switch (event.case) {
    case "ready":
      return `retry: ${retryMs}\nid: ${toEventId(event.value.epoch, event.value.resumeSequence)}\n${text}`;
    case "notification":
    case "recall":
      return event.value.sequence === 0n ? text : `id: ${toEventId(event.value.epoch, event.value.sequence)}\n${text}`;
    case "settled":
      // Of one that was sent, it would lead back.
      return event.value.wasSent ? text : `id: ${toEventId(event.value.epoch, event.value.sequence)}\n${text}`;
    case "message": {
      const { epoch = "", sequence = 0n } = event.value.notification ?? {};
      return sequence === 0n ? text : `id: ${toEventId(epoch, sequence)}\n${text}`;
    }
    case "gap":
      return `id: ${toEventId(event.value.epoch, event.value.to)}\n${text}`;
    case "reconnect":
      return `retry: ${event.value.afterMs}\n${text}`;
    case "heartbeat":
      // A comment, unless there is something to know.
      return event.value.droppedOnlinePushes > 0n || event.value.brokerAway ? text : ": heartbeat\n\n";
    default:
      return text;
  }
}

function toBytes(text: string): Uint8Array {
  return Buffer.from(text);
}
