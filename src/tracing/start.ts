import type { BaseLogger } from "pino";
import { traceWith } from "./tracer.ts";

/** OpenTelemetry's standard variables, as far as they say whether and where to traces go. */
type Environment = Readonly<Record<string, string | undefined>>;

/** How long the last spans may take to be exported, in milliseconds. */
const shutdownMs = 2_000;

/** Whether OpenTelemetry's standard variables ask for traces. */
export function asksForTraces(env: Environment): boolean {
  const { OTEL_SDK_DISABLED, OTEL_TRACES_EXPORTER, OTEL_EXPORTER_OTLP_ENDPOINT } = env;
  if (OTEL_SDK_DISABLED === "true" || OTEL_TRACES_EXPORTER === "none") return false;
  return Boolean(OTEL_TRACES_EXPORTER || OTEL_EXPORTER_OTLP_ENDPOINT || env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT);
}

/**
 * Exports spans where OpenTelemetry's standard variables say so: by OTLP over HTTP, or to standard output
 * (`OTEL_TRACES_EXPORTER=console`). The SDK is loaded only then. Resolves to how to end it.
 *
 * @throws when they ask for traces and the SDK is not installed, or for an exporter that is none of these.
 */
export async function startTracing(env: Environment, log: Pick<BaseLogger, "info">): Promise<() => Promise<void>> {
  if (!asksForTraces(env)) return async () => {};
  const { OTEL_TRACES_EXPORTER: exporter = "otlp", OTEL_SERVICE_NAME: serviceName = "mustreach" } = env;
  if (exporter !== "otlp" && exporter !== "console") {
    throw new Error(`OTEL_TRACES_EXPORTER: expected otlp, console or none, not "${exporter}"`);
  }
  const { BatchSpanProcessor, ConsoleSpanExporter, TracerProvider } = await load(
    () => import("@opentelemetry/sdk-trace"),
  );
  const { resourceFromAttributes } = await load(() => import("@opentelemetry/resources"));
  const { OTLPTraceExporter } = await load(() => import("@opentelemetry/exporter-trace-otlp-http"));
  const spanProcessors = [
    new BatchSpanProcessor({ exporter: exporter === "console" ? new ConsoleSpanExporter() : new OTLPTraceExporter() }),
  ];
  const provider = new TracerProvider({
    resource: resourceFromAttributes({ "service.name": serviceName }),
    spanProcessors,
  });
  const stop = traceWith(provider);
  log.info({ exporter }, "spans are exported");
  return async () => {
    stop();
    const late = new Promise<void>((resolve) => setTimeout(resolve, shutdownMs).unref());
    await Promise.race([provider.shutdown().catch(() => {}), late]);
  };
}

async function load<T>(importIt: () => Promise<T>): Promise<T> {
  try {
    return await importIt();
  } catch (cause) {
    const packages = "@opentelemetry/sdk-trace @opentelemetry/resources @opentelemetry/exporter-trace-otlp-http";
    throw new Error(`OTEL_… variables ask for traces, whose SDK is not installed: npm install ${packages}`, { cause });
  }
}
