import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { drawBars, drawCurve, drawDistances } from "./charts.ts";
import type { Machine, Moment } from "./machine.ts";
import type { Figure, Findings, Line } from "./row.ts";
import { distance, judge, ratioOf, type Target } from "./verdict.ts";

/** What a row has found, or why it has not. */
export interface RowResult extends Findings {
  readonly name: string;
  readonly title: string;
  readonly moment: Moment;
  readonly seconds: number;
  readonly problem?: string;
}

/** Everything that a run has found. */
export interface Results {
  readonly machine: Machine;
  readonly quick: boolean;
  readonly rows: readonly RowResult[];
  readonly skipped: readonly string[];
}

/** Writes `results.json`, `results.md` and the charts. */
export function writeResults(dir: string, results: Results): void {
  writeFileSync(join(dir, "results.json"), `${JSON.stringify(results, null, 2)}\n`);
  writeFileSync(join(dir, "results.md"), toMarkdown(results));
  for (const [name, chart] of chartsOf(results)) writeFileSync(join(dir, name), chart);
}

/** The charts of a run, by file name. */
export function chartsOf({ rows }: Results): ReadonlyMap<string, string> {
  const lines = rows.flatMap((row) => row.lines);
  const distances = lines.flatMap((line) => {
    const value = distance(line.ours, line.floor, line.targets);
    return value === undefined ? [] : [{ label: line.what, value }];
  });
  const charts = new Map([["targets.svg", drawDistances("Distance from the target (1 is on it)", distances)]]);
  for (const row of rows) {
    if (row.figures.length > 0) {
      const bars = row.figures.map(({ side, load, best }) => ({
        label: `${side}, ${load}`,
        parts: [best.serverUs, best.brokerUs ?? 0],
      }));
      const legend = ["server", "broker"];
      charts.set(`${row.name}.svg`, drawBars(`${row.title}: µs of CPU an operation`, legend, bars));
    }
    for (const [index, curve] of (row.curves ?? []).entries()) {
      charts.set(`${row.name}-${index + 1}.svg`, drawCurve(curve));
    }
  }
  return charts;
}

/** The table for a terminal. */
export function toLines(rows: readonly RowResult[]): string[] {
  return rows.flatMap((row) =>
    row.problem === undefined
      ? row.lines.map((line) => {
          const verdict = judge(line.ours, line.floor, line.targets).toUpperCase().padEnd(6);
          const floor =
            line.floor === undefined ? "" : `, ${line.floorIs}: ${format(line.floor)} (${formatRatio(line)})`;
          const targets = line.targets.length === 0 ? "" : `; target ${line.targets.map(formatTarget).join(", ")}`;
          return `${verdict}  ${line.what}: ${format(line.ours)} ${line.unit}${floor}${targets}`;
        })
      : [`FAILED  ${row.name}: ${row.problem}`],
  );
}

function toMarkdown({ machine, quick, rows, skipped }: Results): string {
  const { at, commit, node, processor, cores, kernel } = machine;
  const settings = machine.settings.length === 0 ? "" : ` Settings of the environment: ${machine.settings.join(", ")}.`;
  const run = quick ? "A quick run" : "A run";
  return [
    `${run} of ${at}, commit ${commit}, Node.js ${node}, ${cores} cores (${processor}, Linux ${kernel}).${settings}`,
    `CPU is user and system time by the operating system's accounting, in steps of ${machine.cpuGranularityMs} ms.`,
    "",
    ...toTable(rows),
    "",
    "| side | load | durability | a second | CPU of the server, µs | of the broker, µs | p50 ms | p99 ms | passes, µs |",
    "|---|---|---|--:|--:|--:|--:|--:|---|",
    ...rows.flatMap(({ figures }) => figures.map(toFigureRow)),
    "",
    ...skipped.map((line) => `Skipped: ${line}.`),
    "",
  ].join("\n");
}

/** The table of lines, in Markdown. */
export function toTable(rows: readonly RowResult[]): string[] {
  return [
    "| what | durability | ours | floor | ratio | target | |",
    "|---|---|--:|--:|--:|---|---|",
    ...rows.flatMap((row) => (row.problem === undefined ? row.lines.map(toTableRow) : [toProblemRow(row)])),
  ];
}

function toProblemRow({ title, problem = "" }: RowResult): string {
  return `| ${title} | | | | | | failed: ${problem.replaceAll("\n", " ").replaceAll("|", "\\|")} |`;
}

function toTableRow(line: Line): string {
  const floor = line.floor === undefined ? "" : `${format(line.floor)}: ${line.floorIs}`;
  const targets = line.targets.map(formatTarget).join(", ");
  const what = line.note === undefined ? line.what : `${line.what} (${line.note})`;
  const verdict = judge(line.ours, line.floor, line.targets);
  return `| ${what} | ${line.durability} | ${format(line.ours)} ${line.unit} | ${floor} | ${formatRatio(line)} | ${targets} | ${verdict} |`;
}

function toFigureRow({ side, load, durability, best, passes }: Figure): string {
  const { operations, seconds, serverUs, brokerUs, latencyMs } = best;
  const cells = [
    ...[side, load, durability],
    String(Math.round(operations / seconds)),
    ...[format(serverUs), brokerUs === undefined ? "" : format(brokerUs)],
    ...[latencyMs?.p50, latencyMs?.p99].map((ms) => (ms === undefined ? "" : ms.toFixed(2))),
    passes.map((pass) => format(pass.serverUs)).join(" "),
  ];
  return `| ${cells.join(" | ")} |`;
}

function formatTarget({ is, value, of }: Target): string {
  return `${is === "at most" ? "≤" : "≥"} ${format(value)}${of === "floor" ? " ×" : ""}`;
}

function formatRatio({ ours, floor }: Line): string {
  const ratio = ratioOf(ours, floor);
  return ratio === undefined ? "" : `${format(ratio)} ×`;
}

/** A number as people read it: three digits that count. */
export function format(value: number): string {
  if (value >= 100) return String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, ",");
  return value.toFixed(value >= 10 ? 1 : 2);
}
