/** What of OpenTelemetry's API is used, as it registers itself for all its versions 1.x. */
interface Api {
  readonly trace?: { getTracer(name: string): Tracer };
  readonly context?: { active(): Context; with<T>(context: Context, call: () => T): T };
}

interface Tracer {
  startSpan(name: string, options: object, context: Context): Span;
}

interface Span {
  setStatus(status: { readonly code: number; readonly message?: string }): unknown;
  end(): void;
}

interface Context {
  setValue(key: symbol, value: unknown): Context;
}

/** By these the API finds itself and the span of a context. Only looked up, so that nothing has to be installed. */
const apiKey = Symbol.for("opentelemetry.js.api.1");
const spanKey = Symbol.for("OpenTelemetry Context Key SPAN");

/** OpenTelemetry's SpanKind.CONSUMER and SpanStatusCode.ERROR. */
const [consumer, failed] = [4, 2];

/**
 * Handles a notification in a span `process` that continues the trace of its send, if it has one and the app uses
 * OpenTelemetry.
 */
export async function inProcessSpan(
  {
    traceparent,
    serverMsgID,
    key,
  }: { readonly traceparent: string; readonly serverMsgID: string; readonly key: string },
  handle: () => void | Promise<void>,
): Promise<void> {
  const { trace, context } = ((globalThis as Record<symbol, unknown>)[apiKey] ?? {}) as Api;
  const [, traceId, spanId, flags = "0"] = traceparent.split("-");
  if (spanId === undefined || trace === undefined || context === undefined) return handle();
  const remote = { traceId, spanId, traceFlags: Number.parseInt(flags, 16), isRemote: true };
  const active = context.active();
  // A span that only has its place in a trace, as the API's own of what is remote.
  const parent = active.setValue(spanKey, { spanContext: () => remote, isRecording: () => false });
  const attributes = {
    "messaging.system": "mustreach",
    "messaging.operation.name": "process",
    "messaging.operation.type": "process",
    "messaging.destination.name": key,
    "messaging.message.id": serverMsgID,
  };
  const span = trace.getTracer("mustreach/client").startSpan(`process ${key}`, { kind: consumer, attributes }, parent);
  try {
    await context.with(active.setValue(spanKey, span), handle);
  } catch (error) {
    span.setStatus({ code: failed, message: String(error) });
    throw error;
  } finally {
    span.end();
  }
}
