import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import { type Attributes, type Span, SpanKind, SpanStatusCode } from "@opentelemetry/api";
import { toErrorFacts, toWireError } from "../errors.ts";
import type { MsgService } from "../gen/mustreach/msg/v1/msg_pb.ts";
import { traceparentKey, withTraceparent } from "./traceparent.ts";
import { startSpan, toTraceparent } from "./tracer.ts";

/** What every span of ours says (OpenTelemetry's semantic conventions for messaging). */
const messaging = { "messaging.system": "mustreach" } as const;

/** Traces the sends of MsgService: each is a span `send`, and what it stores or publishes belongs to its trace. */
export function traceSends(msg: ServiceImpl<typeof MsgService>): ServiceImpl<typeof MsgService> {
  return {
    ...msg,
    sendBusinessNotification: (request, context) =>
      traced(context, {}, () => msg.sendBusinessNotification(request, context)),
    sendBusinessNotificationBatch: (request, context) =>
      traced(context, { "messaging.batch.message_count": request.notifications.length }, () =>
        msg.sendBusinessNotificationBatch(request, context),
      ),
  };
}

/** A stored notification was sent to a device: a span from when it was stored. */
export function traceDelivery(traceparent: string, storedAtMs: number, sequence: number): void {
  const attributes = {
    ...messaging,
    "messaging.operation.name": "deliver",
    "messaging.operation.type": "send",
    "messaging.destination.name": "device",
    "messaging.message.id": String(sequence),
  };
  startSpan("deliver device", traceparent, { kind: SpanKind.PRODUCER, startTime: storedAtMs, attributes })?.end();
}

function traced<T>(context: HandlerContext, more: Attributes, send: () => Promise<T> | T): Promise<T> | T {
  const given = context.values.get(traceparentKey);
  const span = startSpan("send inbox", given, { kind: SpanKind.PRODUCER });
  if (span === undefined) return given === "" ? send() : withTraceparent(given, send);
  span.setAttributes({ ...toAttributes(context), ...more });
  const traceparent = toTraceparent(span);
  context.values.set(traceparentKey, traceparent);
  return withTraceparent(traceparent, () => untilSent(span, send));
}

async function untilSent<T>(span: Span, send: () => Promise<T> | T): Promise<T> {
  try {
    return await send();
  } catch (error) {
    const { errMsg, errDlt } = toErrorFacts(toWireError(error));
    span.setAttribute("error.type", errMsg).setStatus({ code: SpanStatusCode.ERROR, message: errDlt });
    throw error;
  } finally {
    span.end();
  }
}

function toAttributes({ method, protocolName }: HandlerContext): Attributes {
  return {
    ...messaging,
    "messaging.operation.name": "send",
    "messaging.operation.type": "send",
    "messaging.destination.name": "inbox",
    // By the conventions, Connect's name is another than that of its protocol.
    "rpc.system": protocolName === "rpc" ? "connect_rpc" : protocolName.replace(/^connect$/, "connect_rpc"),
    "rpc.service": method.parent.typeName,
    "rpc.method": method.name,
  };
}
