import { escapeXml, round, toSvg } from "../src/verify/svg.ts";
import type { Curve } from "./row.ts";

const style = `
  .axis { stroke: #9aa2ab; stroke-width: 1 }
  .a { fill: #3b82c4 } .b { fill: #d9822b } .met { fill: #2f9e6e } .missed { fill: #d64545 }
  polyline { fill: none; stroke-width: 2 } .s0 { stroke: #3b82c4 } .s1 { stroke: #d9822b } .s2 { stroke: #2f9e6e } .s3 { stroke: #a05ec0 }
`;

const width = 860;
const labelWidth = 430;
const rowHeight = 22;
const top = 44;

/** A bar of parts that add up. */
export interface Bar {
  readonly label: string;
  readonly parts: readonly number[];
}

/** Bars beside each other, each of the parts that the legend names. */
export function drawBars(title: string, legend: readonly string[], bars: readonly Bar[]): string {
  const most = Math.max(...bars.map(({ parts }) => total(parts)), Number.MIN_VALUE);
  const scale = (width - labelWidth - 90) / most;
  const rows = bars.map(({ label, parts }, index) => {
    const y = top + index * rowHeight;
    let x = labelWidth;
    const rectangles = parts.map((part, kind) => {
      const drawn = `<rect class="${kind === 0 ? "a" : "b"}" x="${round(x)}" y="${y}" width="${round(part * scale)}" height="15"/>`;
      x += part * scale;
      return drawn;
    });
    const value = `<text x="${round(x + 6)}" y="${y + 12}">${round(total(parts))}</text>`;
    return `${toLabel(label, y)}${rectangles.join("")}${value}`;
  });
  const keys = legend.map((name, kind) => {
    const x = width - 160 + kind * 80;
    return `<rect class="${kind === 0 ? "a" : "b"}" x="${x}" y="12" width="10" height="10"/><text x="${x + 15}" y="21">${escapeXml(name)}</text>`;
  });
  return toChart(title, top + bars.length * rowHeight + 10, [...rows, ...keys]);
}

/** How far figures are from their targets, on a logarithmic scale around 1. */
export function drawDistances(
  title: string,
  distances: readonly { readonly label: string; readonly value: number }[],
): string {
  const reach = Math.max(2, ...distances.map(({ value }) => Math.abs(Math.log2(Math.max(value, 1e-3)))));
  const half = (width - labelWidth - 60) / 2;
  const middle = labelWidth + half;
  const rows = distances.map(({ label, value }, index) => {
    const y = top + index * rowHeight;
    const length = (Math.log2(Math.max(value, 1e-3)) / reach) * half;
    const x = length < 0 ? middle + length : middle;
    const kind = value <= 1 ? "met" : "missed";
    const bar = `<rect class="${kind}" x="${round(x)}" y="${y}" width="${round(Math.max(1, Math.abs(length)))}" height="15"/>`;
    const end = value <= 1 ? middle + 6 : middle + length + 6;
    return `${toLabel(label, y)}${bar}<text x="${round(end)}" y="${y + 12}">${value.toFixed(2)}</text>`;
  });
  const height = top + distances.length * rowHeight + 10;
  const axis = `<line class="axis" x1="${middle}" y1="${top - 8}" x2="${middle}" y2="${height - 8}"/>`;
  return toChart(title, height, [axis, ...rows]);
}

