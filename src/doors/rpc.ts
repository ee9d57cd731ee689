import type { Message } from "@bufbuild/protobuf";
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
import { universalResponseToNodeResponse } from "@connectrpc/connect-node";
import type { BaseLogger } from "pino";
import type { GateContext } from "../auth/authenticate.ts";
import { failure, toWireError } from "../errors.ts";
import type { HttpRequest, HttpResponse } from "../http/listener.ts";
import type { Target } from "../http/target.ts";
import { toRequestHeaders } from "../http/target.ts";
import type { Fields, RequestHeaders } from "../http2/exchange.ts";
import { isSeen } from "../observe/call-log.ts";
import { peerKey, peerOf } from "../observe/peer.ts";
import { toFailure } from "./bind.ts";
import { maxOrdinaryBytes } from "./body.ts";
import { admit, type CallDeps, call, callStream, receiveMessage, toObserved } from "./call.ts";
import { CallContext, toHeaders } from "./context.ts";
import { decodeMessage, encodeEmpty, toEncoding } from "./decode.ts";
import { answerUnimplemented } from "./unimplemented.ts";

export interface RpcOptions extends CallDeps {
  readonly services: readonly ServiceImplSpec[];
  readonly log: BaseLogger;
  /** The longest deadline that a caller may set, in milliseconds. */
  readonly maxTimeoutMs: number;
  /** Aborted when streams that are still open must end. */
  readonly shutdownSignal: AbortSignal;
}

/** Answers gRPC, gRPC-Web and Connect; false when the request is none of them. */
export type Rpc = (request: HttpRequest, response: HttpResponse, target: Target) => boolean;

/** A call before Connect has it: what its gate has put into the answer's headers, and its message or its refusal. */
interface Prepared {
  readonly header: Fields;
  /** Without a message for a stream of both directions: Connect reads those. */
  readonly outcome: { readonly message: Message | undefined } | { readonly refusal: ConnectError };
}

const preparedKey = createContextKey<Prepared | undefined>(undefined, {
  description: "the call before Connect has it",
});

// Without one, abort() would build a DOMException with its stack.
const callerGone = new ConnectError("the caller has gone", Code.Canceled);

/**
 * Creates the RPC door. Connect writes the answers of all protocols. The gate and the body come before it: a call under
 * way costs about 40 KB there, and 10 KB here; one budget bounds the bodies of all doors; and what is not a message is
 * the caller's error, where Connect has an internal one.
 */
export function createRpc(options: RpcOptions): Rpc {
  const { services, callLog, log, maxTimeoutMs, shutdownSignal } = options;
  const authenticate = async (context: GateContext) => {
    await options.authenticate(context);
    requireUncompressed(context.headers);
  };
  const deps = { authenticate, readBody: options.readBody, callLog };
  const router = createConnectRouter({
    maxTimeoutMs,
    shutdownSignal,
    // What Connect reads itself: the messages of streams of both directions.
    readMaxBytes: maxOrdinaryBytes,
    requestGate: passPrepared,
    acceptCompression: [],
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
    { method }: UniversalHandler,
    request: HttpRequest,
    { isHostBad }: Target,
    { url, header: requestHeader, contextValues }: ReturnType<typeof toUniversalRequest>,
  ): Promise<Prepared> => {
    const context = new CallContext({
      method,
      protocolName: "rpc",
      url,
      headers: toRequestHeaders(request),
      peer: peerOf(request.socket),
      isHostBad,
      values: contextValues,
    });
    const encoding = toEncoding(requestHeader.get("content-type") ?? "");
    const decode = (body: Buffer) => decodeMessage(method.input, encoding, body);
    try {
      const message =
        method.methodKind === "bidi_streaming"
          ? await admitStream(context)
          : await receiveMessage(deps, request, context, decode);
      return { header: context.responseFields, outcome: { message } };
    } catch (refusal) {
      return { header: context.responseFields, outcome: { refusal: toWireError(refusal) } };
    }
  };

  const answer = async (handler: UniversalHandler, request: HttpRequest, response: HttpResponse, target: Target) => {
    const isBidi = handler.method.methodKind === "bidi_streaming";
    const universal = toUniversalRequest(request, response, target, isBidi);
    if (isCall(handler, universal)) {
      universal.contextValues.set(preparedKey, await prepare(handler, request, target, universal));
    }
    const answered = await handler(universal);
    if (!isSeen(universal.contextValues)) {
      // Refused by Connect itself: no request of a protocol, or one with a bad timeout.
      const reason = answered.trailer?.get("grpc-message") ?? `HTTP ${answered.status}`;
      const call = { rpc: `${handler.service.typeName}/${handler.method.name}`, values: universal.contextValues };
      callLog.refuse(call, new ConnectError(reason, Code.InvalidArgument));
    }
    await universalResponseToNodeResponse(answered, response);
  };

  return (request, response, target) => {
    const handler = handlers.get(target.path);
    if (handler === undefined) {
      const [, service = ""] = target.path.split("/");
      const isService = serviceNames.has(service);
      // A caller's names are no labels of ours.
      const call = { rpc: isService ? `${service}/*` : "*", values: toValues(request) };
      return answerUnimplemented(request, response, isService, (error) => callLog.refuse(call, error));
    }
    answer(handler, request, response, target).catch((err: unknown) => {
      log.debug({ err, rpc: handler.requestPath }, "the peer went away before it had the answer");
      response.destroy();
    });
    return true;
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
function toValues(request: HttpRequest): ContextValues {
  return createContextValues().set(peerKey, peerOf(request.socket));
}

/**
 * The request, with an empty message as its body, and so without the length of the real one, unless it is a stream of
 * both directions.
 */
function toUniversalRequest(request: HttpRequest, response: HttpResponse, target: Target, isBidi: boolean) {
  const controller = new AbortController();
  response.once("close", () => {
    if (!response.writableFinished) controller.abort(callerGone);
  });
  const header = toHeaders(toRequestHeaders(request));
  header.delete("content-length");
  const { httpVersion, method = "" } = request;
  const empty = encodeEmpty(toEncoding(header.get("content-type") ?? ""));
  async function* body() {
    yield empty;
  }
  const contextValues = toValues(request);
  const { signal } = controller;
  return { httpVersion, method, url: target.url, header, body: isBidi ? request : body(), signal, contextValues };
}
