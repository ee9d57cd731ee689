import { create, type JsonValue, toJson } from "@bufbuild/protobuf";
import { createClient, type Transport } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import { createConnectCalls } from "../../client/connect/calls.ts";
import type { CallOptions, SendRequest } from "../../client/wire/delivery.ts";
import { MustreachClientError, toClientError, toNetworkError } from "../../client/wire/error.ts";
import { MsgService, SendBusinessNotificationRequestSchema } from "../../gen/mustreach/msg/v1/msg_pb.ts";
import { perAddress } from "./per-address.ts";

/** A way to send. */
export interface SendDoor {
  readonly name: string;
  /**
   * Sends, and resolves to the service's id of what was sent.
   *
   * @throws MustreachClientError 90004 also where there was no answer.
   */
  send(baseUrl: string, request: SendRequest, options: CallOptions): Promise<string>;
  /**
   * Sends several at once, and resolves to what has come of each.
   *
   * @throws MustreachClientError as `send`, when nothing is known of any.
   */
  sendBatch(baseUrl: string, requests: readonly SendRequest[], options: CallOptions): Promise<readonly BatchResult[]>;
}

/** What has come of one of a batch. */
export interface BatchResult {
  readonly errCode: number;
  /** The service's id of it; empty where it was not accepted. */
  readonly serverMsgId: string;
}

/** Every way to send. */
export const sendDoors: readonly SendDoor[] = [
  overConnect("gRPC", (baseUrl) => createGrpcTransport({ baseUrl })),
  overConnect("Connect", (baseUrl) => createConnectTransport({ baseUrl, httpVersion: "1.1" })),
  overConnect("gRPC-Web", (baseUrl) => createGrpcWebTransport({ baseUrl, httpVersion: "1.1" })),
  { name: "REST", send: sendByRest, sendBatch: sendBatchByRest },
];

function overConnect(name: string, connect: (baseUrl: string) => Transport): SendDoor {
  const thereAt = perAddress((baseUrl) => {
    const transport = connect(baseUrl);
    return { calls: createConnectCalls(transport), msg: createClient(MsgService, transport) };
  });
  return {
    name,
    async send(baseUrl, request, options) {
      return (await thereAt(baseUrl).calls.send(request, options)).serverMsgId;
    },
    async sendBatch(baseUrl, requests, { token, signal }) {
      const { msg } = thereAt(baseUrl);
      const request = { notifications: requests.map(toMessage) };
      const { results } = await msg.sendBusinessNotificationBatch(request, { headers: { token }, signal });
      return results.map(({ errCode, data }) => ({ errCode, serverMsgId: data?.serverMsgId ?? "" }));
    },
  };
}

/** The documented call, as a caller without a library makes it. */
async function sendByRest(baseUrl: string, request: SendRequest, options: CallOptions): Promise<string> {
  const body = toJson(SendBusinessNotificationRequestSchema, toMessage(request));
  const path = "/msg/send_business_notification";
  const answer = await postJson<{ serverMsgID: string }>(baseUrl, path, request.clientMsgId || "verify", body, options);
  return answer.serverMsgID;
}

async function sendBatchByRest(
  baseUrl: string,
  requests: readonly SendRequest[],
  options: CallOptions,
): Promise<readonly BatchResult[]> {
  const notifications = requests.map((request) => toJson(SendBusinessNotificationRequestSchema, toMessage(request)));
  const path = "/msg/batch_send_business_notification";
  type Results = { results: { errCode: number; data?: { serverMsgID: string } }[] };
  const answer = await postJson<Results>(baseUrl, path, "verify", { notifications }, options);
  return answer.results.map(({ errCode, data }) => ({ errCode, serverMsgId: data?.serverMsgID ?? "" }));
}

function toMessage(request: SendRequest) {
  return create(SendBusinessNotificationRequestSchema, request);
}

/** Posts a body, and resolves to the `data` of its answer. */
async function postJson<T>(
  baseUrl: string,
  path: string,
  operationId: string,
  body: JsonValue,
  { token, signal }: CallOptions,
): Promise<T> {
  const response = await fetch(new URL(path, baseUrl), {
    method: "POST",
    headers: { token, operationID: operationId, "content-type": "application/json" },
    body: JSON.stringify(body),
    signal,
  }).catch((thrown: unknown) => {
    throw toClientError(thrown);
  });
  const answer: unknown = await response.json().catch((thrown: unknown) => {
    throw toNetworkError(`HTTP ${response.status} without JSON`, thrown);
  });
  const { errCode, errMsg, errDlt, data } = answer as { errCode: number; errMsg: string; errDlt: string; data?: T };
  if (errCode !== 0 || data === undefined) throw new MustreachClientError({ errCode, errMsg, errDlt });
  return data;
}
