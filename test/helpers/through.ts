import { once } from "node:events";
import http from "node:http";
import http2 from "node:http2";
import https from "node:https";
import {
  type Client,
  credentials,
  loadPackageDefinition,
  Metadata,
  type ServiceClientConstructor,
} from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { expect, onTestFinished } from "vitest";
import { WebSocket } from "ws";
import type { Issued } from "./certificates.ts";

/** Where a service answers, by itself or behind something, and how to get there. */
export interface Place {
  readonly url: string;
  /** Who certifies it, in PEM. */
  readonly ca?: string;
  /** What the client shows. */
  readonly client?: Issued;
}

/** A notification as REST has it. */
export const toSend = (to: string, data: string) => ({
  ...{ sendUserID: "orders", recvUserID: to, key: "test", data, reliabilityLevel: 2 },
});

type Fields = Record<string, string>;

const tlsOf = ({ ca, client }: Place) => ({ ...(ca && { ca }), ...(client && { cert: client.cert, key: client.key }) });

/** Posts to a REST path over HTTP/1.1. Rejects when it is cut off. */
export async function post(place: Place, body: object, headers: Fields, agent?: http.Agent) {
  const request = (place.url.startsWith("https:") ? https : http).request(
    `${place.url}/msg/send_business_notification`,
    { method: "POST", agent: agent ?? false, headers: { operationID: "test", ...headers }, ...tlsOf(place) },
  );
  request.end(JSON.stringify(body));
  const [response] = (await once(request, "response")) as [http.IncomingMessage];
  let text = "";
  for await (const chunk of response) text += chunk;
  return { status: response.statusCode, headers: response.headers, text };
}

function openHttp2(place: Place): http2.ClientHttp2Session {
  const session = http2.connect(place.url, tlsOf(place));
  session.on("error", () => {});
  onTestFinished(() => session.destroy());
  return session;
}

/** A client of a service, by @grpc/grpc-js and nothing but `proto/`. */
export function openGrpc({ url, ca, client }: Place, room: "msg" | "delivery", name: string): Client {
  const file = `mustreach/${room}/v1/${room}.proto`;
  const loaded = loadPackageDefinition(
    loadSync(file, { includeDirs: ["proto"], keepCase: true, longs: String, oneofs: true }),
  );
  const services = loaded as unknown as { mustreach: Record<string, { v1: Record<string, ServiceClientConstructor> }> };
  const Stub = services.mustreach[room]?.v1[name] ?? expect.fail(`there is no ${name}`);
  const pem = (text?: string) => (text === undefined ? null : Buffer.from(text));
  const secure = () => credentials.createSsl(pem(ca), pem(client?.key), pem(client?.cert));
  const stub = new Stub(new URL(url).host, url.startsWith("https:") ? secure() : credentials.createInsecure());
  onTestFinished(() => stub.close());
  return stub;
}

function toMetadata(fields: Fields): Metadata {
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(fields)) metadata.set(name, value);
  return metadata;
}

/** Sends over gRPC; rejects with the ServiceError. */
export function sendByGrpc(stub: Client, to: string, data: string, fields: Fields): Promise<object> {
  const method = Reflect.get(stub, "SendBusinessNotification") as (...args: unknown[]) => void;
  const request = { send_user_id: "orders", recv_user_id: to, key: "test", data, reliability_level: 2 };
  return new Promise((resolve, reject) => {
    method.call(stub, request, toMetadata(fields), (error: Error | null, answer: object) =>
      error === null ? resolve(answer) : reject(error),
    );
  });
}

/** Each way to send; they reject when it is not taken. */
export const sends: Readonly<Record<string, (place: Place, token: string, to: string, data: string) => Promise<void>>> =
  {
    async "REST over HTTP/1.1"(place, token, to, data) {
      const { status, text } = await post(place, toSend(to, data), { token });
      expect({ status, ...JSON.parse(text) }).toMatchObject({ status: 200, errCode: 0 });
    },
    async "REST over HTTP/2"(place, token, to, data) {
      const session = openHttp2(place);
      const path = "/msg/send_business_notification";
      const stream = session.request({ ":method": "POST", ":path": path, operationid: "test", token });
      stream.end(JSON.stringify(toSend(to, data)));
      let text = "";
      for await (const chunk of stream) text += chunk;
      expect(JSON.parse(text)).toMatchObject({ errCode: 0 });
      session.close();
    },
    async Connect(place, token, to, data) {
      const session = openHttp2(place);
      const path = "/mustreach.msg.v1.MsgService/SendBusinessNotification";
      const stream = session.request({ ":method": "POST", ":path": path, "content-type": "application/json", token });
      stream.end(JSON.stringify(toSend(to, data)));
      let text = "";
      for await (const chunk of stream) text += chunk;
      expect(JSON.parse(text)).toHaveProperty("serverMsgID");
      session.close();
    },
    async gRPC(place, token, to, data) {
      expect(await sendByGrpc(openGrpc(place, "msg", "MsgService"), to, data, { token })).toHaveProperty(
        "server_msg_id",
      );
    },
  };

