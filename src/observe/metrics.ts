import type { DescService } from "@bufbuild/protobuf";
import {
  AggregatorRegistry,
  Counter,
  collectDefaultMetrics,
  Gauge,
  type MetricObjectWithValues,
  type MetricValue,
  Registry,
} from "prom-client";
import { errorTable } from "../errors.ts";
import { version } from "../version.ts";
import { atMostEvery } from "./at-most-every.ts";
import { createDistribution, createDistributions, type Distribution } from "./distribution.ts";

/** A number now, or numbers by a label; without those that are not known now. */
export type Reading = number | Readonly<Record<string, number>>;

/** How a reading is shown. */
interface ReadingOptions {
  /** What tells the numbers apart. Default `outcome`. */
  readonly label?: string;
  /** How the readings of several processes become one. Default: their sum. */
  readonly ofAll?: "sum" | "min" | "max";
}

/** What an instance measures of itself. */
export interface Metrics {
  /** A call was answered, or a stream has ended: with an error's code, or 0. */
  call(rpc: string, errCode: number, seconds: number): void;
  /** A notification was to be sent. */
  sent(level: 1 | 2, result: "accepted" | "refused" | "failed"): void;
  /** A device was told that notifications will not be delivered. */
  gap(reason: "retention" | "expired" | "store_changed"): void;
  /** From the first try of a write to the broker's acknowledgement. */
  readonly storeWrites: Distribution;
  /** From when a notification was stored to its first acknowledgement. */
  readonly reach: Distribution;
  /** Reads what goes up and down whenever metrics are asked for. */
  watch(name: string, help: string, read: () => Reading | Promise<Reading>, options?: ReadingOptions): void;
  /** Reads what only goes up since the start whenever metrics are asked for; the name ends with `_total`. */
  count(name: `${string}_total`, help: string, read: () => Reading, options?: Pick<ReadingOptions, "label">): void;
  /** Everything in Prometheus' text format, with its content type; up to 1 s old. */
  text(): Promise<MetricsText>;
  /** Everything now, to be put together with what other processes measure. */
  snapshot(): Promise<MetricsSnapshot>;
}

export interface MetricsText {
  readonly contentType: string;
  readonly body: string;
}

/** What one process measures, as it can be sent to another. */
export type MetricsSnapshot = readonly MetricObjectWithValues<MetricValue<string>>[];

interface MetricsOptions {
  /** Services with streams: these last as long as their devices, so their times are kept apart. Default: none. */
  readonly services?: readonly DescService[];
  /** The version of the broker. Default: unknown. */
  readonly brokerVersion?: () => string;
}

/** How long a text is given again, in milliseconds: making it takes about 1 ms of the event loop. */
const keptMs = 1_000;

/** The buckets of a write, in seconds. */
const writeBounds = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10] as const;

