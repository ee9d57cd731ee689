import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import { createConnectCalls } from "../../client/connect/calls.ts";
import { openReceiveStream } from "../../client/node/receive-stream.ts";
import { createFetchCalls } from "../../client/web/fetch-calls.ts";
import { openSocketStream } from "../../client/web/socket-stream.ts";
import type { Cursor } from "../../client/wire/cursor.ts";
import type { CallOptions, Calls, Subscription } from "../../client/wire/delivery.ts";
import type { SessionEvent } from "../../client/wire/event.ts";
import type { ReceiveStream } from "../../client/wire/stream-receiving.ts";
import { openEventSource } from "./event-source.ts";
import { perAddress } from "./per-address.ts";

/** A session of a device. It ends with the signal that it was opened with. */
export interface DoorSession {
  /** The next event; undefined at the end. Throws what the session ended with. */
  next(): Promise<SessionEvent | undefined>;
  /** Says that everything up to a place has been handled. Where the door answers that, it rejects when it was refused. */
  acknowledge(cursor: Cursor): Promise<void>;
}

/** A way to receive. */
export interface ReceiveDoor {
  readonly name: string;
  /** Whether a device begins after what it has on its own record, or after what the service has of it. */
  readonly record: "always" | "sometimes" | "never";
  /** Whether an acknowledgement is answered: then it has been taken. */
  readonly isAckAnswered: boolean;
  open(baseUrl: string, request: Subscription, options: CallOptions): DoorSession;
}

/** An acknowledgement that is a call gets this long, in milliseconds. */
const ackTimeoutMs = 5_000;

const byMessage = { record: "sometimes", isAckAnswered: false } as const;
const byCall = { record: "sometimes", isAckAnswered: true } as const;

/** Every way to receive that has our own protocol. */
export const receiveDoors: readonly ReceiveDoor[] = [
  { name: "Receive", ...byMessage, open: byStream(openReceiveStream) },
  { name: "WebSocket", ...byMessage, open: byStream(openSocketStream) },
  {
    name: "SSE",
    ...byCall,
    open(baseUrl, request, options) {
      const events = openEventSource(baseUrl, request, options);
      return { next: () => nextOf(events), acknowledge: acknowledgeBy(createFetchCalls(baseUrl), request, options) };
    },
  },
  {
    name: "Subscribe by gRPC",
    ...byCall,
    open: byCalls((baseUrl) => createConnectCalls(createGrpcTransport({ baseUrl }))),
  },
  {
    name: "Subscribe by Connect",
    ...byCall,
    open: byCalls((baseUrl) => createConnectCalls(createConnectTransport({ baseUrl, httpVersion: "1.1" }))),
  },
  {
    name: "Subscribe by gRPC-Web",
    ...byCall,
    open: byCalls((baseUrl) => createConnectCalls(createGrpcWebTransport({ baseUrl, httpVersion: "1.1" }))),
  },
  { name: "Subscribe by fetch", ...byCall, open: byCalls(createFetchCalls) },
];

/** Acknowledges on the stream. */
function byStream(open: (baseUrl: string, request: Subscription, options: CallOptions) => ReceiveStream) {
  return (baseUrl: string, request: Subscription, options: CallOptions): DoorSession => {
    const stream = open(baseUrl, request, options);
    options.signal.addEventListener("abort", stream.close, { once: true });
    return {
      async next() {
        const { done, value } = await stream.next();
        return done === true ? undefined : value.event;
      },
      acknowledge: async (cursor) => stream.acknowledge(cursor),
    };
  };
}

/** Acknowledges by calls. */
function byCalls(connect: (baseUrl: string) => Calls): ReceiveDoor["open"] {
  const callsAt = perAddress(connect);
  return (baseUrl, request, options) => {
    const calls = callsAt(baseUrl);
    const events = calls.subscribe(request, options)[Symbol.asyncIterator]();
    return { next: () => nextOf(events), acknowledge: acknowledgeBy(calls, request, options) };
  };
}

async function nextOf(events: AsyncIterator<{ readonly event: SessionEvent }>): Promise<SessionEvent | undefined> {
  const { done, value } = await events.next();
  return done === true ? undefined : value.event;
}

function acknowledgeBy({ ack }: Pick<Calls, "ack">, { deviceId }: Subscription, { token, signal }: CallOptions) {
  return async (cursor: Cursor) => {
    const timeout = AbortSignal.timeout(ackTimeoutMs);
    await ack({ deviceId, ...cursor }, { token, signal: AbortSignal.any([signal, timeout]) });
  };
}
