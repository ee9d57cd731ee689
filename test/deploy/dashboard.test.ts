import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { loadConfig } from "../../src/config.ts";
import { storeSpecs } from "../../src/store.ts";

const root = join(import.meta.dirname, "..", "..");
const rulesFile = join(root, "deploy", "prometheus", "alerts.yaml");
const documented = readFileSync(join(root, "docs", "operating.md"), "utf8");
/** The metrics that there are: test/observe/metrics.test.ts holds the table to them. */
const exported = new Map(
  [...documented.matchAll(/^\| `(mustreach_\w+)` \| (\w+) \|/gm)].map(([, name = "", type = ""]) => [name, type]),
);

interface Dashboard {
  readonly panels: readonly { readonly title: string; readonly targets: readonly { readonly expr: string }[] }[];
}

const dashboard: Dashboard = JSON.parse(readFileSync(join(root, "deploy", "grafana", "mustreach.json"), "utf8"));
const queries = dashboard.panels.flatMap(({ title, targets }) =>
  targets.map(({ expr }): [string, string] => [title, expr]),
);
const rules = [...readFileSync(rulesFile, "utf8").matchAll(/- alert: (\w+)\n\s+expr: (.*)/g)].map(
  ([, name = "", expr = ""]): [string, string] => [name, expr],
);

/** The metrics of ours that a query names, without what a histogram's parts add. */
function metricsIn(query: string): string[] {
  const names = [...query.matchAll(/\bmustreach_\w+/g)].map(([name]) => name);
  return names.map((name) => {
    const whole = name.replace(/_(bucket|sum|count)$/, "");
    return exported.get(whole) === "histogram" ? whole : name;
  });
}

test("there are queries, and rules", () => {
  expect(queries.length).toBeGreaterThan(20);
  expect(rules.length).toBeGreaterThan(8);
});

test.each([...queries, ...rules])("%s asks for what is exported: %s", (_, query) => {
  const metrics = metricsIn(query);
  if (metrics.length === 0) expect(query).toMatch(/\b(nodejs|process)_\w+/);
  for (const name of metrics) expect([...exported.keys()]).toContain(name);
});

test.each([...queries, ...rules])("%s takes the rate of what counts, and only of that: %s", (_, query) => {
  for (const [name, type] of exported) {
    const used = [...query.matchAll(new RegExp(`(\\w+)?\\(?\\b${name}(?:_bucket|_sum|_count)?(?=[{\\s[)]|$)`, "g"))];
    for (const [, call] of used)
      if (type !== "gauge") expect(["rate", "increase"], `${name} in ${query}`).toContain(call);
  }
});

test("the rule for what fills up leaves out the streams in which the oldest make room, which may be full for ever", () => {
  const evicting = storeSpecs(loadConfig({})).filter(
    ({ maxBytes, isWriteOnce = false, refusesWhenFull = false }) =>
      maxBytes !== undefined && !isWriteOnce && !refusesWhenFull,
  );
  expect(evicting.length).toBeGreaterThan(0);
  const [, rule = ""] = rules.find(([name]) => name === "MustreachStoreFillsUp") ?? [];
  const [, leftOut = ""] = /_stream_bytes\{stream!~"([^"]*)"\}/.exec(rule) ?? [];
  expect(leftOut.split("|").toSorted()).toEqual(evicting.map(({ name }) => name).toSorted());
});

const promtool = spawnSync("promtool", ["--version"]);
const hasPromtool = promtool.status === 0;
if (!hasPromtool) process.stderr.write("skipped: promtool is not installed (Debian: apt-get install prometheus)\n");

test.skipIf(!hasPromtool)("promtool takes the rules", () => {
  const { status, stdout, stderr } = spawnSync("promtool", ["check", "rules", rulesFile], { encoding: "utf8" });
  expect(status, stdout + stderr).toBe(0);
});
