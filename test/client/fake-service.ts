import { once } from "node:events";
import { createServer as createHttp1Server } from "node:http";
import { createServer as createHttp2Server } from "node:http2";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type { ConnectRouter, HandlerContext } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { onTestFinished, vi } from "vitest";
import { type ClientOptions, createClient, type MustreachClient } from "../../src/client/index.ts";
import { failure } from "../../src/errors.ts";
import {
  DeliveryService,
  type ReceiveRequest,
  type SubscribeRequest,
  type SubscribeResponse,
  SubscribeResponseSchema,
} from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import {
  MsgService,
  type SendBusinessNotificationRequest,
  type SendBusinessNotificationResponseSchema,
} from "../../src/gen/mustreach/msg/v1/msg_pb.ts";

type Event = NonNullable<MessageInitShape<typeof SubscribeResponseSchema>["event"]>;

/**
 * The ways of a client to a service: over HTTP/2 it receives and acknowledges in one stream, and where there is HTTP/1.1
 * only it subscribes, and acknowledges by calls.
 */
export const ways = ["Receive", "Subscribe"] as const;
export type Way = (typeof ways)[number];

/** One stream, as the service sees it; the test writes it. */
export interface FakeSession {
  readonly request: SubscribeRequest;
  /** As told with `ready`. */
  deviceId: string;
  readonly token: string | null;
  /** Sends `ready`. */
  ready(resumeSequence?: bigint, deviceId?: string): void;
  /** Sends a must-reach notification. */
  notify(sequence: bigint, key?: string): void;
  /** Sends an online push. */
  push(key: string): void;
  send(event: Event): void;
  /** Ends the stream: in order, or with an error. */
  end(error?: Error): void;
  /** Aborted when the client has left, or the stream has ended. */
  readonly left: AbortSignal;
  /** What the client has said in a stream of both directions, besides what it has handled. */
  readonly said: ReceiveRequest["request"][];
}

/** A service that does what the test says, on a real port. */
export interface FakeService {
  readonly baseUrl: string;
  /** The next session that a client opens. */
  session(): Promise<FakeSession>;
  /** How many sessions were opened. */
  opened(): number;
  readonly acks: { readonly sequence: bigint; readonly deviceId: string; readonly token: string | null }[];
  /** Resolves when this sequence has been acknowledged, by itself or with a later one. */
  acked(sequence: bigint): Promise<void>;
  /** What happens before a stream of both directions is looked at; throws to refuse it. */
  onReceive: (left: AbortSignal) => unknown;
  onConnection: () => void;
  /** What happens before an acknowledgement is accepted; throws to refuse it. */
  onAck: (sequence: bigint) => void | Promise<void>;
  /** Answers a send. */
  onSend: (
    request: SendBusinessNotificationRequest,
    token: string | null,
  ) => Promise<MessageInitShape<typeof SendBusinessNotificationResponseSchema>>;
  /** Breaks all connections and frees the port; `start` takes it again. */
  kill(): Promise<void>;
  start(): Promise<void>;
}

