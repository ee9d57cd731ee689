import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import { atMostEvery } from "./at-most-every.ts";

/** What an instance measures of itself. */
export interface Metrics {
  /** A call was answered: with an error's code, or 0. */
  call(rpc: string, errCode: number, seconds: number): void;
  /** A device was told that notifications will not be delivered. */
  gap(reason: "retention" | "expired"): void;
  /** Reads a number, or numbers by name, whenever metrics are asked for. */
  watch(name: string, help: string, read: () => number | Readonly<Record<string, number>>): void;
  /** Everything in Prometheus' text format, with its content type; up to 1 s old. */
  text(): Promise<{ readonly contentType: string; readonly body: string }>;
}

/** How long a text is given again, in milliseconds: making it takes about 1 ms of the event loop. */
const keptMs = 1_000;

/** Creates the metrics of an instance, with those of its process (CPU, memory, event loop). */
export function createMetrics(): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const calls = new Histogram({
    name: "mustreach_call_seconds",
    help: "Time to answer a call; a stream counts until it ends.",
    labelNames: ["rpc", "err_code"],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5],
    registers: [registry],
  });
  const gaps = new Counter({
    name: "mustreach_gaps_total",
    help: "Gaps told to devices: ranges of stored notifications that they will not get.",
    labelNames: ["reason"],
    registers: [registry],
  });
  return {
    call: (rpc, errCode, seconds) => calls.observe({ rpc, err_code: String(errCode) }, seconds),
    gap: (reason) => gaps.inc({ reason }),
    watch(name, help, read) {
      const isNamed = typeof read() === "object";
      new Gauge({
        name,
        help,
        labelNames: isNamed ? ["outcome"] : [],
        registers: [registry],
        collect() {
          const value = read();
          if (typeof value === "number") this.set(value);
          else for (const [outcome, count] of Object.entries(value)) this.set({ outcome }, count);
        },
      });
    },
    text: atMostEvery(keptMs, async () => ({ contentType: registry.contentType, body: await registry.metrics() })),
  };
}
