import { afterEach, expect, onTestFinished, test, vi } from "vitest";
import { asksForTraces, startTracing } from "../../src/tracing/start.ts";
import { isTracing } from "../../src/tracing/tracer.ts";

afterEach(() => void vi.doUnmock("@opentelemetry/sdk-trace"));

const log = { info() {} };

test.each([
  [{}, false],
  [{ OTEL_TRACES_EXPORTER: "none", OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:9" }, false],
  [{ OTEL_SDK_DISABLED: "true", OTEL_TRACES_EXPORTER: "otlp" }, false],
  [{ OTEL_TRACES_EXPORTER: "otlp" }, true],
  [{ OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:9" }, true],
  [{ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "http://127.0.0.1:9" }, true],
])("%j asks for traces: %s", (env, asks) => {
  expect(asksForTraces(env)).toBe(asks);
});

test("the SDK is loaded when the variables ask for it, and spans go nowhere before and after", async () => {
  await (await startTracing({}, log))();
  expect(isTracing()).toBe(false);
  const stop = await startTracing({ OTEL_TRACES_EXPORTER: "otlp" }, log);
  onTestFinished(stop);
  expect(isTracing()).toBe(true);
  await stop();
  expect(isTracing()).toBe(false);
});

test("an exporter that is not there, and an SDK that is not installed, are said", async () => {
  await expect(startTracing({ OTEL_TRACES_EXPORTER: "zipkin" }, log)).rejects.toThrow('console or none, not "zipkin"');
  vi.doMock("@opentelemetry/sdk-trace", () => {
    throw new Error("not found");
  });
  const starting = startTracing({ OTEL_TRACES_EXPORTER: "otlp" }, log);
  await expect(starting).rejects.toThrow("not installed: npm install @opentelemetry/sdk-trace ");
});