/** Lines over a growing number, which is on a logarithmic scale. */
export function drawCurve({ title, xLabel, yLabel, series }: Curve): string {
  const points = series.flatMap((one) => one.points);
  const left = 70;
  const plot = { left, width: width - left - 170, height: 260 };
  const xs = points.map(([x]) => Math.log10(Math.max(x, 1)));
  const [from, to] = [Math.min(...xs), Math.max(...xs)];
  const most = Math.max(...points.map(([, y]) => y), Number.MIN_VALUE) * 1.15;
  const toX = (x: number) => left + ((Math.log10(Math.max(x, 1)) - from) / (to - from || 1)) * plot.width;
  const toY = (y: number) => top + plot.height - (y / most) * plot.height;
  const bottom = top + plot.height;
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((share) => toTick(plot, round(toY(most * share)), most * share));
  const places = [...new Set(points.map(([x]) => x))].map(
    (x) => `<text x="${round(toX(x))}" y="${bottom + 18}" text-anchor="middle">${x.toLocaleString("en")}</text>`,
  );
  const lines = series.map(({ name, points }, index) => {
    const path = points.map(([x, y]) => `${round(toX(x))},${round(toY(y))}`).join(" ");
    const [lastX, lastY] = points.at(-1) ?? [0, 0];
    const label = `<text x="${round(toX(lastX)) + 8}" y="${round(toY(lastY)) + 4}">${escapeXml(name)}</text>`;
    return `<polyline class="s${index % 4}" points="${path}"/>${label}`;
  });
  const labels = `<text x="${left}" y="${top - 8}">${escapeXml(yLabel)}</text><text x="${left + plot.width / 2}" y="${bottom + 38}" text-anchor="middle">${escapeXml(xLabel)}</text>`;
  return toChart(title, bottom + 50, [...ticks, ...places, ...lines, labels]);
}

/** Panels of lines over one time. */
export interface Times {
  readonly title: string;
  /** From when to when something was done, in seconds. */
  readonly marked: readonly [from: number, to: number];
  readonly panels: readonly {
    readonly yLabel: string;
    readonly series: readonly { readonly name: string; readonly points: readonly (readonly [number, number])[] }[];
  }[];
}

/** Lines over seconds, in panels below each other; a time is marked in all of them. */
export function drawTimes({ title, marked, panels }: Times): string {
  const left = 70;
  const plot = { left, width: width - left - 120, height: 150, gap: 50 };
  const until = Math.max(
    marked[1],
    ...panels.flatMap(({ series }) => series.flatMap((one) => one.points.map(([x]) => x))),
  );
  const toX = (x: number) => round(left + (x / until) * plot.width);
  const [from, to] = marked.map(toX);
  const drawn = panels.flatMap(({ yLabel, series }, index) => {
    const y0 = top + 20 + index * (plot.height + plot.gap);
    const most = Math.max(...series.flatMap(({ points }) => points.map(([, y]) => y)), Number.MIN_VALUE) * 1.15;
    const toY = (y: number) => round(y0 + plot.height - (y / most) * plot.height);
    const mark = `<rect class="b" fill-opacity="0.12" x="${from}" y="${y0}" width="${(to ?? 0) - (from ?? 0)}" height="${plot.height}"/>`;
    const ticks = [0, 0.5, 1].map((share) => toTick(plot, toY(most * share), most * share));
    const lines = series.map(({ name, points }, nth) => {
      const path = points.map(([x, y]) => `${toX(x)},${toY(y)}`).join(" ");
      const [lastX = 0, lastY = 0] = points.at(-1) ?? [];
      return `<polyline class="s${nth}" points="${path}"/><text x="${toX(lastX) + 8}" y="${toY(lastY) + 4}">${escapeXml(name)}</text>`;
    });
    return [mark, `<text x="${left}" y="${y0 - 8}">${escapeXml(yLabel)}</text>`, ...ticks, ...lines];
  });
  const bottom = top + 20 + panels.length * (plot.height + plot.gap) - plot.gap;
  const places = [0, 0.25, 0.5, 0.75, 1].map(
    (share) =>
      `<text x="${toX(until * share)}" y="${bottom + 18}" text-anchor="middle">${Math.round(until * share)} s</text>`,
  );
  return toChart(title, bottom + 30, [...drawn, ...places]);
}

function toLabel(label: string, y: number): string {
  return `<text x="${labelWidth - 8}" y="${y + 12}" text-anchor="end">${escapeXml(label)}</text>`;
}

/** A line across the plot, beside which its value stands. */
function toTick(plot: { readonly left: number; readonly width: number }, y: number, value: number): string {
  return `<line class="axis" stroke-opacity="0.3" x1="${plot.left}" y1="${y}" x2="${plot.left + plot.width}" y2="${y}"/><text x="${plot.left - 8}" y="${y + 4}" text-anchor="end">${round(value)}</text>`;
}

function toChart(title: string, height: number, parts: readonly string[]): string {
  return toSvg({ title, width, height, style, parts });
}

function total(parts: readonly number[]): number {
  return parts.reduce((sum, part) => sum + part, 0);
}
