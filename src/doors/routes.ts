import type { ServiceImplSpec } from "@connectrpc/connect";
import type { BaseLogger } from "pino";
import type { Gate } from "../auth/authenticate.ts";
import { type Caller, callerKey } from "../auth/caller.ts";
import { createBodyLimits } from "../calls/body.ts";
import type { CallDeps } from "../calls/call.ts";
import { failure } from "../errors.ts";
import { answerPreflight, corsFields } from "../http/cors.ts";
import { createPages, healthz, notFound, toJsonPage } from "../http/pages.ts";
import { deaf } from "../http/receiver.ts";
import { readTarget } from "../http/target.ts";
import type { Accept, Exchange, Receiver } from "../http2/exchange.ts";
import type { Health } from "../observe/health.ts";
import type { TimerWheel } from "../timer-wheel.ts";
import type { WebSocketRoute } from "../websocket/upgrades.ts";
import { findEventMethods } from "./events/methods.ts";
import { createSse } from "./events/sse.ts";
import { createWebSocketDoor, webSocketPath } from "./events/web-socket.ts";
import { createGrpc } from "./grpc.ts";
import { createRest } from "./rest.ts";
import { createRpc } from "./rpc.ts";

export interface RouteOptions extends CallDeps {
  readonly services: readonly ServiceImplSpec[];
  /** Finds the caller of a ticket, which is used up; see `Tickets`. */
  readonly redeemTicket: (ticket: string) => Promise<Caller>;
  readonly health: Health;
  readonly log: BaseLogger;
  /** Whether a REST body with a key that is no field is refused. */
  readonly strictJson: boolean;
  /** The largest notification, in bytes. */
  readonly maxNotificationBytes: number;
  /** Where deadlines are waited for. */
  readonly timers: TimerWheel;
  /** How many processes divide the memory for unfinished bodies. */
  readonly processes: number;
  /** Aborted when streams that are still open must end. */
  readonly shutdownSignal: AbortSignal;
}

/** Requests of this size are always taken, in bytes: batches, and groups of many members. OpenIM's limit. */
const minRequestBytes = 8_388_608;

/** The longest deadline that a gRPC or Connect caller may set, in milliseconds: 30 days, for streams. */
const maxTimeoutMs = 30 * 86_400_000;

/** Where each path leads. */
export interface Routes {
  /** Answers every request. */
  readonly accept: Accept;
  /** Those for WebSockets. */
  readonly webSockets: Readonly<Record<string, WebSocketRoute>>;
}

export function createRoutes(options: RouteOptions): Routes {
  const { services, authenticate, callLog, log, shutdownSignal, timers } = options;
  // JSON may write every byte as \u00XX.
  const maxRequestBytes = Math.max(minRequestBytes, options.maxNotificationBytes * 6);
  const bodyLimits = createBodyLimits({ maxBytes: maxRequestBytes, processes: options.processes });
  const deps = { services, authenticate, callLog, log, bodyLimits };
  const rest = createRest({ ...deps, isStrict: options.strictJson });
  const grpc = createGrpc({ ...deps, maxTimeoutMs, shutdownSignal, timers });
  const rpc = createRpc({ ...deps, maxTimeoutMs, shutdownSignal });
  const { subscribe, receive } = findEventMethods(services);
  const gateOf = (ticket: string | undefined): Gate => {
    if (ticket === undefined) return authenticate;
    return async ({ values }) => void values.set(callerKey, await options.redeemTicket(ticket));
  };
  const sse = createSse({ callLog, gateOf, method: subscribe });
  const webSocket = createWebSocketDoor({ callLog, gateOf, timers, method: receive });
  const readyz = async () => {
    const { ready } = await options.health.readiness();
    return toJsonPage(ready ? 200 : 503, { ready });
  };
  const pages = createPages({ "/healthz": healthz, "/readyz": readyz }, corsFields);

  const accept: Accept = (exchange) => {
    const target = readTarget(exchange.headers);
    // The one that is called most often, and of no browser.
    const grpcCall = grpc(exchange, target);
    if (grpcCall !== undefined) return grpcCall;
    if (answerPreflight(exchange)) return deaf;
    const receiver = rest(exchange, target) ?? sse(exchange, target);
    if (receiver !== undefined) return receiver;
    if (pages(exchange, target.path)) return deaf;
    return rpc(exchange, target) ?? answerNotFound(exchange);
  };
  return { accept, webSockets: { [webSocketPath]: webSocket } };
}

function answerNotFound(exchange: Exchange): Receiver {
  notFound(exchange, corsFields);
  return deaf;
}

/** How calls that are still open when the time is up are ended: what they asked for may have been done. */
export const shutdownReason = failure("NetworkError", "the server is stopping");
