import { setTimeout as delay } from "node:timers/promises";
import type { Outcome } from "./passes.ts";
import type { Latency } from "./row.ts";
import { percentile } from "./verdict.ts";

/** How calls are made by this process, to what has a client in Node alone. */
export type Pace =
  | { readonly inFlight: number; readonly calls: number; readonly seconds?: number }
  /** Open loop: whatever becomes of earlier ones. */
  | { readonly rate: number; readonly calls: number };

/** Makes calls, each given its number; latencies are from when a call was due. A call that fails ends it. */
export async function drive(pace: Pace, call: (n: number) => Promise<unknown>): Promise<Outcome> {
  const latencies: number[] = [];
  const start = performance.now();
  let next = 0;
  const one = async (due: number) => {
    await call(next++);
    latencies.push(performance.now() - due);
  };
  if ("rate" in pace) {
    const calls: Promise<void>[] = [];
    for (let n = 0; n < pace.calls; n++) {
      const due = start + (n / pace.rate) * 1_000;
      const early = due - performance.now();
      if (early > 0) await delay(early);
      calls.push(one(due));
    }
    await Promise.all(calls);
  } else {
    const { calls, seconds = Number.POSITIVE_INFINITY } = pace;
    const isOver = () => next >= calls || performance.now() - start >= seconds * 1_000;
    const worker = async () => {
      while (!isOver()) await one(performance.now());
    };
    await Promise.all(Array.from({ length: pace.inFlight }, worker));
  }
  return { calls: latencies.length, seconds: (performance.now() - start) / 1_000, latencyMs: toLatency(latencies) };
}

function toLatency(all: readonly number[]): Latency {
  const at = (q: number) => percentile(all, q);
  return { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: at(1) };
}
