import {
  create,
  type DescMethod,
  type DescMethodUnary,
  type DescService,
  getOption,
  hasOption,
  type JsonObject,
  type Message,
  toJson,
} from "@bufbuild/protobuf";
import {
  Code,
  ConnectError,
  createContextValues,
  createHandlerContext,
  type HandlerContext,
  type Interceptor,
  type ServiceImpl,
  type UnaryRequest,
} from "@connectrpc/connect";
import { type ErrorFacts, errorTable, retryAfterMsOf, toErrorFacts } from "../errors.ts";
import { http } from "../gen/google/api/annotations_pb.ts";
import { discardBody } from "../http/discard.ts";
import type { HttpRequest, HttpResponse } from "../http/listener.ts";
import type { Target } from "../http/target.ts";
import { toHeaders } from "../http/target.ts";
import type { CallLog } from "../observe/call-log.ts";
import { peerKey, peerOf } from "../observe/peer.ts";
import { unknownFieldsKey } from "../observe/unknown-fields.ts";
import { BindError, type Binding, bind, bindStatus, toFailure, toText } from "./bind.ts";
import type { ReadBody } from "./body.ts";
import { compileToOpenImJson, errorEnvelope, headerFields, successEnvelope, type ToOpenImJson } from "./envelope.ts";
import { badHostKey, type Gate } from "./gate.ts";

/** Options of {@link createRest}. */
export interface RestOptions {
  readonly gate: Gate;
  readonly interceptors: readonly Interceptor[];
  readonly readBody: ReadBody;
  readonly callLog: Pick<CallLog, "refuse">;
  /** Whether a body with a key that is no field is refused. Default: the key is ignored, and named in a header. */
  readonly isStrict?: boolean;
}

/** The response header that names the keys of the body that were ignored. */
const unknownFieldsHeader = "Mustreach-Unknown-Fields";

/** The documented JSON paths. */
export interface Rest {
  /** Adds a service's annotated methods. Throws for an annotation that is not supported. */
  register<S extends DescService>(service: S, implementation: Partial<ServiceImpl<S>>): void;
  /** Answers a request if its path is one of ours. */
  handle(request: HttpRequest, response: HttpResponse, target: Target): boolean;
}

interface Route extends Binding {
  readonly service: DescService;
  readonly method: DescMethodUnary;
  readonly call: (message: Message, context: HandlerContext) => Promise<{ message: Message; header: Headers }>;
  readonly toOpenImJson: ToOpenImJson;
}

// abort() without a reason would build a DOMException with its stack for every request.
const done = new ConnectError("the call has ended", Code.Canceled);

