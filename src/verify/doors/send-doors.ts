import { create, toJson } from "@bufbuild/protobuf";
import type { Transport } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import { createConnectCalls } from "../../client/connect/calls.ts";
import type { CallOptions, SendRequest } from "../../client/wire/delivery.ts";
import { MustreachClientError, toClientError, toNetworkError } from "../../client/wire/error.ts";
import { SendBusinessNotificationRequestSchema } from "../../gen/mustreach/msg/v1/msg_pb.ts";
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
}

/** Every way to send. */
export const sendDoors: readonly SendDoor[] = [
  overConnect("gRPC", (baseUrl) => createGrpcTransport({ baseUrl })),
  overConnect("Connect", (baseUrl) => createConnectTransport({ baseUrl, httpVersion: "1.1" })),
  overConnect("gRPC-Web", (baseUrl) => createGrpcWebTransport({ baseUrl, httpVersion: "1.1" })),
  { name: "REST", send: sendByRest },
];

function overConnect(name: string, connect: (baseUrl: string) => Transport): SendDoor {
  const callsAt = perAddress((baseUrl) => createConnectCalls(connect(baseUrl)));
  return {
    name,
    async send(baseUrl, request, options) {
      return (await callsAt(baseUrl).send(request, options)).serverMsgId;
    },
  };
}

/** The documented call, as a caller without a library makes it. */
async function sendByRest(baseUrl: string, request: SendRequest, { token, signal }: CallOptions): Promise<string> {
  const body = toJson(SendBusinessNotificationRequestSchema, create(SendBusinessNotificationRequestSchema, request));
  const response = await fetch(new URL("/msg/send_business_notification", baseUrl), {
    method: "POST",
    headers: { token, operationID: request.clientMsgId || "verify", "content-type": "application/json" },
    body: JSON.stringify(body),
    signal,
  }).catch((thrown: unknown) => {
    throw toClientError(thrown);
  });
  const answer: unknown = await response.json().catch((thrown: unknown) => {
    throw toNetworkError(`HTTP ${response.status} without JSON`, thrown);
  });
  const { errCode, errMsg, errDlt, data } = answer as {
    errCode: number;
    errMsg: string;
    errDlt: string;
    data?: { serverMsgID: string };
  };
  if (errCode !== 0 || data === undefined) throw new MustreachClientError({ errCode, errMsg, errDlt });
  return data.serverMsgID;
}
