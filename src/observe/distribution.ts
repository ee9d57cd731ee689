import type { Metric, MetricObjectWithValues, MetricValueWithName } from "prom-client";

/** Durations by how long they were: what a histogram of Prometheus is made of. */
export interface Distribution {
  observe(seconds: number): void;
}

interface DistributionOptions {
  readonly name: `${string}_seconds`;
  readonly help: string;
  /** The upper bounds of the buckets, in seconds, ascending. */
  readonly bounds: readonly number[];
}

/**
 * Creates a histogram without labels. That of prom-client makes an object and a key of its labels for each value, which
 * costs more than the acknowledgement that it would measure.
 */
export function createDistribution({
  name,
  help,
  bounds,
}: DistributionOptions): Distribution & { readonly metric: Metric } {
  const counts = new Float64Array(bounds.length + 1);
  let sum = 0;

  const toValues = (): MetricValueWithName<"le">[] => {
    let below = 0;
    const buckets = [...bounds, "+Inf"].map((le, index) => {
      below += counts[index] ?? 0;
      return { metricName: `${name}_bucket`, labels: { le }, value: below, exemplar: null };
    });
    const whole = (part: string, value: number) => ({
      metricName: `${name}_${part}`,
      labels: {},
      value,
      exemplar: null,
    });
    return [...buckets, whole("sum", sum), whole("count", below)];
  };

  const metric = {
    name,
    /** Without a function in it: it goes to other processes. */
    get: async (): Promise<Omit<MetricObjectWithValues<MetricValueWithName<"le">>, "collect">> => ({
      ...{ name, help, type: "histogram" as never, aggregator: "sum", values: toValues() },
    }),
    reset() {
      counts.fill(0);
      sum = 0;
    },
  };

  return {
    // What the registry asks of a metric is its name and `get`.
    metric: metric as unknown as Metric,
    observe(seconds) {
      let bucket = 0;
      while (bucket < bounds.length && seconds > (bounds[bucket] ?? 0)) bucket++;
      counts[bucket] = (counts[bucket] ?? 0) + 1;
      sum += seconds;
    },
  };
}
