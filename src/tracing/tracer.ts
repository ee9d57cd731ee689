import { ROOT_CONTEXT, type Span, type SpanOptions, type Tracer, type TracerProvider, trace } from "@opentelemetry/api";

/** Undefined while nothing is traced, which then costs nothing. */
let tracer: Tracer | undefined;

/** Has spans go to a provider. Returns how to end that. */
export function traceWith(provider: TracerProvider): () => void {
  tracer = provider.getTracer("mustreach");
  return () => {
    tracer = undefined;
  };
}

/** Whether spans go anywhere. */
export function isTracing(): boolean {
  return tracer !== undefined;
}

/**
 * Begins a span; undefined while nothing is traced.
 *
 * @param parent a traceparent; empty for a trace of its own.
 */
export function startSpan(name: string, parent: string, options: SpanOptions): Span | undefined {
  return tracer?.startSpan(name, options, toContext(parent));
}

/** What others continue a span by. */
export function toTraceparent(span: Span): string {
  const { traceId, spanId, traceFlags } = span.spanContext();
  return `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, "0")}`;
}

function toContext(traceparent: string) {
  const [, traceId, spanId, flags] = traceparent.split("-");
  if (traceId === undefined || spanId === undefined) return ROOT_CONTEXT;
  const traceFlags = Number.parseInt(flags ?? "0", 16);
  return trace.setSpanContext(ROOT_CONTEXT, { traceId, spanId, traceFlags, isRemote: true });
}