/** The buckets of the way to a device, in seconds: up to a day, for devices that are away. */
const reachBounds = [
  ...[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
  ...[60, 300, 1_800, 3_600, 21_600, 86_400],
] as const;

/** The name of each error, by its code. */
const errorNames: ReadonlyMap<number, string> = new Map(
  Object.entries(errorTable).map(([name, { errCode }]) => [errCode, name]),
);

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
  const unary = createDistributions({
    name: "mustreach_rpc_duration_seconds",
    help: "Time to answer a unary call, by `rpc` and `err_code` (0: none).",
    bounds: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
  });
  const streams = createDistributions({
    name: "mustreach_stream_duration_seconds",
    help: "How long a stream lasted, counted at its end, by `rpc` and `err_code` (0: none).",
    bounds: [1, 10, 60, 600, 3_600, 21_600, 86_400],
  });
  /** By the method, and by the code. */
  const calls = new Map<string, Map<number, Distribution>>();
  const callsOf = (rpc: string, errCode: number): Distribution => {
    const known = calls.get(rpc)?.get(errCode);
    if (known !== undefined) return known;
    const added = (streaming.has(rpc) ? streams : unary).add({ rpc, err_code: String(errCode) });
    calls.set(rpc, (calls.get(rpc) ?? new Map()).set(errCode, added));
    return added;
  };
  const gaps = new Counter({
    name: "mustreach_gaps_total",
    help: "Gaps told to devices: ranges of stored notifications that they will not get, by `reason` (retention, expired, store_changed).",
    labelNames: ["reason"],
    registers,
  });
  const sends = { accepted: { 1: 0, 2: 0 }, refused: { 1: 0, 2: 0 }, failed: { 1: 0, 2: 0 } };
  new Counter({
    name: "mustreach_sends_total",
    help: "Notifications to be sent, those of batches too, by `level` and `result` (accepted, refused, failed).",
    labelNames: ["level", "result"],
    registers,
    collect() {
      this.reset();
      for (const [result, counts] of Object.entries(sends)) {
        for (const [level, count] of Object.entries(counts)) if (count > 0) this.inc({ level, result }, count);
      }
    },
  });
  const refusals = new Counter({
    name: "mustreach_refusals_total",
    help: "Calls that ended with an error, and streams, by `reason`, the name of the error.",
    labelNames: ["reason"],
    registers,
  });
  const storeWrites = createDistribution({
    name: "mustreach_store_write_duration_seconds",
    help: "Time until the broker has acknowledged a write, with the wait for its turn and further tries.",
    bounds: writeBounds,
  });
  const reach = createDistribution({
    name: "mustreach_reach_duration_seconds",
    help: "From when a must-reach notification was stored to the first acknowledgement of a device.",
    bounds: reachBounds,
  });
  for (const { metric } of [unary, streams, storeWrites, reach]) registry.registerMetric(metric);
  new Gauge({
    name: "mustreach_build_info",
    help: "Always 1; its labels are the `version` of Mustreach, of `node` and of the `broker`.",
    labelNames: ["version", "node", "broker"],
    registers,
    aggregator: "first",
    collect() {
      this.reset();
      this.set({ version, node: process.versions.node, broker: brokerVersion() }, 1);
    },
  });
  return {
    call(rpc, errCode, seconds) {
      callsOf(rpc, errCode).observe(seconds);
      if (errCode !== 0) refusals.inc({ reason: errorNames.get(errCode) ?? "unknown" });
    },
    sent(level, result) {
      sends[result][level]++;
    },
    storeWrites,
    reach,
    gap: (reason) => gaps.inc({ reason }),
    watch(name, help, read, { label = "outcome", ofAll: aggregator = "sum" } = {}) {
      const labelNames = [label];
      new Gauge({
        ...{ name, help, labelNames, registers, aggregator },
        async collect() {
          const samples = toSamples(label, await read());
          this.reset();
          for (const [labels, value] of samples) this.set(labels, value);
        },
      });
    },
    count(name, help, read, { label = "outcome" } = {}) {
      const labelNames = [label];
      new Counter({
        ...{ name, help, labelNames, registers },
        collect() {
          this.reset();
          for (const [labels, value] of toSamples(label, read())) this.inc(labels, value);
        },
      });
    },
    text: atMostEvery(keptMs, () => toText(registry)),
    snapshot: () => registry.getMetricsAsJSON(),
  };
}

/** Adds up what was counted by processes that have ended: without what went up and down. */
export function sumCounts(snapshots: readonly MetricsSnapshot[]): Promise<MetricsSnapshot> {
  const isCounted = ({ type }: { readonly type: unknown }) => type === "counter" || type === "histogram";
  return aggregate(snapshots.map((snapshot) => snapshot.filter(isCounted))).getMetricsAsJSON();
}

/**
 * Puts together what the processes of one instance measure, in Prometheus' text format: what is counted is added up, and
 * so is what goes up and down, but for what says otherwise.
 */
export function sumMetrics(snapshots: readonly MetricsSnapshot[]): Promise<MetricsText> {
  return toText(aggregate(snapshots));
}

function aggregate(snapshots: readonly MetricsSnapshot[]): Registry {
  return AggregatorRegistry.aggregate(snapshots.map((snapshot) => snapshot.map(toAggregated)));
}

/** The event loop that lags most is what callers feel. */
function toAggregated(metric: MetricsSnapshot[number]): MetricsSnapshot[number] {
  return metric.name.startsWith("nodejs_eventloop_lag_") ? { ...metric, aggregator: "max" } : metric;
}

async function toText(registry: Pick<Registry, "contentType" | "metrics">): Promise<MetricsText> {
  return { contentType: registry.contentType, body: await registry.metrics() };
}

function toSamples(label: string, reading: Reading): [labels: Record<string, string>, value: number][] {
  if (typeof reading === "number") return [[{}, reading]];
  return Object.entries(reading).map(([name, value]) => [{ [label]: name }, value]);
}