/** Creates the REST door: one table of paths, from the google.api.http annotations. */
export function createRest(options: RestOptions): Rest {
  const routes = new Map<string, Route>();

  const answer = async (
    route: Route,
    request: HttpRequest,
    response: HttpResponse,
    { url, isHostBad }: Target,
  ): Promise<void> => {
    const context = createHandlerContext({
      service: route.service,
      method: route.method,
      protocolName: "rest",
      requestMethod: "POST",
      url,
      requestHeader: toHeaders(request),
      contextValues: createContextValues().set(peerKey, peerOf(request.socket)).set(badHostKey, isHostBad),
    });
    const onClose = () => {
      if (!response.writableFinished) context.abort(done);
    };
    response.once("close", onClose);
    try {
      await options.gate(context);
      const body = await options.readBody(request, context);
      const input = bind(route, toText(body, bindStatus(route.input)), (unknown) => {
        context.values.set(unknownFieldsKey, unknown);
        context.responseHeader.set(unknownFieldsHeader, unknown.join(", "));
      });
      const output = await route.call(input, context);
      const json = toJson(route.method.output, output.message, { alwaysEmitImplicit: true }) as JsonObject;
      for (const [name, value] of output.header) context.responseHeader.set(name, value);
      for (const [name, header] of Object.entries(headerFields)) {
        if (name in json) context.responseHeader.set(header, String(json[name]).replace(/^DURABILITY_/, ""));
        delete json[name];
      }
      write(response, 200, context.responseHeader, successEnvelope(route.toOpenImJson(json)));
    } catch (error) {
      const rpc = `${route.service.typeName}/${route.method.name}`;
      const refusal = options.callLog.refuse({ rpc, values: context.values }, toFailure(error));
      const facts = toErrorFacts(refusal);
      const retryAfterMs = retryAfterMsOf(refusal);
      if (retryAfterMs !== undefined) {
        context.responseHeader.set("Retry-After", String(Math.ceil(retryAfterMs / 1_000)));
      }
      await discardBody(request);
      write(response, toStatus(error, facts), context.responseHeader, errorEnvelope(facts));
    } finally {
      response.off("close", onClose);
      // Takes the context's listeners off the shutdown signal.
      context.abort(done);
    }
  };

  return {
    register(service, implementation) {
      const methods: readonly DescMethod[] = service.methods;
      for (const method of methods) {
        const implemented = implementation[method.localName as keyof typeof implementation];
        const path = restPath(method);
        if (path === undefined || implemented === undefined || !isUnary(method)) continue;
        if (routes.has(path)) throw new Error(`${method.toString()}: another method is at ${path}`);
        routes.set(path, {
          service,
          method,
          input: method.input,
          isStrict: options.isStrict ?? false,
          call: compileCall(service, method, implemented as UnaryFn, options.interceptors),
          toOpenImJson: compileToOpenImJson(method.output),
        });
      }
    },

    handle(request, response, target) {
      const route = routes.get(target.path);
      if (route === undefined || request.method !== "POST") return false;
      answer(route, request, response, target).catch(() => response.destroy());
      return true;
    },
  };
}

/** A business error is OpenIM's HTTP 200; a body that cannot be bound, and a rate, have a status of their own. */
function toStatus(error: unknown, { errCode }: ErrorFacts): number {
  if (error instanceof BindError) return error.httpStatus;
  return errCode === errorTable.TooManyRequestsError.errCode ? 429 : 200;
}

/** The path of a method's annotation; undefined for a method without one. */
function restPath(method: DescMethod): string | undefined {
  if (!hasOption(method, http)) return undefined;
  const { pattern, body, additionalBindings } = getOption(method, http);
  const isFixedPost = pattern.case === "post" && body === "*" && /^\/[^{}*]+$/.test(pattern.value);
  if (!isFixedPost || additionalBindings.length > 0 || !isUnary(method)) {
    throw new Error(`${method.toString()}: only { post: "/a/fixed/path" body: "*" } of a unary method is supported`);
  }
  return pattern.value;
}

function isUnary(method: DescMethod): method is DescMethod & DescMethodUnary {
  return method.methodKind === "unary";
}

type UnaryFn = (request: Message, context: HandlerContext) => Promise<Message> | Message;

/** Runs a method through the same interceptors as an RPC. */
function compileCall(
  service: DescService,
  method: DescMethodUnary,
  implementation: UnaryFn,
  interceptors: readonly Interceptor[],
): Route["call"] {
  return async (message, context) => {
    const invoke = async () => ({
      stream: false as const,
      service,
      method,
      message: create(method.output, await implementation(message, context)),
      header: new Headers(),
      trailer: new Headers(),
    });
    const next = interceptors.reduceRight<ReturnType<Interceptor>>((inner, interceptor) => interceptor(inner), invoke);
    const request: UnaryRequest = {
      stream: false,
      service,
      method,
      message,
      requestMethod: context.requestMethod,
      url: context.url,
      signal: context.signal,
      header: context.requestHeader,
      contextValues: context.values,
    };
    const result = await next(request);
    if (result.stream) throw new Error(`${method.name} is not unary`);
    return result;
  };
}

function write(response: HttpResponse, status: number, headers: Headers, body: string): void {
  if (response.headersSent || response.destroyed) return;
  for (const [name, value] of headers) response.setHeader(name, value);
  response.setHeader("Content-Type", "application/json");
  response.setHeader("Content-Length", Buffer.byteLength(body));
  response.statusCode = status;
  // As bytes: with a text, Node writes the headers as UTF-8 as well, and not as they came.
  response.end(Buffer.from(body));
}
