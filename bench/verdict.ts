/** What a line is to reach. */
export interface Target {
  readonly is: "at most" | "at least";
  readonly value: number;
  /** Of what: times the floor, or the figure itself. */
  readonly of: "floor" | "figure";
}

/** What came of a target. `open`: there is no floor, so that nobody can tell. */
export type Verdict = "met" | "missed" | "open";

/** How many times `floor` `ours` is; undefined without a floor. */
export function ratioOf(ours: number, floor: number | undefined): number | undefined {
  return floor === undefined || floor === 0 ? undefined : ours / floor;
}

/** Whether a figure reaches all of its targets. */
export function judge(ours: number, floor: number | undefined, targets: readonly Target[]): Verdict {
  const verdicts = targets.map(({ is, value, of }): Verdict => {
    const figure = of === "floor" ? ratioOf(ours, floor) : ours;
    if (figure === undefined) return "open";
    return (is === "at most" ? figure <= value : figure >= value) ? "met" : "missed";
  });
  if (verdicts.includes("missed")) return "missed";
  return verdicts.length === 0 || verdicts.includes("open") ? "open" : "met";
}

/** How far a figure is from its hardest target: 1 is on it, below 1 reaches it. Undefined where nobody can tell. */
export function distance(ours: number, floor: number | undefined, targets: readonly Target[]): number | undefined {
  const all = targets.map(({ is, value, of }) => {
    const figure = of === "floor" ? ratioOf(ours, floor) : ours;
    if (figure === undefined) return undefined;
    return is === "at most" ? figure / value : value / figure;
  });
  const known = all.filter((one) => one !== undefined);
  return known.length === 0 ? undefined : Math.max(...known);
}

/** The value that a share `q` of the values does not exceed, by nearest rank. Values need no order. */
export function percentile(values: readonly number[], q: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)] ?? Number.NaN;
}

/** The element of which `of` is lowest. */
export function lowest<T>(all: readonly T[], of: (one: T) => number): T {
  const [first, ...others] = all;
  if (first === undefined) throw new RangeError("the lowest of none");
  return others.reduce((best, one) => (of(one) < of(best) ? one : best), first);
}
