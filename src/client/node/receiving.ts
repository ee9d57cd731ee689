import { setImmediate } from "node:timers/promises";
import { debuglog } from "node:util";
import { Code, ConnectError } from "@connectrpc/connect";
import { ErrorInfoSchema } from "../../gen/google/rpc/error_details_pb.ts";
import { createConnectCalls } from "../connect/calls.ts";
import { fromConnectError } from "../connect/error.ts";
import { createFetchTransport } from "../connect/transport.ts";
import type { CreateCalls, CreateCallsOver, CreateReceiving } from "../wire/delivery.ts";
import { toNetworkError } from "../wire/error.ts";
import { createStreamReceiving } from "../wire/stream-receiving.ts";
import { openReceiveStream } from "./receive-stream.ts";

/** `NODE_DEBUG=mustreach` prints it. */
const debug = debuglog("mustreach");

export const createCalls: CreateCalls = (baseUrl) => createConnectCalls(createFetchTransport(baseUrl));

export const createCallsOver: CreateCallsOver = createConnectCalls;

/** The service by Receive over HTTP/2, where it and all that is in between can do that; else by Subscribe and Ack. */
export const createReceiving: CreateReceiving = (baseUrl, other) =>
  createStreamReceiving({
    open: (request, options) => openReceiveStream(baseUrl, request, options),
    isOfService: (thrown) => thrown instanceof ConnectError && thrown.findDetails(ErrorInfoSchema).length > 0,
    isUnreachable: (thrown) => ConnectError.from(thrown).code === Code.Unavailable,
    toError: fromConnectError,
    toBroken: (thrown) => toNetworkError(ConnectError.from(thrown).rawMessage, thrown),
    turn: () => setImmediate(),
    debug: (problem) => debug("%s: by Subscribe and Ack, since Receive cannot begin: %s", baseUrl, problem),
    other,
  });
