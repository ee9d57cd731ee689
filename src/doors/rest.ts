import { type DescMethod, getOption, hasOption, type JsonObject, type Message, toJson } from "@bufbuild/protobuf";
import { Code, ConnectError, type ServiceImplSpec } from "@connectrpc/connect";
import { errorTable, retryAfterMsOf, toErrorFacts, toWireError } from "../errors.ts";
import { http } from "../gen/google/api/annotations_pb.ts";
import { discardBody } from "../http/discard.ts";
import type { HttpRequest, HttpResponse } from "../http/listener.ts";
import { type Target, toRequestHeaders } from "../http/target.ts";
import type { Fields } from "../http2/exchange.ts";
import { peerOf } from "../observe/peer.ts";
import { unknownFieldsKey } from "../observe/unknown-fields.ts";
import { BindError, bind, bindStatus, toText } from "./bind.ts";
import { type Call, type CallDeps, receiveMessage, type UnaryMethod } from "./call.ts";
import { CallContext } from "./context.ts";
import { compileToOpenImJson, errorEnvelope, headerFields, successEnvelope, type ToOpenImJson } from "./envelope.ts";

export interface RestOptions extends CallDeps {
  readonly services: readonly ServiceImplSpec[];
  /** Whether a body with a key that is no field is refused. Default: the key is ignored, and named in a header. */
  readonly isStrict?: boolean;
}

/** A call over REST, and how it is answered. */
export interface RestCall extends Call {
  /** Gives the message; throws a refusal that is logged. */
  readonly receive: () => Promise<Message>;
  readonly answer: (output: Message) => void;
  readonly refuse: (thrown: unknown) => Promise<void>;
}

/** The response header that names the keys of the body that were ignored. */
const unknownFieldsHeader = "mustreach-unknown-fields";

interface Route {
  readonly method: UnaryMethod;
  readonly toOpenImJson: ToOpenImJson;
}

// abort() without a reason would build a DOMException with its stack for every request.
const done = new ConnectError("the call has ended", Code.Canceled);

/**
 * Creates the REST door: one table of paths, from the google.api.http annotations. The result is the call that a
 * request asks for, undefined when its path is none of ours.
 *
 * @throws for an annotation that is not supported.
 */
export function createRest({ services, isStrict = false, ...deps }: RestOptions) {
  const routes = compileRoutes(services);

  return (request: HttpRequest, response: HttpResponse, target: Target): RestCall | undefined => {
    const route = request.method === "POST" ? routes.get(target.path) : undefined;
    if (route === undefined) return undefined;
    const { method } = route.method;
    const context = new CallContext({
      method,
      protocolName: "rest",
      url: target.url,
      headers: toRequestHeaders(request),
      peer: peerOf(request.socket),
      isHostBad: target.isHostBad,
    });
    response.once("close", () => context.abort(done));

    const decode = (body: Buffer) =>
      bind({ input: method.input, isStrict }, toText(body, bindStatus(method.input)), (unknown) => {
        context.values.set(unknownFieldsKey, unknown);
        context.respondWith(unknownFieldsHeader, unknown.join(", "));
      });

    return {
      method: route.method,
      context,
      receive: () => receiveMessage(deps, request, context, decode),
      answer(output) {
        const json = toJson(method.output, output, { alwaysEmitImplicit: true }) as JsonObject;
        for (const [name, header] of Object.entries(headerFields)) {
          if (name in json) context.respondWith(header.toLowerCase(), String(json[name]).replace(/^DURABILITY_/, ""));
          delete json[name];
        }
        write(response, 200, context.responseFields, successEnvelope(route.toOpenImJson(json)));
      },
      async refuse(thrown) {
        const error = toWireError(thrown);
        const retryAfterMs = retryAfterMsOf(error);
        if (retryAfterMs !== undefined) context.respondWith("retry-after", String(Math.ceil(retryAfterMs / 1_000)));
        await discardBody(request);
        write(response, toStatus(error), context.responseFields, errorEnvelope(toErrorFacts(error)));
      },
    };
  };
}

function compileRoutes(services: readonly ServiceImplSpec[]): ReadonlyMap<string, Route> {
  const routes = new Map<string, Route>();
  for (const method of services.flatMap(({ methods }) => Object.values(methods))) {
    const path = restPath(method.method);
    if (path === undefined || method.kind !== "unary") continue;
    if (routes.has(path)) throw new Error(`${method.method.toString()}: another method is at ${path}`);
    routes.set(path, { method, toOpenImJson: compileToOpenImJson(method.method.output) });
  }
  return routes;
}

/** The path of a method's annotation; undefined for a method without one. */
function restPath(method: DescMethod): string | undefined {
  if (!hasOption(method, http)) return undefined;
  const { pattern, body, additionalBindings } = getOption(method, http);
  const isFixedPost = pattern.case === "post" && body === "*" && /^\/[^{}*]+$/.test(pattern.value);
  if (!isFixedPost || additionalBindings.length > 0 || method.methodKind !== "unary") {
    throw new Error(`${method.toString()}: only { post: "/a/fixed/path" body: "*" } of a unary method is supported`);
  }
  return pattern.value;
}

/** A business error is OpenIM's HTTP 200; a body that cannot be bound, and a rate, have a status of their own. */
function toStatus(error: ConnectError): number {
  if (error.cause instanceof BindError) return error.cause.httpStatus;
  return toErrorFacts(error).errCode === errorTable.TooManyRequestsError.errCode ? 429 : 200;
}

function write(response: HttpResponse, status: number, headers: Fields, body: string): void {
  if (response.headersSent || response.destroyed) return;
  for (let i = 0; i < headers.length; i += 2) response.setHeader(headers[i] ?? "", headers[i + 1] ?? "");
  response.setHeader("Content-Type", "application/json");
  response.setHeader("Content-Length", Buffer.byteLength(body));
  response.statusCode = status;
  // As bytes: with a text, Node writes the headers as UTF-8 as well, and not as they came.
  response.end(Buffer.from(body));
}
