import { Registry } from "prom-client";
import { expect, test } from "vitest";
import { createDistribution } from "../../src/observe/distribution.ts";

test("a distribution is a histogram of Prometheus", async () => {
  const name = "test_duration_seconds";
  const { observe, metric } = createDistribution({ name, help: "A test.", bounds: [0.1, 1] });
  const registry = new Registry();
  registry.registerMetric(metric);
  for (const seconds of [0.05, 0.1, 0.5, 3]) observe(seconds);
  expect(await registry.metrics()).toBe(
    `# HELP ${name} A test.
# TYPE ${name} histogram
${name}_bucket{le="0.1"} 2
${name}_bucket{le="1"} 3
${name}_bucket{le="+Inf"} 4
${name}_sum 3.65
${name}_count 4
`,
  );
});
