import type { History } from "./check/history.ts";
import { owedTo } from "./check/owed.ts";
import { escapeXml, round, toSvg } from "./svg.ts";

const style = `
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

/** What a picture is drawn of: sums for each second, so that hours of it can be kept. */
export interface Timeline {
  /** Adds a history whose clock began `offsetMs` after that of the picture. */
  add(history: History, offsetMs: number): void;
  /** Draws what there is: when what was broken, how long sends took, what was delivered, and what was still owed. */
  draw(title: string): string;
}

interface Second {
  delivered: number;
  /** Of what is owed, what became so in it less what came. */
  owed: number;
  /** How long each send took that was begun in it, in milliseconds. */
  readonly latencies: number[];
}

/** Creates one with nothing in it. */
export function createTimeline(): Timeline {
  const seconds: Second[] = [];
  const marks: { at: number; until: number; what: string }[] = [];
  let endMs = 1;
  const secondOf = (at: number): Second => {
    endMs = Math.max(endMs, at);
    for (const last = Math.floor(at / 1_000); seconds.length <= last; ) {
      seconds.push({ delivered: 0, owed: 0, latencies: [] });
    }
    return seconds[Math.floor(at / 1_000)] ?? { delivered: 0, owed: 0, latencies: [] };
  };
  return {
    add(history, offsetMs) {
      const { sends, devices } = history;
      for (const { at, until, what } of history.marks) marks.push({ at: at + offsetMs, until: until + offsetMs, what });
      for (const { attempts } of sends.values()) {
        for (const { startedAt, endedAt, outcome } of attempts) {
          if (outcome === "accepted") secondOf(startedAt + offsetMs).latencies.push(endedAt - startedAt);
        }
      }
      for (const { sessions } of devices) {
        for (const { events } of sessions) for (const { at } of events) secondOf(at + offsetMs).delivered++;
      }
      const isOverAt = endMs - offsetMs;
      for (const device of devices) {
        for (const { since, came = isOverAt } of owedTo(history, device)) {
          secondOf(since + offsetMs).owed++;
          secondOf(Math.max(came, since) + offsetMs).owed--;
        }
      }
    },
    draw: (title) => drawTimeline(title, { seconds, marks, endMs }),
  };
}

/** What is drawn. */
interface Drawn {
  readonly seconds: readonly Second[];
  readonly marks: readonly { readonly at: number; readonly until: number; readonly what: string }[];
  readonly endMs: number;
}

function drawTimeline(title: string, { seconds, marks, endMs }: Drawn): string {
  const count = Math.max(1, Math.min(buckets, seconds.length));
  const bucketMs = endMs / count;
  const inBuckets = Array.from({ length: count }, (): Second[] => []);
  for (const [at, second] of seconds.entries()) {
    inBuckets[Math.min(count - 1, Math.floor((at * 1_000) / bucketMs))]?.push(second);
  }
  const latencies = inBuckets.map((ofBucket) => ofBucket.flatMap((second) => second.latencies));
  const perSecond = (counts: readonly number[]) => counts.map((each) => (each * 1_000) / bucketMs);
  let owed = 0;
  const backlog = inBuckets.map((ofBucket) => {
    for (const second of ofBucket) owed += second.owed;
    return owed;
  });
  const panels: Panel[] = [
    {
      title: "a second",
      lines: [
        { name: "sends accepted", values: perSecond(latencies.map((each) => each.length)) },
        {
          name: "events delivered",
          values: perSecond(inBuckets.map((each) => each.reduce((sum, { delivered }) => sum + delivered, 0))),
        },
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
  return toSvg({ title, width, height, style, parts: [...bars, ...rows, ...drawn, ...ticks] });
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
