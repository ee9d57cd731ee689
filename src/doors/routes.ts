import { Code, ConnectError, type ServiceImplSpec } from "@connectrpc/connect";
import type { BaseLogger } from "pino";
import { answerCors } from "../http/cors.ts";
import type { HttpHandler } from "../http/listener.ts";
import { createPages, healthz, notFound, writeJson } from "../http/pages.ts";
import { readTarget } from "../http/target.ts";
import type { Health } from "../observe/health.ts";
import { createBodyLimits, createReadBody } from "./body.ts";
import { type CallDeps, call } from "./call.ts";
import { createRest } from "./rest.ts";
import { createRpc } from "./rpc.ts";

export interface RouteOptions extends Omit<CallDeps, "readBody"> {
  readonly services: readonly ServiceImplSpec[];
  readonly health: Health;
  readonly log: BaseLogger;
  /** Whether a REST body with a key that is no field is refused. */
  readonly strictJson: boolean;
  /** The largest notification, in bytes. */
  readonly maxNotificationBytes: number;
  /** Aborted when streams that are still open must end. */
  readonly shutdownSignal: AbortSignal;
}

/** Requests of this size are always taken, in bytes: batches, and groups of many members. OpenIM's limit. */
const minRequestBytes = 8_388_608;

/** The longest deadline that a gRPC or Connect caller may set, in milliseconds: 30 days, for streams. */
const maxTimeoutMs = 30 * 86_400_000;

/** Creates the handler of every request: where each path leads. */
export function createRoutes(options: RouteOptions): HttpHandler {
  const { services, authenticate, callLog, log, shutdownSignal } = options;
  // JSON may write every byte as \u00XX.
  const maxRequestBytes = Math.max(minRequestBytes, options.maxNotificationBytes * 6);
  const deps = { authenticate, readBody: createReadBody(createBodyLimits({ maxBytes: maxRequestBytes })), callLog };
  const rest = createRest({ ...deps, services, isStrict: options.strictJson });
  const rpc = createRpc({ ...deps, services, log, maxTimeoutMs, shutdownSignal });
  const pages = createPages({
    "/healthz": healthz,
    "/readyz": async (response) => {
      const { ready } = await options.health.readiness();
      writeJson(response, ready ? 200 : 503, { ready });
    },
  });

  return (request, response) => {
    if (answerCors(request, response)) return;
    const target = readTarget(request);
    const restCall = rest(request, response, target);
    if (restCall !== undefined) {
      const answered = restCall.receive().then((message) => call(deps, restCall, message));
      return answered.then(restCall.answer).catch(restCall.refuse);
    }
    if (!pages(request, response, target) && !rpc(request, response, target)) notFound(response);
    return undefined;
  };
}

/** How calls that are still open when the time is up are ended. */
export const shutdownReason = new ConnectError("the server is stopping", Code.Unavailable);
