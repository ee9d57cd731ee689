import { checkBaseUrl } from "../wire/base-url.ts";
import type { CallOptions, CreateCalls, SendRequest } from "../wire/delivery.ts";
import { factsOfCode, grpcCodes, MustreachClientError, toNetworkError } from "../wire/error.ts";
import { readEvent, toBigInt, toObject, toText } from "./event-json.ts";
import { isEnd, readFrames, toFrame } from "./frames.ts";
import { toRequestJson } from "./request-json.ts";

/** By the numbers of mustreach.msg.v1.Durability. */
const durabilities = [
  "DURABILITY_UNSPECIFIED",
  "DURABILITY_NONE",
  "DURABILITY_BUFFERED",
  "DURABILITY_REPLICATED",
  "DURABILITY_FSYNCED",
];

const delivery = "mustreach.delivery.v1.DeliveryService";

/** Connect in JSON over fetch: without protobuf's runtime, and without the descriptions of messages. */
export const createFetchCalls: CreateCalls = (baseUrl) => {
  const root = checkBaseUrl(baseUrl).replace(/\/?$/, "/");

  function post(method: string, type: string, body: BodyInit, { token, signal }: CallOptions): Promise<Response> {
    const headers = { "content-type": type, "connect-protocol-version": "1", token };
    return fetch(root + method, { method: "POST", headers, body, signal, redirect: "error" });
  }

  async function call(method: string, request: unknown, options: CallOptions) {
    const response = await post(method, "application/json", toRequestJson(request), options);
    const isJson = response.headers.get("content-type")?.startsWith("application/json") === true;
    const json = isJson ? toObject(await response.json()) : undefined;
    if (response.ok && json !== undefined) return json;
    throw json?.code === undefined ? ofStatus(response.status) : ofService(json);
  }

  return {
    async *subscribe(request, options) {
      const type = "application/connect+json";
      const response = await post(`${delivery}/Subscribe`, type, toFrame(toRequestJson(request)), options);
      const { ok, body, headers, status } = response;
      if (!ok || body === null || headers.get("content-type")?.startsWith(type) !== true) throw ofStatus(status);
      for await (const { flags, text } of readFrames(body)) {
        const json: unknown = JSON.parse(text);
        if (!isEnd(flags)) yield readEvent(json);
        else {
          const { error } = toObject(json);
          if (error !== undefined) throw ofService(toObject(error));
          return;
        }
      }
      throw toNetworkError("the stream broke off");
    },
    async ack(request, options) {
      const { sequence } = await call(`${delivery}/Ack`, request, options);
      return { sequence: toBigInt(sequence) };
    },
    async send(request, options) {
      const answer = await call("mustreach.msg.v1.MsgService/SendBusinessNotification", toSend(request), options);
      return {
        serverMsgId: toText(answer.serverMsgID),
        clientMsgId: toText(answer.clientMsgID),
        sendTime: toBigInt(answer.sendTime),
        durability: Math.max(durabilities.indexOf(toText(answer.durability)), 0),
      };
    },
  };
};

function toSend({ sendUserId, recvUserId, recvGroupId, recvUserIds, clientMsgId, ...others }: SendRequest) {
  const recipient = { recvUserID: recvUserId, recvGroupID: recvGroupId, recvUserIDs: recvUserIds };
  return { sendUserID: sendUserId, ...recipient, clientMsgID: clientMsgId, ...others };
}

/** An error in Connect's JSON, with the readable form of its details. */
function ofService({ code, message, details }: Readonly<Record<string, unknown>>): MustreachClientError {
  const detailOf = (type: string) =>
    toObject((Array.isArray(details) ? details : []).map(toObject).find((detail) => detail.type === type)?.debug);
  const { errCode, errMsg, errDlt } = toObject(detailOf("google.rpc.ErrorInfo").metadata);
  const { retryDelay } = detailOf("google.rpc.RetryInfo");
  if (errCode === undefined || !Number.isInteger(Number(errCode))) {
    const number = Object.entries(grpcCodes).find(([name]) => name === code)?.[1] ?? grpcCodes.unknown;
    return new MustreachClientError({ ...factsOfCode(number, false), errDlt: toText(message) });
  }
  const facts = { errCode: Number(errCode), errMsg: toText(errMsg), errDlt: toText(errDlt) };
  const seconds = retryDelay === undefined ? undefined : Number.parseFloat(toText(retryDelay));
  return new MustreachClientError(facts, seconds === undefined ? {} : { retryAfterMs: Math.ceil(seconds * 1_000) });
}

/** An answer that is not of the service, by its HTTP status, as Connect has it. */
function ofStatus(status: number): MustreachClientError {
  const code = statusCodes[status] ?? grpcCodes.unknown;
  return new MustreachClientError({ ...factsOfCode(code, false), errDlt: `HTTP ${status}` });
}

const statusCodes: Readonly<Record<number, number>> = {
  400: grpcCodes.internal,
  401: grpcCodes.unauthenticated,
  403: grpcCodes.permission_denied,
  404: grpcCodes.unimplemented,
  429: grpcCodes.unavailable,
  502: grpcCodes.unavailable,
  503: grpcCodes.unavailable,
  504: grpcCodes.unavailable,
};
