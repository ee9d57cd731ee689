import { Code, ConnectError, type ConnectRouter, type ServiceImpl } from "@connectrpc/connect";
import type { BaseLogger } from "pino";
import { AuthService } from "../gen/mustreach/auth/v1/auth_pb.ts";
import { DeadLetterService } from "../gen/mustreach/delivery/v1/dead_letter_pb.ts";
import { DeliveryService } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import { GroupService } from "../gen/mustreach/directory/v1/directory_pb.ts";
import { MsgService } from "../gen/mustreach/msg/v1/msg_pb.ts";
import { answerCors } from "../http/cors.ts";
import type { HttpHandler } from "../http/listener.ts";
import { createPages, healthz, notFound, writeJson } from "../http/pages.ts";
import { readTarget } from "../http/target.ts";
import type { CallLog } from "../observe/call-log.ts";
import type { Health } from "../observe/health.ts";
import { createReadBody } from "./body.ts";
import type { Gate } from "./gate.ts";
import { takeIdempotencyKey } from "./idempotency-key.ts";
import { createRest } from "./rest.ts";
import { createRpc } from "./rpc.ts";

/** Options of {@link createRoutes}. */
export interface RouteOptions {
  readonly msg: ServiceImpl<typeof MsgService>;
  readonly delivery: ServiceImpl<typeof DeliveryService>;
  readonly auth: ServiceImpl<typeof AuthService>;
  readonly groups: ServiceImpl<typeof GroupService>;
  readonly deadLetters: ServiceImpl<typeof DeadLetterService>;
  readonly gate: Gate;
  readonly callLog: CallLog;
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
  const { gate, callLog, log } = options;
  const interceptors = [callLog.interceptor, takeIdempotencyKey];
  // JSON may write every byte as \u00XX.
  const maxRequestBytes = Math.max(minRequestBytes, options.maxNotificationBytes * 6);
  const readBody = createReadBody({ maxBytes: maxRequestBytes });
  const rest = createRest({ gate, interceptors, readBody, callLog, isStrict: options.strictJson });
  const register = (router: ConnectRouter) => {
    router.service(MsgService, options.msg);
    router.service(DeliveryService, options.delivery);
    router.service(AuthService, options.auth);
    router.service(GroupService, options.groups);
    router.service(DeadLetterService, options.deadLetters);
  };
  rest.register(MsgService, options.msg);
  rest.register(AuthService, options.auth);
  rest.register(GroupService, options.groups);
  rest.register(DeadLetterService, options.deadLetters);
  const rpc = createRpc({
    routes: register,
    gate,
    interceptors,
    readBody,
    callLog,
    log,
    maxTimeoutMs,
    shutdownSignal: options.shutdownSignal,
  });
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
    if (rest.handle(request, response, target) || pages(request, response, target)) return;
    if (!rpc(request, response, target)) notFound(response);
  };
}

/** How calls that are still open when the time is up are ended. */
export const shutdownReason = new ConnectError("the server is stopping", Code.Unavailable);
