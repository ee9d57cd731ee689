import { type DescMessage, fromBinary, type Message } from "@bufbuild/protobuf";
import type { ConnectError, ServiceImplSpec } from "@connectrpc/connect";
import type { BaseLogger } from "pino";
import type { BodyLimits } from "../calls/body.ts";
import { type CallDeps, call, receiveMessage, type UnaryMethod } from "../calls/call.ts";
import { callEnded } from "../calls/call-ends.ts";
import { CallContext } from "../calls/context.ts";
import { IncomingBody } from "../calls/incoming-body.ts";
import { createByEncoding } from "../calls/inflated-body.ts";
import { errorTable, retryAfterMsOf, toErrorFacts, toWireError } from "../errors.ts";
import { corsFields } from "../http/cors.ts";
import type { Target } from "../http/target.ts";
import type { Exchange, Fields, Receiver } from "../http2/exchange.ts";
import { compileAnswer, type ToAnswer } from "../json/answer.ts";
import { BindError, bind, bindStatus, toText } from "../json/bind.ts";
import { errorEnvelope, successEnvelope } from "../json/envelope.ts";
import { restPath } from "../json/rest-path.ts";
import { peerOf } from "../observe/peer.ts";
import { unknownFieldsKey } from "../observe/unknown-fields.ts";

export interface RestOptions extends CallDeps {
  readonly services: readonly ServiceImplSpec[];
  /** Whether a body with a key that is no field is refused. Default: the key is ignored, and named in a header. */
  readonly isStrict?: boolean;
  readonly bodyLimits: BodyLimits;
  readonly log: Pick<BaseLogger, "error">;
}

/** Answers a request whose path is one of REST's, and takes the rest of it; undefined when it is none. */
export type Rest = (exchange: Exchange, target: Target) => Receiver | undefined;

/** The response header that names the keys of the body that were ignored. */
const unknownFieldsHeader = "mustreach-unknown-fields";

const commonFields: Fields = [...corsFields, "content-type", "application/json"];

interface Route {
  readonly method: UnaryMethod;
  readonly toAnswer: ToAnswer;
}

/**
 * Creates the REST door: one table of paths, from the google.api.http annotations.
 *
 * @throws for an annotation that is not supported.
 */
export function createRest({ services, isStrict = false, bodyLimits, log, ...deps }: RestOptions): Rest {
  const routes = compileRoutes(services);
  const byEncoding = createByEncoding(bodyLimits);

  const serve = async ({ method, toAnswer }: Route, exchange: Exchange, context: CallContext, body: IncomingBody) => {
    const { input } = method.method;
    const onUnknown = (names: readonly string[]) => {
      context.values.set(unknownFieldsKey, names);
      context.respondWith(unknownFieldsHeader, names.join(", "));
    };
    const decode = (bytes: Buffer) =>
      isProtobuf(exchange)
        ? decodeProtobuf(input, bytes)
        : bind({ input, isStrict }, toText(bytes, bindStatus(input)), onUnknown);
    try {
      const message = await receiveMessage(
        deps,
        byEncoding(body, exchange.headers["content-encoding"]),
        context,
        decode,
      );
      const output = await call(deps, { method, context }, message);
      const { fields, data } = toAnswer(output);
      write(exchange, 200, [...context.responseFields, ...fields], successEnvelope(data));
    } catch (thrown) {
      const error = toWireError(thrown);
      const retryAfterMs = retryAfterMsOf(error);
      if (retryAfterMs !== undefined) context.respondWith("retry-after", String(Math.ceil(retryAfterMs / 1_000)));
      await body.discard();
      write(exchange, toStatus(error), context.responseFields, errorEnvelope(toErrorFacts(error)));
    }
  };

  return (exchange, target) => {
    const { headers } = exchange;
    const route = headers[":method"] === "POST" ? routes.get(target.path) : undefined;
    if (route === undefined) return undefined;
    const { url, isHostBad } = target;
    const from = { peer: peerOf(exchange), certificate: exchange.connection.peer?.certificate };
    const { method } = route.method;
    const context = new CallContext({ method, protocolName: "rest", url, headers, ...from, isHostBad });
    const body = new IncomingBody(exchange, bodyLimits);
    body.closed = () => context.abort(callEnded);
    serve(route, exchange, context, body).catch((err: unknown) => {
      log.error({ err, path: target.path }, "request failed");
      exchange.end([":status", "500"]);
    });
    return body;
  };
}

function compileRoutes(services: readonly ServiceImplSpec[]): ReadonlyMap<string, Route> {
  const routes = new Map<string, Route>();
  for (const method of services.flatMap(({ methods }) => Object.values(methods))) {
    const path = restPath(method.method);
    if (path === undefined || method.kind !== "unary") continue;
    if (routes.has(path)) throw new Error(`${method.method.toString()}: another method is at ${path}`);
    routes.set(path, { method, toAnswer: compileAnswer(method.method.output) });
  }
  return routes;
}

/** Whether a body is protobuf, as OpenIM's JavaScript SDK has it for some paths. */
function isProtobuf({ headers }: Exchange): boolean {
  return headers["content-type"] === "application/x-protobuf";
}

function decodeProtobuf(input: DescMessage, bytes: Uint8Array): Message {
  try {
    return fromBinary(input, bytes);
  } catch {
    throw new BindError("the body is not the method's message", bindStatus(input));
  }
}

/** A business error is OpenIM's HTTP 200; a body that cannot be bound, and a rate, have a status of their own. */
function toStatus(error: ConnectError): number {
  if (error.cause instanceof BindError) return error.cause.httpStatus;
  return toErrorFacts(error).errCode === errorTable.TooManyRequestsError.errCode ? 429 : 200;
}

function write(exchange: Exchange, status: number, fields: Fields, text: string): void {
  const body = Buffer.from(text);
  const length = String(body.length);
  exchange.answer([":status", String(status), ...commonFields, ...fields, "content-length", length], body);
}
