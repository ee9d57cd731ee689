import { readFileSync } from "node:fs";
import type { DescService } from "@bufbuild/protobuf";
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import { atMostEvery } from "./at-most-every.ts";

/** A number now, or numbers by outcome. */
type Reading = number | Readonly<Record<string, number>>;

/** What an instance measures of itself. */
export interface Metrics {
  /** A call was answered, or a stream has ended: with an error's code, or 0. */
  call(rpc: string, errCode: number, seconds: number): void;
  /** A device was told that notifications will not be delivered. */
  gap(reason: "retention" | "expired" | "store_changed"): void;
  /** Reads what goes up and down whenever metrics are asked for. */
  watch(name: string, help: string, read: () => Reading): void;
  /** Reads what only goes up since the start whenever metrics are asked for; the name ends with `_total`. */
  count(name: `${string}_total`, help: string, read: () => Reading): void;
  /** Everything in Prometheus' text format, with its content type; up to 1 s old. */
  text(): Promise<{ readonly contentType: string; readonly body: string }>;
}

interface MetricsOptions {
  /** Services with streams: these last as long as their devices, so their times are kept apart. Default: none. */
  readonly services?: readonly DescService[];
  /** The version of the broker. Default: unknown. */
  readonly brokerVersion?: () => string;
}

/** How long a text is given again, in milliseconds: making it takes about 1 ms of the event loop. */
const keptMs = 1_000;

/** Of this service. */
const version: string = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")).version;

/** Creates the metrics of an instance, with those of its process (CPU, memory, event loop). */
export function createMetrics({ services = [], brokerVersion = () => "" }: MetricsOptions = {}): Metrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  const streaming = new Set(
    services.flatMap(({ typeName, methods }) =>
      methods.filter(({ methodKind }) => methodKind !== "unary").map(({ name }) => `${typeName}/${name}`),
    ),
  );
  const unary = new Histogram({
    name: "mustreach_rpc_duration_seconds",
    help: "Time to answer a unary call, by `rpc` and `err_code` (0: none).",
    labelNames: ["rpc", "err_code"],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers,
  });
  const streams = new Histogram({
    name: "mustreach_stream_duration_seconds",
    help: "How long a stream lasted, counted at its end, by `rpc` and `err_code` (0: none).",
    labelNames: ["rpc", "err_code"],
    buckets: [1, 10, 60, 600, 3_600, 21_600, 86_400],
    registers,
  });
  const gaps = new Counter({
    name: "mustreach_gaps_total",
    help: "Gaps told to devices: ranges of stored notifications that they will not get, by `reason` (retention, expired, store_changed).",
    labelNames: ["reason"],
    registers,
  });
  new Gauge({
    name: "mustreach_build_info",
    help: "Always 1; its labels are the `version` of Mustreach, of `node` and of the `broker`.",
    labelNames: ["version", "node", "broker"],
    registers,
    collect() {
      this.reset();
      this.set({ version, node: process.versions.node, broker: brokerVersion() }, 1);
    },
  });
  return {
    call(rpc, errCode, seconds) {
      (streaming.has(rpc) ? streams : unary).observe({ rpc, err_code: String(errCode) }, seconds);
    },
    gap: (reason) => gaps.inc({ reason }),
    watch(name, help, read) {
      new Gauge({
        name,
        help,
        labelNames: ["outcome"],
        registers,
        collect() {
          for (const [labels, value] of toSamples(read())) this.set(labels, value);
        },
      });
    },
    count(name, help, read) {
      new Counter({
        name,
        help,
        labelNames: ["outcome"],
        registers,
        collect() {
          this.reset();
          for (const [labels, value] of toSamples(read())) this.inc(labels, value);
        },
      });
    },
    text: atMostEvery(keptMs, async () => ({ contentType: registry.contentType, body: await registry.metrics() })),
  };
}

function toSamples(reading: Reading): [labels: { outcome?: string }, value: number][] {
  if (typeof reading === "number") return [[{}, reading]];
  return Object.entries(reading).map(([outcome, value]) => [{ outcome }, value]);
}
