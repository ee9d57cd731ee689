import type { History } from "./check/history.ts";
import { owedTo } from "./check/owed.ts";

/** Readable on a light page and on a dark one. */
const style = `
  text { font: 12px system-ui, sans-serif; fill: #7b838c }
  .title { font-size: 14px; font-weight: 600 }
  .axis { stroke: #9aa2ab; stroke-opacity: 0.4; stroke-width: 1 }
  .fault { fill: #d64545; fill-opacity: 0.18 }
  polyline { fill: none; stroke-width: 1.5 } .s0 { stroke: #3b82c4 } .s1 { stroke: #d9822b }
`;

const width = 960;
const left = 64;
const right = 24;
const rowHeight = 18;
const panelHeight = 120;
const panelGap = 42;

/** How fine the curves are. */
const buckets = 240;

interface Panel {
  readonly title: string;
  /** Names of the lines, and a value of each for each bucket; undefined where there is none. */
  readonly lines: readonly { readonly name: string; readonly values: readonly (number | undefined)[] }[];
}

/** Draws a history over time: when what was broken, how long sends took, what was delivered, and what was still owed. */
export function drawTimeline(title: string, history: History): string {
  const { sends, devices, marks } = history;
  const attempts = [...sends.values()].flatMap((send) => send.attempts);
  const events = devices.flatMap(({ sessions }) => sessions.flatMap((session) => session.events));
  const endMs = Math.max(1, ...[attempts.map(({ endedAt }) => endedAt), events.map(({ at }) => at)].map(maxOf));
  const bucketMs = endMs / buckets;
  const toBucket = (at: number) => Math.min(buckets - 1, Math.max(0, Math.floor(at / bucketMs)));
  const perSecond = (times: readonly number[]) => {
    const counts = Array<number>(buckets).fill(0);
    for (const at of times) counts[toBucket(at)] = (counts[toBucket(at)] ?? 0) + 1;
    return counts.map((count) => (count * 1_000) / bucketMs);
  };
  const latencies = Array.from({ length: buckets }, (): number[] => []);
  for (const { startedAt, endedAt, outcome } of attempts) {
    if (outcome === "accepted") latencies[toBucket(startedAt)]?.push(endedAt - startedAt);
  }
  const changes = Array<number>(buckets).fill(0);
  for (const device of devices) {
    for (const { since, came = endMs } of owedTo(history, device)) {
      changes[toBucket(since)] = (changes[toBucket(since)] ?? 0) + 1;
      changes[toBucket(Math.max(came, since))] = (changes[toBucket(Math.max(came, since))] ?? 0) - 1;
    }
  }
  let owed = 0;
  const backlog = changes.map((change) => {
    owed += change;
    return owed;
  });
  const accepted = attempts.filter(({ outcome }) => outcome === "accepted");
  const panels: Panel[] = [
    {
      title: "a second",
      lines: [
        { name: "sends accepted", values: perSecond(accepted.map(({ endedAt }) => endedAt)) },
        { name: "events delivered", values: perSecond(events.map(({ at }) => at)) },
      ],
    },
    {
      title: "until a send was answered, in ms",
      lines: [
        { name: "median", values: latencies.map((ofBucket) => quantile(ofBucket, 0.5)) },
        { name: "99 of 100", values: latencies.map((ofBucket) => quantile(ofBucket, 0.99)) },
      ],
    },
    {
      title: "notifications that a device is owed (devices that are away included)",
      lines: [{ name: "", values: backlog }],
    },
  ];
  const names = [...new Set(marks.map(({ what }) => what))].toSorted();
  const top = 44;
  const panelsTop = top + names.length * rowHeight + 34;
  const height = panelsTop + panels.length * (panelHeight + panelGap);
  const toX = (at: number) => round(left + (Math.min(at, endMs) / endMs) * (width - left - right));
  const bars = marks.map(({ at, until }) => {
    const barWidth = Math.max(1.5, toX(until) - toX(at));
    return `<rect class="fault" x="${toX(at)}" y="${top}" width="${round(barWidth)}" height="${height - top - panelGap}"/>`;
  });
  const rows = names.flatMap((name, index) => {
    const y = top + index * rowHeight;
    const ofName = marks.filter(({ what }) => what === name);
    return [
      ...ofName.map(({ at, until }) => {
        const barWidth = Math.max(2, toX(until) - toX(at));
        return `<rect fill="#d64545" x="${toX(at)}" y="${y + 3}" width="${round(barWidth)}" height="10"/>`;
      }),
      `<text x="${left}" y="${y + 13}">${escapeXml(name)}</text>`,
    ];
  });
  const ticks = Array.from({ length: 7 }, (_, i) => (endMs * i) / 6).map(
    (at) => `<text x="${toX(at)}" y="${height - 10}" text-anchor="middle">${Math.round(at / 1_000)} s</text>`,
  );
  const drawn = panels.map((panel, index) =>
    drawPanel(panel, panelsTop + index * (panelHeight + panelGap), (bucket) => toX((bucket + 0.5) * bucketMs)),
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-label="${escapeXml(title)}">
<style>${style}</style>
<text class="title" x="12" y="22">${escapeXml(title)}</text>
${[...bars, ...rows, ...drawn, ...ticks].join("\n")}
</svg>
`;
}

function drawPanel({ title, lines }: Panel, top: number, toX: (bucket: number) => number): string {
  const most = Math.max(maxOf(lines.flatMap(({ values }) => values.map((value) => value ?? 0))), 1);
  const toY = (value: number) => round(top + panelHeight - (value / most) * panelHeight);
  const axes = [0, 0.5, 1].map((share) => {
    const y = toY(most * share);
    return `<line class="axis" x1="${left}" y1="${y}" x2="${width - right}" y2="${y}"/><text x="${left - 8}" y="${y + 4}" text-anchor="end">${round(most * share)}</text>`;
  });
  const curves = lines.map(({ values }, index) => {
    const points = values.flatMap((value, bucket) => (value === undefined ? [] : [`${toX(bucket)},${toY(value)}`]));
    return `<polyline class="s${index}" points="${points.join(" ")}"/>`;
  });
  const legend = lines.map(({ name }, index) => {
    const x = width - right - 140 * (lines.length - index);
    return name === ""
      ? ""
      : `<line class="s${index}" stroke-width="3" x1="${x}" y1="${top - 12}" x2="${x + 18}" y2="${top - 12}"/><text x="${x + 24}" y="${top - 8}">${escapeXml(name)}</text>`;
  });
  return [...axes, ...curves, ...legend, `<text x="${left}" y="${top - 8}">${escapeXml(title)}</text>`].join("\n");
}

function quantile(values: readonly number[], share: number): number | undefined {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length * share)];
}

/** Without arguments by the ten thousand, which would be too many. */
function maxOf(values: readonly number[]): number {
  return values.reduce((most, value) => Math.max(most, value), 0);
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

function escapeXml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}
