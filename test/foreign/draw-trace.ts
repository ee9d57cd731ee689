import { escapeXml } from "../../src/verify/svg.ts";

/** A span, as far as it is drawn. */
export interface Span {
  readonly service: string;
  readonly name: string;
  readonly traceId: string;
  readonly spanId: string;
  /** Empty for the first. */
  readonly parentSpanId: string;
  readonly startNs: bigint;
  readonly endNs: bigint;
}

const width = 900;
const left = 300;
const right = 80;
const rowHeight = 44;
const top = 64;
const colours = ["#2563eb", "#16a34a", "#d97706", "#7c3aed"];

/** The spans of one trace as a waterfall: an SVG with a row for each, in the order in which they began. */
export function drawTrace(spans: readonly Span[]): string {
  const rows = spans.toSorted((a, b) => Number(a.startNs - b.startNs));
  const [first] = rows;
  if (first === undefined) throw new Error("a trace without spans");
  const msOf = (ns: bigint) => Number(ns - first.startNs) / 1e6;
  const totalMs = Math.max(...rows.map(({ endNs }) => msOf(endNs)));
  const x = (ms: number) => left + (ms / totalMs) * (width - left - right);
  const services = [...new Set(rows.map(({ service }) => service))];
  const depthOf = ({ parentSpanId }: Span): number => {
    const parent = rows.find(({ spanId }) => spanId === parentSpanId);
    return parent === undefined ? 0 : depthOf(parent) + 1;
  };

  const step = [0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500].find((each) => totalMs / each <= 8) ?? 1_000;
  const height = top + rows.length * rowHeight + 16;
  const lines: string[] = [];
  for (let ms = 0; ms <= totalMs; ms += step) {
    lines.push(
      `<path d="M${x(ms).toFixed(1)} ${top - 12}V${height - 12}" stroke="#e2e8f0"/>`,
      `<text x="${x(ms).toFixed(1)}" y="${top - 18}" text-anchor="middle" fill="#64748b" font-size="12">${ms} ms</text>`,
    );
  }
  const bars = rows.map((span, index) => {
    const y = top + index * rowHeight;
    const [from, to] = [x(msOf(span.startNs)), x(msOf(span.endNs))];
    const indent = 20 + depthOf(span) * 16;
    const took = Number(span.endNs - span.startNs) / 1e6;
    return [
      `<text x="${indent}" y="${y + 14}" font-weight="600">${escapeXml(span.name)}</text>`,
      `<text x="${indent}" y="${y + 30}" fill="#64748b" font-size="12">${escapeXml(span.service)}</text>`,
      `<rect x="${from.toFixed(1)}" y="${y + 4}" width="${Math.max(2, to - from).toFixed(1)}" height="22" rx="3" fill="${colours[services.indexOf(span.service) % colours.length]}"/>`,
      `<text x="${(to + 6).toFixed(1)}" y="${y + 20}" font-size="12" fill="#334155">${took.toFixed(1)} ms</text>`,
    ].join("\n");
  });
  const title = `Trace ${first.traceId}`;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="system-ui, sans-serif" font-size="14" role="img" aria-label="${title}">
<title>${title}</title>
<rect width="${width}" height="${height}" rx="8" fill="#ffffff"/>
<text x="20" y="24" fill="#64748b" font-size="12">${title}</text>
${lines.join("\n")}
${bars.join("\n")}
</svg>
`;
}
