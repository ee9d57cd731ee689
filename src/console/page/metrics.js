// @ts-check

/**
 * @typedef {{ name: string, labels: Record<string, string>, value: number }} Sample
 */

/**
 * Reads Prometheus' text format, as prom-client writes it.
 *
 * @param {string} text
 * @returns {Sample[]}
 */
export function readMetrics(text) {
  return text.split("\n").flatMap((line) => {
    const [, name, inner = "", value] = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
    if (name === undefined) return [];
    const labels = [...inner.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, label, text]) => [label, text]);
    return [
      { name, labels: Object.fromEntries(labels), value: value === "+Inf" ? Number.POSITIVE_INFINITY : Number(value) },
    ];
  });
}

/**
 * The sum of the samples of a name, of which the labels are so.
 *
 * @param {readonly Sample[]} samples
 * @param {string} name
 * @param {(labels: Record<string, string>) => boolean} [isMeant]
 */
export function sum(samples, name, isMeant = () => true) {
  return samples.reduce(
    (all, sample) => (sample.name === name && isMeant(sample.labels) ? all + sample.value : all),
    0,
  );
}

/**
 * A quantile of what a histogram has counted between two readings, as `histogram_quantile` of Prometheus estimates it:
 * within a bucket, evenly spread. Undefined when it has counted nothing.
 *
 * @param {readonly Sample[]} before
 * @param {readonly Sample[]} after
 * @param {string} name
 * @param {number} quantile 0 to 1
 * @param {(labels: Record<string, string>) => boolean} [isMeant]
 * @returns {number | undefined}
 */
export function quantileBetween(before, after, name, quantile, isMeant = () => true) {
  const bucket = `${name}_bucket`;
  const bounds = [...new Set(after.filter((sample) => sample.name === bucket).map(({ labels }) => labels.le ?? ""))];
  const counts = bounds
    .map((le) => {
      const isOne = (/** @type {Record<string, string>} */ labels) => labels.le === le && isMeant(labels);
      return {
        bound: le === "+Inf" ? Number.POSITIVE_INFINITY : Number(le),
        count: sum(after, bucket, isOne) - sum(before, bucket, isOne),
      };
    })
    .sort((a, b) => a.bound - b.bound);
  const total = counts.at(-1)?.count ?? 0;
  if (total <= 0) return undefined;
  const rank = quantile * total;
  let [low, below] = [0, 0];
  for (const { bound, count } of counts) {
    if (count >= rank && count > below) {
      return bound === Number.POSITIVE_INFINITY ? low : low + ((bound - low) * (rank - below)) / (count - below);
    }
    [low, below] = [bound, count];
  }
  return low;
}
