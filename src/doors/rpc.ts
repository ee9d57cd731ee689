import { constants as http2Constants } from "node:http2";
import type { DescMethod, Message, Registry } from "@bufbuild/protobuf";
import {
  Code,
  ConnectError,
  type ContextValues,
  createConnectRouter,
  createContextKey,
  createContextValues,
  type HandlerContext,
  type ServiceImplSpec,
} from "@connectrpc/connect";
import type { UniversalHandler, UniversalServerRequest } from "@connectrpc/connect/protocol";
import type { BaseLogger } from "pino";
import type { GateContext } from "../auth/authenticate.ts";
import { type BodyLimits, maxOrdinaryBytes } from "../calls/body.ts";
import { admit, type CallDeps, call, callStream, receiveMessage, toObserved } from "../calls/call.ts";
import { CallContext } from "../calls/context.ts";
import { decodeMessage, envelopeBytes, toEncoding } from "../calls/decode.ts";
import { IncomingBody } from "../calls/incoming-body.ts";
import { failure, toWireError } from "../errors.ts";
import { deaf } from "../http/receiver.ts";
import type { Target } from "../http/target.ts";
import type { Exchange, Fields, Receiver, RequestHeaders } from "../http2/exchange.ts";
import { toFailure } from "../json/bind.ts";
import { isSeen } from "../observe/call-log.ts";
import { peerKey, peerOf } from "../observe/peer.ts";
import { BodyStream } from "./body-stream.ts";
import { answerUnimplemented } from "./unimplemented.ts";
import { answerPiecemeal, answerWhole, toUniversalRequest } from "./universal.ts";

export interface RpcOptions extends CallDeps {
  readonly services: readonly ServiceImplSpec[];
  readonly bodyLimits: BodyLimits;
  readonly log: BaseLogger;
  /** The longest deadline that a caller may set, in milliseconds. */
  readonly maxTimeoutMs: number;
  /** Aborted when streams that are still open must end. */
  readonly shutdownSignal: AbortSignal;
  /** The types of Any in JSON. Default: none, as no message of ours has any. */
  readonly registry?: Registry;
}

/** Answers gRPC-Web, gRPC with JSON and Connect, and takes the rest of the request; undefined when it is none of them. */
export type Rpc = (exchange: Exchange, target: Target) => Receiver | undefined;

/** A call before Connect has it: what its gate has put into the answer's headers, and its message or its refusal. */
interface Prepared {
  readonly header: Fields;
  /** Without a message for a stream of both directions: Connect reads those. */
  readonly outcome: { readonly message: Message | undefined } | { readonly refusal: ConnectError };
}

const preparedKey = createContextKey<Prepared | undefined>(undefined, {
  description: "the call before Connect has it",
});

/**
 * Creates the RPC door. Connect writes the answers of all protocols. The gate and the body come before it: a call under
 * way costs about 40 KB there, and 10 KB here; one budget bounds the bodies of all doors; and what is not a message is
 * the caller's error, where Connect has an internal one.
 */