/** A device that keeps what it is sent. */
export interface Receiving {
  readonly got: string[];
  /** Resolves when its stream has ended. */
  readonly ended: Promise<unknown>;
}

interface GrpcEvent {
  readonly event: string;
  readonly notification?: { readonly data: string; readonly sequence: string; readonly epoch: string };
}

/** Each way to receive, acknowledging what came where the same stream can. */
export const receives: Readonly<Record<string, (place: Place, token: string) => Receiving>> = {
  "gRPC Receive"(place, token) {
    const stub = openGrpc(place, "delivery", "DeliveryService");
    const stream = Reflect.get(stub, "Receive").call(stub, toMetadata({ token }));
    stream.write({ subscribe: { device_id: "grpc" } });
    const got: string[] = [];
    stream.on("data", ({ notification }: GrpcEvent) => {
      if (!notification) return;
      got.push(notification.data);
      const { sequence, epoch } = notification;
      stream.write({ acknowledge: { sequence, epoch } });
    });
    onTestFinished(() => stream.cancel());
    return { got, ended: onceEnded(stream) };
  },
  "gRPC Subscribe"(place, token) {
    const stub = openGrpc(place, "delivery", "DeliveryService");
    const stream = Reflect.get(stub, "Subscribe").call(stub, { device_id: "grpc-2" }, toMetadata({ token }));
    const got: string[] = [];
    stream.on("data", ({ notification }: GrpcEvent) => notification && got.push(notification.data));
    onTestFinished(() => stream.cancel());
    return { got, ended: onceEnded(stream) };
  },
  "server-sent events over HTTP/1.1"(place, token) {
    const client = place.url.startsWith("https:") ? https : http;
    const got: string[] = [];
    const options = { agent: false, headers: { token }, ...tlsOf(place) } as const;
    const request = client.get(`${place.url}/events?deviceID=sse`, options, (response) => readEvents(response, got));
    request.on("error", () => {});
    onTestFinished(() => void request.destroy());
    return { got, ended: once(request, "close") };
  },
  "server-sent events over HTTP/2"(place, token) {
    const got: string[] = [];
    const stream = openHttp2(place).request({ ":path": "/events?deviceID=sse-2", token });
    readEvents(stream, got);
    return { got, ended: onceEnded(stream) };
  },
  WebSocket(place, token) {
    const url = `${place.url.replace(/^http/, "ws")}/ws`;
    const socket = new WebSocket(url, ["mustreach.v1.json"], { headers: { token }, ...tlsOf(place) });
    const got: string[] = [];
    const say = (message: object) => socket.send(JSON.stringify(message));
    socket.on("open", () => say({ subscribe: { deviceId: "ws" } }));
    socket.on("error", () => {});
    socket.on("message", (text) => {
      const { notification } = JSON.parse(String(text));
      if (!notification) return;
      got.push(notification.data);
      say({ acknowledge: { sequence: notification.sequence, epoch: notification.epoch } });
    });
    onTestFinished(() => socket.terminate());
    return { got, ended: once(socket, "close") };
  },
};

interface Readable {
  on(event: "data", listener: (chunk: Buffer) => void): unknown;
  on(event: "error" | "close" | "end", listener: () => void): unknown;
}

/** Resolves at the end of a stream, however it ends. */
function onceEnded(stream: Readable): Promise<void> {
  return new Promise((resolve) => {
    stream.on("error", () => resolve());
    stream.on("end", () => resolve());
    stream.on("close", () => resolve());
  });
}

function readEvents(stream: Readable, got: string[]): void {
  let rest = "";
  stream.on("data", (chunk) => {
    const events = (rest + chunk).split("\n\n");
    rest = events.pop() ?? "";
    for (const event of events) {
      if (!/^event: notification$/m.test(event)) continue;
      got.push(JSON.parse(/^data: (.*)$/m.exec(event)?.[1] ?? "").data);
    }
  });
  stream.on("error", () => {});
}
