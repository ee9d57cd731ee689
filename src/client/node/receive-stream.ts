import { connect } from "node:http2";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport, type GrpcTransportOptions } from "@connectrpc/connect-node";
import {
  DeliveryService,
  type ReceiveRequest,
  ReceiveRequestSchema,
} from "../../gen/mustreach/delivery/v1/delivery_pb.ts";
import type { CallOptions, Subscription } from "../wire/delivery.ts";
import { createGrowingWindow } from "../wire/growing-window.ts";
import type { ReceiveStream } from "../wire/stream-receiving.ts";

/**
 * Opens a Receive stream over gRPC, on an HTTP/2 connection of its own: what follows a stream that has died is not to
 * wait for a connection that has.
 */
export function openReceiveStream(
  baseUrl: string,
  request: Subscription,
  { token, signal }: CallOptions,
): ReceiveStream {
  const connection = openConnection(baseUrl);
  const service = createClient(DeliveryService, createGrpcTransport({ baseUrl, sessionManager: connection }));
  const requests = createQueue<ReceiveRequest>();
  const say = (said: NonNullable<MessageInitShape<typeof ReceiveRequestSchema>["request"]>) =>
    requests.put(create(ReceiveRequestSchema, { request: said }));
  say({ case: "subscribe", value: request });
  const events = service.receive(requests, { headers: { token }, signal })[Symbol.asyncIterator]();
  const window = request.window
    ? undefined
    : createGrowingWindow((to) => say({ case: "changeWindow", value: { window: to } }));

  return {
    async next() {
      const next = await events.next();
      if (next.done !== true) window?.came(next.value);
      return next;
    },
    acknowledge({ sequence, epoch }) {
      say({ case: "acknowledge", value: { sequence, epoch } });
      window?.acknowledged(sequence);
    },
    acknowledged: (sequence) => window?.acknowledged(sequence),
    pause() {
      say({ case: "pause", value: { isPaused: true } });
    },
    close: connection.close,
  };
}

/** How much may be on its way here, in bytes: HTTP/2's own 65,535 would be little for a round trip to far away. */
const maxUnreadBytes = 1024 * 1024;

/** What a transport of Connect makes its requests on. */
type Connection = NonNullable<GrpcTransportOptions["sessionManager"]>;

/** Connects. What goes wrong is told to the requests. */
function openConnection(baseUrl: string): Connection & { close(): void } {
  const { origin } = new URL(baseUrl);
  const connection = connect(origin, { settings: { initialWindowSize: maxUnreadBytes } });
  connection.once("connect", () => {
    if (!connection.destroyed) connection.setLocalWindowSize(maxUnreadBytes);
  });
  // Without a listener it would end the process, also that of a connection which nobody uses any more.
  connection.on("error", () => {});
  return {
    authority: origin,
    request: async (method, path, headers, options) =>
      connection.request({ ...headers, ":method": method, ":path": path }, options),
    notifyResponseByteRead() {},
    close() {
      connection.destroy();
    },
  };
}

/** What is put in comes out, once. */
function createQueue<T>(): AsyncIterable<T> & { put(item: T): void } {
  const waiting: T[] = [];
  let wake = () => {};
  return {
    put(item) {
      waiting.push(item);
      wake();
    },
    async *[Symbol.asyncIterator]() {
      for (;;) {
        for (let item = waiting.shift(); item !== undefined; item = waiting.shift()) yield item;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
  };
}
