import http from "node:http";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { createClient, type Transport } from "@connectrpc/connect";
import {
  createConnectTransport,
  createGrpcTransport,
  createGrpcWebTransport,
  Http2SessionManager,
} from "@connectrpc/connect-node";
import { onTestFinished } from "vitest";
import { toErrorFacts } from "../../src/errors.ts";
import {
  DeliveryService,
  type ReceiveRequestSchema,
  type SubscribeResponse,
} from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import {
  type Arrival,
  type Door,
  type DoorDevice,
  type DoorEnd,
  type DoorSession,
  nextArrival,
  readArrival,
  toArrival,
} from "./door.ts";
import { openEvents } from "./events.ts";
import { openWebSocket } from "./websocket.ts";

/** A session whose first event, `ready`, has come; or how it ended instead. It is cut off with the test. */
async function begin(
  events: AsyncIterator<SubscribeResponse>,
  kill: () => void,
  acknowledge: DoorSession["acknowledge"],
): Promise<DoorSession | DoorEnd> {
  onTestFinished(kill);
  const read = async (): Promise<SubscribeResponse["event"] | DoorEnd> => {
    try {
      const { done, value } = await events.next();
      return done === true ? { kind: "end", how: "0" } : value.event;
    } catch (error) {
      return { kind: "end", how: String(toErrorFacts(error).errCode) };
    }
  };
  const first = await read();
  if ("kind" in first) return first;
  if (first.case !== "ready") throw new Error(`expected ready, got ${first.case}`);
  return {
    next: () =>
      nextArrival(async () => {
        const event = await read();
        return "kind" in event ? event : toArrival(event);
      }),
    acknowledge,
    async close() {
      await events.return?.();
    },
    kill: async () => kill(),
  };
}

/** Over a transport of its own, and what cuts its connections. */
type Connect = (url: string) => { readonly transport: Transport; kill(): void };

const overGrpc: Connect = (baseUrl) => {
  const sessionManager = new Http2SessionManager(baseUrl);
  return { transport: createGrpcTransport({ baseUrl, sessionManager }), kill: () => sessionManager.abort() };
};

/** HTTP/1.1: the stream and the acknowledgements have connections of their own. */
const overHttp1 =
  (create: typeof createConnectTransport | typeof createGrpcWebTransport): Connect =>
  (baseUrl) => {
    const agent = new http.Agent({ keepAlive: true });
    return {
      transport: create({ baseUrl, httpVersion: "1.1", nodeOptions: { agent } }),
      kill: () => agent.destroy(),
    };
  };

const ownCodes = { revoked: "1506", expired: "1501", refused: "1506" };

const subscribing = (name: string, connect: Connect): Door => ({
  name,
  lacks: {},
  ends: ownCodes,
  open({ url, token, deviceId }: DoorDevice) {
    const { transport, kill } = connect(url);
    const { subscribe, ack } = createClient(DeliveryService, transport);
    const headers = { token };
    const events = subscribe({ deviceId }, { headers })[Symbol.asyncIterator]();
    return begin(events, kill, async ({ sequence, epoch }) => {
      await ack({ deviceId, sequence, epoch }, { headers });
    });
  },
});

type ReceiveRequest = MessageInitShape<typeof ReceiveRequestSchema>;

const receiving: Door = {
  name: "gRPC Receive",
  lacks: {},
  ends: ownCodes,
  open({ url, token, deviceId }) {
    const { transport, kill } = overGrpc(url);
    const waiting: ReceiveRequest[] = [{ request: { case: "subscribe", value: { deviceId } } }];
    let wake = () => {};
    async function* requests() {
      for (;;) {
        yield* waiting.splice(0);
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    }
    const { receive } = createClient(DeliveryService, transport);
    const events = receive(requests(), { headers: { token } })[Symbol.asyncIterator]();
    return begin(events, kill, async ({ sequence, epoch }) => {
      waiting.push({ request: { case: "acknowledge", value: { sequence, epoch } } });
      wake();
    });
  },
};

const webSocket: Door = {
  name: "WebSocket",
  lacks: {},
  ends: { revoked: "1506, closed with 4401", expired: "1501, closed with 4401", refused: "1506, closed with 4401" },
  async open({ url, token, deviceId }) {
    const { ws, next } = await openWebSocket(`${url}/ws`, ["mustreach.v1.json"], { token });
    const kill = async () => ws.terminate();
    onTestFinished(kill);
    let errCode = 0;
    /** Undefined of `ready`, heartbeats and the error that comes before the close. */
    const read = async (): Promise<Arrival | DoorEnd | undefined> => {
      const message = await next();
      if (typeof message !== "string") {
        const closed = "code" in message ? message.code : "a binary message";
        return { kind: "end", how: `${errCode}, closed with ${closed}` };
      }
      const json = JSON.parse(message);
      if (json.error === undefined) return readArrival(json);
      errCode = json.error.errCode;
      return undefined;
    };
    const say = (message: object) => ws.send(JSON.stringify(message));
    say({ subscribe: { deviceId } });
    const first = (await read()) ?? (errCode === 0 ? undefined : await read());
    if (first?.kind === "end") return first;
    if (first !== undefined) throw new Error(`expected ready, got ${first.kind}`);
    return {
      next: () => nextArrival(read),
      acknowledge: async ({ sequence, epoch }) => say({ acknowledge: { sequence: String(sequence), epoch } }),
      close: async () => ws.close(),
      kill,
    };
  },
};

const serverSentEvents: Door = {
  name: "SSE",
  lacks: {},
  ends: ownCodes,
  async open({ url, token, deviceId }) {
    const stream = await openEvents("1.1", url, `/events?deviceID=${deviceId}`, { token });
    const kill = async () => stream.kill();
    onTestFinished(kill);
    if (stream.status !== 200) return { kind: "end", how: String(JSON.parse(await stream.text()).errCode) };
    const read = async (): Promise<Arrival | DoorEnd | undefined> => {
      const { event, data } = (await stream.next()) ?? {};
      if (event === undefined || data === undefined) return { kind: "end", how: "0" };
      const json = JSON.parse(data);
      return event === "end" ? { kind: "end", how: String(json.errCode) } : readArrival({ [event]: json });
    };
    const first = await read();
    if (first !== undefined) throw new Error(`expected ready, got ${first.kind}`);
    return {
      next: () => nextArrival(read),
      async acknowledge({ sequence, epoch }) {
        const answer = await fetch(`${url}/ack`, {
          method: "POST",
          headers: { token, operationID: "test" },
          body: JSON.stringify({ deviceID: deviceId, sequence: String(sequence), epoch }),
        });
        const { errCode, errDlt } = (await answer.json()) as { errCode: number; errDlt: string };
        if (errCode !== 0) throw new Error(errDlt);
      },
      close: kill,
      kill,
    };
  },
};

/** The doors that have sessions of our own protocol. */
export const ownDoors: readonly Door[] = [
  subscribing("gRPC Subscribe and Ack", overGrpc),
  receiving,
  subscribing("Connect", overHttp1(createConnectTransport)),
  subscribing("gRPC-Web", overHttp1(createGrpcWebTransport)),
  webSocket,
  serverSentEvents,
];