export function createRpc(options: RpcOptions): Rpc {
  const { services, bodyLimits, callLog, log, maxTimeoutMs, shutdownSignal, registry } = options;
  const authenticate = async (context: GateContext) => {
    await options.authenticate(context);
    requireUncompressed(context.headers);
  };
  const deps = { authenticate, callLog };
  const router = createConnectRouter({
    maxTimeoutMs,
    shutdownSignal,
    // What Connect reads itself: the messages of streams of both directions.
    readMaxBytes: maxOrdinaryBytes,
    requestGate: passPrepared,
    acceptCompression: [],
    ...(registry && { jsonOptions: { registry } }),
  });
  for (const method of services.flatMap(({ methods }) => Object.values(methods))) {
    if (method.kind === "unary") {
      router.rpc(method.method, (_, context) => call(deps, { method, context }, preparedMessage(context)));
    } else if (method.kind === "server_streaming") {
      router.rpc(method.method, (_, context) => callStream(deps, { method, context }, preparedMessage(context)));
    } else if (method.kind === "bidi_streaming") {
      router.rpc(method.method, (requests, context) => callStream(deps, { method, context }, requests));
    }
  }
  const handlers = new Map(router.handlers.map((handler) => [handler.requestPath, handler]));
  const serviceNames = new Set(services.map(({ service }) => service.typeName));

  const admitStream = async (context: CallContext): Promise<undefined> => {
    try {
      await admit(authenticate, context);
    } catch (error) {
      throw callLog.refuse(toObserved(context), toFailure(error));
    }
  };

  const prepare = async (
    method: DescMethod,
    exchange: Exchange,
    body: IncomingBody | BodyStream,
    { url, isHostBad }: Target,
    values: ContextValues,
  ): Promise<Prepared> => {
    const { headers, connection } = exchange;
    const from = { peer: peerOf(exchange), certificate: connection.peer?.certificate };
    const context = new CallContext({ method, protocolName: "rpc", url, headers, ...from, isHostBad, values });
    const encoding = toEncoding(headers["content-type"] ?? "");
    const decode = (bytes: Buffer) => decodeMessage(method.input, encoding, bytes, registry);
    try {
      const message =
        body instanceof BodyStream ? await admitStream(context) : await receiveMessage(deps, body, context, decode);
      return { header: context.responseFields, outcome: { message } };
    } catch (refusal) {
      return { header: context.responseFields, outcome: { refusal: toWireError(refusal) } };
    }
  };

  const answer = async (
    handler: UniversalHandler,
    exchange: Exchange,
    body: IncomingBody | BodyStream,
    target: Target,
  ) => {
    const values = toValues(exchange);
    const universal = toUniversalRequest(exchange, body, target, values);
    if (isCall(handler, universal)) {
      values.set(preparedKey, await prepare(handler.method, exchange, body, target, values));
    }
    const answered = await handler(universal);
    if (!isSeen(values)) {
      // Refused by Connect itself: no request of a protocol, or one with a bad timeout.
      const reason = answered.trailer?.get("grpc-message") ?? `HTTP ${answered.status}`;
      const call = { rpc: `${handler.service.typeName}/${handler.method.name}`, values };
      callLog.refuse(call, new ConnectError(reason, Code.InvalidArgument));
    }
    if (handler.method.methodKind === "unary") await answerWhole(exchange, answered);
    else await answerPiecemeal(exchange, answered, body, universal.signal);
  };

  return (exchange, target) => {
    const handler = handlers.get(target.path);
    if (handler === undefined) {
      const [, service = ""] = target.path.split("/");
      const isService = serviceNames.has(service);
      // A caller's names are no labels of ours.
      const call = { rpc: isService ? `${service}/*` : "*", values: toValues(exchange) };
      return answerUnimplemented(exchange, isService, target.path, (error) => callLog.refuse(call, error))
        ? deaf
        : undefined;
    }
    const isBidi = handler.method.methodKind === "bidi_streaming";
    const { isEnveloped } = toEncoding(exchange.headers["content-type"] ?? "");
    const prefixBytes = isEnveloped ? envelopeBytes : 0;
    const body = isBidi ? new BodyStream(exchange) : new IncomingBody(exchange, bodyLimits, prefixBytes);
    answer(handler, exchange, body, target).catch((err: unknown) => {
      log.debug({ err, rpc: handler.requestPath }, "the answer broke off");
      exchange.reset(http2Constants.NGHTTP2_INTERNAL_ERROR);
    });
    return body;
  };
}

/** Whether the request is one of a protocol; others are refused by Connect. */
function isCall(handler: UniversalHandler, { method, header }: UniversalServerRequest): boolean {
  return handler.allowedMethods.includes(method) && handler.supportedContentType(header.get("content-type") ?? "");
}

/** A compressed request would be a way round the size limits of what is held in memory. */
function requireUncompressed(headers: RequestHeaders): void {
  for (const name of ["grpc-encoding", "connect-content-encoding", "content-encoding"]) {
    if ((headers[name] ?? "identity") === "identity") continue;
    throw failure("ArgsError", "compressed requests are not taken", undefined, { code: Code.Unimplemented });
  }
}

/** Connect's gate: lets the call through if ours did. */
async function passPrepared({ values, responseHeader }: HandlerContext): Promise<void> {
  const { header, outcome } = preparedOf(values);
  for (let i = 0; i < header.length; i += 2) responseHeader.set(header[i] ?? "", header[i + 1] ?? "");
  if ("refusal" in outcome) throw outcome.refusal;
}

/** The message of a call that was let through, in the place of the empty one that Connect has seen. */
function preparedMessage({ values }: HandlerContext): Message {
  const { outcome } = preparedOf(values);
  if ("refusal" in outcome) throw outcome.refusal;
  if (outcome.message === undefined) throw new Error("the call was not received");
  return outcome.message;
}

function preparedOf(values: ContextValues): Prepared {
  const prepared = values.get(preparedKey);
  if (prepared === undefined) throw new Error("the call was not prepared");
  return prepared;
}

/** What every call of this door knows from its start. */
function toValues(exchange: Exchange): ContextValues {
  return createContextValues().set(peerKey, peerOf(exchange));
}
