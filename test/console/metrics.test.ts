import { expect, test } from "vitest";
import { toPath, toTop } from "../../src/console/page/charts.js";
import { quantileBetween, readMetrics, sum } from "../../src/console/page/metrics.js";
import { createMetrics } from "../../src/observe/metrics.ts";

const name = "mustreach_rpc_duration_seconds";

test("what the service measures is read from its text", async () => {
  const metrics = createMetrics();
  metrics.watch("mustreach_sessions", "Sessions.", () => 12);
  metrics.call("a.B/Send", 0, 0.002);
  metrics.call("a.B/Send", 1001, 0.002);
  metrics.call("a.B/Ack", 0, 0.002);
  const samples = readMetrics((await metrics.text()).body);
  expect(sum(samples, "mustreach_sessions")).toBe(12);
  expect(sum(samples, `${name}_count`, ({ rpc }) => rpc === "a.B/Send")).toBe(2);
  expect(samples.some(({ labels }) => labels.le === "+Inf")).toBe(true);
});

test("labels may hold what separates them", () => {
  expect(readMetrics('# HELP a b\na{b="x,y=\\"}",c="2"} 3\n')).toEqual([
    { name: "a", labels: { b: 'x,y=\\"}', c: "2" }, value: 3 },
  ]);
});

test("a quantile is of what was counted between two readings", () => {
  const reading = (...counts: number[]) =>
    readMetrics(["0.1", "0.2", "+Inf"].map((le, index) => `h_bucket{le="${le}"} ${counts[index]}`).join("\n"));
  const before = reading(1_000, 1_000, 1_000);
  expect(quantileBetween(before, reading(1_010, 1_020, 1_020), "h", 0.5)).toBeCloseTo(0.1);
  expect(quantileBetween(before, reading(1_010, 1_020, 1_020), "h", 0.75)).toBeCloseTo(0.15);
  // Beyond the last bound nothing is known but that bound.
  expect(quantileBetween(before, reading(1_000, 1_000, 1_004), "h", 0.99)).toBeCloseTo(0.2);
  expect(quantileBetween(before, before, "h", 0.5)).toBeUndefined();
});

test("a line has holes, and a scale above its highest value", () => {
  expect([0, 1, 1.5, 30, 100, 4_001].map(toTop)).toEqual([1, 1, 2, 50, 100, 5_000]);
  expect(toPath([0, undefined, 5, 10], 10)).toMatch(/^M\S+ 89\.0M\S+ 45\.0L300\.0 1\.0$/);
});
