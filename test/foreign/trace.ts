import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { promisify } from "node:util";
import { context, trace } from "@opentelemetry/api";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { SimpleSpanProcessor, StackContextManager, TracerProvider } from "@opentelemetry/sdk-trace";
import { createClient } from "../../src/client/index.ts";
import { listen } from "../helpers/listen.ts";
import { startProcess } from "../helpers/process.ts";
import { drawTrace, type Span } from "./draw-trace.ts";

/**
 * One trace from a Python caller, through the service, to the callback of the TypeScript client: collected by OTLP, and
 * drawn. `node test/foreign/trace.ts` writes docs/trace.svg; it needs Python 3, and installs grpcio-tools for itself.
 */
const root = resolve(import.meta.dirname, "../..");
const venv = join(root, ".cache", "foreign", "venv");
const python = join(venv, "bin", "python");
const run = promisify(execFile);

/** A span of OTLP's JSON, as far as it is drawn. */
interface OtlpSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly name: string;
  readonly startTimeUnixNano: string;
  readonly endTimeUnixNano: string;
}

interface OtlpRequest {
  readonly resourceSpans: readonly {
    readonly resource: { readonly attributes: readonly { key: string; value: { stringValue?: string } }[] };
    readonly scopeSpans: readonly { readonly spans: readonly OtlpSpan[] }[];
  }[];
}

const spans: Span[] = [];
const collector = createServer(async (request, response) => {
  let body = "";
  for await (const chunk of request) body += chunk;
  const { resourceSpans }: OtlpRequest = JSON.parse(body);
  for (const { resource, scopeSpans } of resourceSpans) {
    const service = resource.attributes.find(({ key }) => key === "service.name")?.value.stringValue ?? "";
    for (const span of scopeSpans.flatMap((scope) => scope.spans)) {
      spans.push({
        ...{
          service,
          name: span.name,
          traceId: span.traceId,
          spanId: span.spanId,
          parentSpanId: span.parentSpanId ?? "",
        },
        startNs: BigInt(span.startTimeUnixNano),
        endNs: BigInt(span.endTimeUnixNano),
      });
    }
  }
  response.setHeader("content-type", "application/json");
  response.end("{}");
});
const endpoint = `http://127.0.0.1:${await listen(collector)}`;

process.env.OTEL_EXPORTER_OTLP_ENDPOINT = endpoint;
const service = await startProcess();

const provider = new TracerProvider({
  resource: resourceFromAttributes({ "service.name": "app (TypeScript)" }),
  spanProcessors: [new SimpleSpanProcessor({ exporter: new OTLPTraceExporter() })],
});
trace.setGlobalTracerProvider(provider);
context.setGlobalContextManager(new StackContextManager().enable());
const client = createClient({ baseUrl: service.url, token: await service.userToken("alice"), deviceId: "phone" });
// What an app does with it takes a moment.
client.onRecvCustomBusinessMessage(() => wait(2));
await client.connect();

const dir = await mkdtemp(join(tmpdir(), "mustreach-trace-"));
await cp(join(import.meta.dirname, "trace"), dir, { recursive: true });
await mkdir(join(dir, "gen"));
await run("python3", ["-m", "venv", venv]);
await run(python, ["-m", "pip", "install", "--quiet", "grpcio-tools==1.85.1", "grpcio-status==1.85.1"]);
const mustreach = ["msg/v1/msg.proto", "delivery/v1/delivery.proto"].map((file) => `mustreach/${file}`);
const protos = ["buf/validate/validate.proto", ...mustreach];
const generate = ["-m", "grpc_tools.protoc", "-Iproto", "--python_out=gen", "--grpc_python_out=gen"];
await cp(join(root, "proto"), join(dir, "proto"), { recursive: true });
await run(python, [...generate, ...protos], { cwd: dir });
const env = { ...process.env, ADDRESS: new URL(service.url).host, TOKEN: await service.adminToken() };
const { stdout } = await run(python, ["caller.py"], { cwd: dir, env });

const traceId = stdout.trim();
const ofTrace = () => spans.filter((span) => span.traceId === traceId);
// The service exports its spans every few seconds.
for (let tries = 0; ofTrace().length < 4; tries++) {
  if (tries === 60) throw new Error(`of the trace only ${ofTrace().map(({ name }) => name)} came`);
  await wait(500);
}
await client.close();
await provider.shutdown();
await service.remove();
await rm(dir, { recursive: true });
collector.close();
collector.closeAllConnections();
await writeFile(join(root, "docs", "trace.svg"), drawTrace(ofTrace()));
process.stdout.write(
  `docs/trace.svg: ${ofTrace()
    .map(({ service: of, name }) => `${of}: ${name}`)
    .join(", ")}\n`,
);
