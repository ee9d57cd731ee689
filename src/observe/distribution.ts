import type { Metric, MetricObjectWithValues, MetricValueWithName } from "prom-client";

/** Durations by how long they were: what a histogram of Prometheus is made of. */
export interface Distribution {
  observe(seconds: number): void;
}

/** Distributions that differ by their labels. */
export interface Distributions {
  /** What a registry of prom-client is given. */
  readonly metric: Metric;
  /** Adds the one with such labels. Who observes keeps it: a second one would be a line of its own. */
  add(labels: Readonly<Record<string, string>>): Distribution;
}

interface DistributionOptions {
  readonly name: `${string}_seconds`;
  readonly help: string;
  /** The upper bounds of the buckets, in seconds, ascending. */
  readonly bounds: readonly number[];
}

type Value = MetricValueWithName<string>;

/**
 * Creates a histogram. That of prom-client makes an object and a key of its labels for each value, which costs more than
 * the acknowledgement that it would measure.
 */
export function createDistributions({ name, help, bounds }: DistributionOptions): Distributions {
  const all: Series[] = [];
  const metric = {
    name,
    /** Without a function in it: it goes to other processes. */
    get: async (): Promise<Omit<MetricObjectWithValues<Value>, "collect">> => ({
      ...{
        name,
        help,
        type: "histogram" as never,
        aggregator: "sum",
        values: all.flatMap((series) => series.values(name)),
      },
    }),
    reset() {
      for (const series of all) series.reset();
    },
  };
  return {
    // What the registry asks of a metric is its name and `get`.
    metric: metric as unknown as Metric,
    add(labels) {
      const series = new Series(labels, bounds);
      all.push(series);
      return series;
    },
  };
}

/** Creates a histogram without labels. */
export function createDistribution(options: DistributionOptions): Distribution & Pick<Distributions, "metric"> {
  const { metric, add } = createDistributions(options);
  const only = add({});
  return { metric, observe: (seconds) => only.observe(seconds) };
}

class Series implements Distribution {
  readonly #labels: Readonly<Record<string, string>>;
  readonly #bounds: readonly number[];
  readonly #counts: Float64Array;
  #sum = 0;

  constructor(labels: Readonly<Record<string, string>>, bounds: readonly number[]) {
    this.#labels = labels;
    this.#bounds = bounds;
    this.#counts = new Float64Array(bounds.length + 1);
  }

  observe(seconds: number): void {
    const bounds = this.#bounds;
    let bucket = 0;
    while (bucket < bounds.length && seconds > (bounds[bucket] ?? 0)) bucket++;
    this.#counts[bucket] = (this.#counts[bucket] ?? 0) + 1;
    this.#sum += seconds;
  }

  reset(): void {
    this.#counts.fill(0);
    this.#sum = 0;
  }

  values(name: string): Value[] {
    const toValue = (part: string, value: number, labels: object = {}) => ({
      ...{ metricName: `${name}_${part}`, labels: { ...labels, ...this.#labels }, value, exemplar: null },
    });
    let below = 0;
    const buckets = [...this.#bounds, "+Inf"].map((le, index) => {
      below += this.#counts[index] ?? 0;
      return toValue("bucket", below, { le });
    });
    return [...buckets, toValue("sum", this.#sum), toValue("count", below)];
  }
}