/** Gives a test a fake service of its own, which ends with the test. Over HTTP/1.1 unless it is for `Receive`. */
export async function useFakeService(way: Way = "Subscribe"): Promise<FakeService> {
  const sessions: FakeSession[] = [];
  const waiting: ((session: FakeSession) => void)[] = [];
  const acks: FakeService["acks"] = [];
  let opened = 0;
  let server: Server | undefined;
  let port = 0;

  function openSession(request: SubscribeRequest, { requestHeader, signal }: HandlerContext) {
    const stream = createStream(request, requestHeader.get("token"), signal);
    opened++;
    const next = waiting.shift();
    if (next) next(stream.session);
    else sessions.push(stream.session);
    return stream;
  }

  async function acknowledge(sequence: bigint, deviceId: string, { requestHeader }: HandlerContext) {
    await service.onAck(sequence);
    acks.push({ sequence, deviceId, token: requestHeader.get("token") });
  }

  async function listenTo(messages: AsyncIterator<ReceiveRequest>, session: FakeSession, context: HandlerContext) {
    try {
      for (let next = await messages.next(); next.done !== true; next = await messages.next()) {
        const { request } = next.value;
        if (request.case !== "acknowledge") session.said.push(request);
        else await acknowledge(request.value.sequence, session.deviceId, context);
      }
    } catch (error) {
      if (error instanceof Error) session.end(error);
    }
  }

  function routes(router: ConnectRouter) {
    router.service(DeliveryService, {
      async *subscribe(request, context) {
        yield* openSession(request, context).events();
      },
      async *receive(requests, context) {
        await service.onReceive(context.signal);
        const messages = requests[Symbol.asyncIterator]();
        const { request } = (await messages.next()).value;
        if (request.case !== "subscribe") throw failure("ArgsError", "the first message must be subscribe");
        const stream = openSession(request.value, context);
        void listenTo(messages, stream.session, context);
        yield* stream.events();
      },
      async ack({ sequence, deviceId }, context) {
        await acknowledge(sequence, deviceId, context);
        return { sequence };
      },
    });
    router.service(MsgService, {
      sendBusinessNotification: (request, { requestHeader }) => service.onSend(request, requestHeader.get("token")),
    });
  }

  const answer = connectNodeAdapter({ routes });
  const http1 = createHttp1Server(answer);
  const http2 = createHttp2Server(answer);
  const sockets = new Set<Socket>();

  function accept(socket: Socket) {
    service.onConnection();
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    socket.on("error", () => {});
    if (way === "Subscribe") {
      http1.emit("connection", socket);
      return;
    }
    socket.once("data", (begin: Buffer) => {
      socket.pause();
      socket.unshift(begin);
      const isHttp2 = begin.toString("latin1").startsWith("PRI ");
      (isHttp2 ? http2 : http1).emit("connection", socket);
      if (!isHttp2) process.nextTick(() => socket.resume());
    });
  }

  async function kill() {
    const closing = server;
    server = undefined;
    if (closing === undefined) return;
    closing.close();
    for (const socket of sockets) socket.destroy();
    await once(closing, "close");
  }

  async function start() {
    server = createServer(accept);
    server.listen(port, "127.0.0.1");
    await once(server, "listening");
    port = (server.address() as AddressInfo).port;
  }

  const service: FakeService = {
    get baseUrl() {
      return `http://127.0.0.1:${port}`;
    },
    session: () =>
      new Promise((resolve) => {
        const session = sessions.shift();
        if (session) resolve(session);
        else waiting.push(resolve);
      }),
    opened: () => opened,
    acks,
    acked: (sequence) =>
      vi.waitFor(
        () => {
          if (!acks.some((ack) => ack.sequence >= sequence)) throw new Error(`${sequence} is not acknowledged`);
        },
        { timeout: 20_000, interval: 2 },
      ),
    onReceive: () => undefined,
    onConnection: () => {},
    onAck: () => undefined,
    onSend: async () => ({}),
    kill,
    start,
  };
  await start();
  onTestFinished(kill);
  return service;
}

function createStream(request: SubscribeRequest, token: string | null, left: AbortSignal) {
  const events: (SubscribeResponse | Error | undefined)[] = [];
  let wake = () => {};
  left.addEventListener("abort", () => wake());

  function put(event: SubscribeResponse | Error | undefined) {
    events.push(event);
    wake();
  }
  const send = (event: Event) => put(create(SubscribeResponseSchema, { event }));
  const session: FakeSession = {
    request,
    token,
    left,
    said: [],
    send,
    deviceId: "",
    ready(resumeSequence = request.afterSequence ?? 0n, deviceId = request.deviceId || "default") {
      session.deviceId = deviceId;
      send({ case: "ready", value: { resumeSequence, deviceId } });
    },
    notify: (sequence, key = `key-${sequence}`) =>
      send({ case: "notification", value: { sequence, key, reliabilityLevel: 2, data: "{}", sendTime: 1n } }),
    push: (key) => send({ case: "notification", value: { key, reliabilityLevel: 1, data: "{}", sendTime: 1n } }),
    end: put,
  };
  return {
    session,
    async *events() {
      while (!left.aborted) {
        if (events.length === 0) {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
          continue;
        }
        const event = events.shift();
        if (event === undefined) return;
        if (event instanceof Error) throw event;
        yield event;
      }
    },
  };
}

/** A client with short delays that is closed with the test. */
export function useClient(service: FakeService, options: Partial<ClientOptions> = {}): MustreachClient {
  const client = createClient({
    baseUrl: service.baseUrl,
    token: "token-1",
    reconnect: { minDelayMs: 5, maxDelayMs: 20 },
    retry: { minDelayMs: 5, maxDelayMs: 20 },
    ...options,
  });
  onTestFinished(() => client.close({ deadlineMs: 0 }));
  return client;
}

/** A token in the form of OpenIM's, unsigned: nobody verifies it here. */
export function fakeToken(claims: Record<string, unknown>): string {
  return `e30.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.x`;
}
