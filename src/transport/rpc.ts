import type { Message } from "@bufbuild/protobuf";
import {
  Code,
  ConnectError,
  type ConnectRouter,
  type ConnectRouterOptions,
  type ContextValues,
  createConnectRouter,
  createContextKey,
  createContextValues,
  type Interceptor,
} from "@connectrpc/connect";
import type { UniversalHandler, UniversalServerRequest } from "@connectrpc/connect/protocol";
import { universalResponseToNodeResponse } from "@connectrpc/connect-node";
import type { BaseLogger } from "pino";
import { failure } from "../errors.ts";
import { type CallLog, isSeen } from "../observe/call-log.ts";
import { peerKey, peerOf } from "../observe/peer.ts";
import { toFailure } from "./bind.ts";
import type { ReadBody } from "./body.ts";
import { decodeMessage, encodeEmpty, toEncoding } from "./decode.ts";
import { badHostKey, type Gate } from "./gate.ts";
import { toHeaders } from "./headers.ts";
import type { HttpRequest, HttpResponse } from "./listener.ts";
import type { Target } from "./target.ts";
import { answerUnimplemented } from "./unimplemented.ts";

/** Options of {@link createRpc}. */
export interface RpcOptions extends Omit<ConnectRouterOptions, "requestGate" | "readMaxBytes" | "acceptCompression"> {
  /** Registers the services. */
  readonly routes: (router: ConnectRouter) => void;
  readonly gate: Gate;
  readonly interceptors: Interceptor[];
  readonly readBody: ReadBody;
  readonly callLog: Pick<CallLog, "refuse">;
  readonly log: BaseLogger;
}

/** Answers gRPC, gRPC-Web and Connect; false when the request is none of them. */
export type Rpc = (request: HttpRequest, response: HttpResponse, target: Target) => boolean;

/** The message of the call under way. */
const messageKey = createContextKey<Message | undefined>(undefined, { description: "the decoded request" });

// Without one, abort() would build a DOMException with its stack.
const callerGone = new ConnectError("the caller has gone", Code.Canceled);

/**
 * Creates the RPC door. Connect writes the answers of all protocols; bodies are read and decoded here, so that one
 * budget bounds them and what is not a message is the caller's error: Connect would call it internal.
 */
export function createRpc(options: RpcOptions): Rpc {
  const { routes, gate, interceptors, readBody, callLog, log, ...rest } = options;
  const router = createConnectRouter({
    ...rest,
    interceptors: [takeMessage, ...interceptors],
    requestGate: (context) =>
      gate(context).catch((error: unknown) => {
        throw toFailure(error);
      }),
    // Compressed requests are not taken: they would be a way round the size limits of what is held in memory.
    acceptCompression: [],
  });
  routes(router);
  const handlers = new Map(router.handlers.map((handler) => [handler.requestPath, handler]));
  const services = new Set(router.handlers.map(({ service }) => service.typeName));

  const answer = async (handler: UniversalHandler, request: HttpRequest, response: HttpResponse, target: Target) => {
    const { method } = handler;
    const values = toValues(request, target);
    const call = { rpc: `${method.parent.typeName}/${method.name}`, values };
    const encoding = toEncoding(request.headers["content-type"] ?? "");
    const read = async () => {
      try {
        return decodeMessage(method.input, encoding, await readBody(request, { method, values }));
      } catch (error) {
        throw callLog.refuse(call, toFailure(error));
      }
    };
    async function* body() {
      values.set(messageKey, await read());
      yield encodeEmpty(encoding);
    }
    const universal = await handler(toUniversalRequest(request, response, target, values, body()));
    // Connect itself refuses what is no request of the protocol: a Content-Type, an encoding, a timeout.
    if (!isSeen(values)) {
      const reason = universal.trailer?.get("grpc-message") ?? `HTTP ${universal.status}`;
      callLog.refuse(call, new ConnectError(reason, Code.InvalidArgument));
    }
    await universalResponseToNodeResponse(universal, response);
  };

  return (request, response, target) => {
    const handler = handlers.get(target.path);
    if (handler === undefined) {
      const [, service = ""] = target.path.split("/");
      const isService = services.has(service);
      // A caller's names are no labels of ours.
      const call = { rpc: isService ? `${service}/*` : "*", values: toValues(request, target) };
      return answerUnimplemented(request, response, isService, (error) => callLog.refuse(call, error));
    }
    answer(handler, request, response, target).catch((err: unknown) => {
      log.debug({ err, rpc: handler.requestPath }, "the peer went away before it had the answer");
      response.destroy();
    });
    return true;
  };
}

/** Gives the method what was decoded in the place of the empty message that Connect has seen. */
const takeMessage: Interceptor = (next) => (request) => {
  const take = () => {
    const message = request.contextValues.get(messageKey);
    if (message === undefined) throw failure("ServerInternalError", "internal error");
    return message;
  };
  if (!request.stream) return next({ ...request, message: take() });
  const { message: messages } = request;
  async function* taken() {
    for await (const _ of messages) yield take();
  }
  return next({ ...request, message: taken() });
};

/** What every call of this door knows from its start. */
function toValues(request: HttpRequest, { isHostBad }: Target): ContextValues {
  return createContextValues().set(peerKey, peerOf(request.socket)).set(badHostKey, isHostBad);
}

function toUniversalRequest(
  request: HttpRequest,
  response: HttpResponse,
  { url }: Target,
  contextValues: ContextValues,
  body: AsyncIterable<Uint8Array>,
): UniversalServerRequest {
  const controller = new AbortController();
  response.once("close", () => {
    if (!response.writableFinished) controller.abort(callerGone);
  });
  const header = toHeaders(request);
  // It is not that of the body which Connect sees.
  header.delete("content-length");
  const { httpVersion, method = "" } = request;
  return { httpVersion, method, url, header, body, signal: controller.signal, contextValues };
}
