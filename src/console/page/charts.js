// @ts-check
import { drawing, element, find, toMessage } from "./element.js";
import { quantileBetween, readMetrics, sum } from "./metrics.js";

/** How often the metrics are read, in milliseconds, and how many readings a chart shows: five minutes. */
const readMs = 2_000;
const shown = 150;

const duration = "mustreach_rpc_duration_seconds";
const reach = "mustreach_reach_duration_seconds";
/** @param {string} method */
const of =
  (method) =>
  (/** @type {Record<string, string>} */ { rpc = "" }) =>
    rpc.endsWith(`/${method}`);
const isSend = (/** @type {Record<string, string>} */ labels) =>
  of("SendBusinessNotification")(labels) || of("SendBusinessNotificationBatch")(labels);

/**
 * @typedef {readonly import("./metrics.js").Sample[]} Samples
 * @typedef {{ name: string, read: (before: Samples, now: Samples, seconds: number) => number | undefined }} Line
 */

/**
 * What is drawn: each chart with its lines, read from two readings of the metrics.
 *
 * @type {{ title: string, unit: string, lines: Line[] }[]}
 */
const charts = [
  {
    title: "Sent and delivered, a second",
    unit: "/s",
    lines: [
      { name: "sends", read: rateOf(`${duration}_count`, isSend) },
      { name: "to devices", read: rateOf("mustreach_deliveries_total", () => true) },
    ],
  },
  {
    title: "Time to answer a send",
    unit: "ms",
    lines: [
      { name: "p50", read: (before, now) => inMs(quantileBetween(before, now, duration, 0.5, isSend)) },
      { name: "p99", read: (before, now) => inMs(quantileBetween(before, now, duration, 0.99, isSend)) },
    ],
  },
  {
    title: "Time to reach a device",
    unit: "ms",
    lines: [
      { name: "p50", read: (before, now) => inMs(quantileBetween(before, now, reach, 0.5)) },
      { name: "p99", read: (before, now) => inMs(quantileBetween(before, now, reach, 0.99)) },
    ],
  },
  {
    title: "Must-reach, a second",
    unit: "/s",
    lines: [
      { name: "reached", read: rateOf("mustreach_reach_total", ({ outcome }) => outcome === "reached") },
      { name: "escalated", read: rateOf("mustreach_reach_total", ({ outcome }) => outcome === "escalated") },
    ],
  },
  {
    title: "Backlog",
    unit: "",
    lines: [
      { name: "to be acknowledged here", read: (_, now) => sum(now, "mustreach_backlog_notifications") },
      { name: "not reached yet", read: (_, now) => sum(now, "mustreach_reach_pending") },
    ],
  },
  {
    title: "Sessions, by door",
    unit: "",
    lines: [
      { name: "gRPC", read: sessionsOf("grpc_receive", "grpc_subscribe") },
      { name: "Connect, gRPC-Web", read: sessionsOf("connect", "grpc_web") },
      { name: "events (SSE)", read: sessionsOf("sse") },
      { name: "WebSocket", read: sessionsOf("websocket") },
      { name: "OpenIM", read: sessionsOf("openim_js", "openim_go") },
    ],
  },
  {
    title: "Online pushes that wait",
    unit: "KiB",
    lines: [{ name: "in memory", read: (_, now) => sum(now, "mustreach_waiting_push_bytes") / 1_024 }],
  },
];

/**
 * @param {string} name of a counter
 * @param {(labels: Record<string, string>) => boolean} isMeant
 * @returns {Line["read"]}
 */
function rateOf(name, isMeant) {
  return (before, now, seconds) => Math.max(0, sum(now, name, isMeant) - sum(before, name, isMeant)) / seconds;
}

/**
 * @param {string[]} doors
 * @returns {Line["read"]}
 */
function sessionsOf(...doors) {
  return (_, now) => sum(now, "mustreach_sessions", ({ door = "" }) => doors.includes(door));
}

/** @param {number | undefined} seconds */
function inMs(seconds) {
  return seconds === undefined ? undefined : seconds * 1_000;
}

/**
 * What the service does, from its metrics, from now on.
 *
 * @param {HTMLElement} section
 * @param {import("./api.js").Api} _api
 * @param {AbortSignal} signal
 */
export function openCharts(section, _api, signal) {
  const problem = find(section, "output");
  const views = charts.map((chart) => openChart(chart));
  find(section, "#charts").replaceChildren(...views.map(({ card }) => card));
  /** @type {{ at: number, samples: Samples } | undefined} */
  let before;

  const read = async () => {
    try {
      const response = await fetch("metrics", { cache: "no-store", signal });
      const reading = { at: performance.now(), samples: readMetrics(await response.text()) };
      for (const view of views)
        if (before !== undefined) view.add(before.samples, reading.samples, (reading.at - before.at) / 1_000);
      before = reading;
      problem.replaceChildren();
    } catch (error) {
      if (!signal.aborted)
        problem.replaceChildren(element("p", { class: "error" }, `the metrics cannot be read: ${toMessage(error)}`));
    }
  };
  read();
  const timer = setInterval(read, readMs);
  signal.addEventListener("abort", () => clearInterval(timer));
}

/** The area in which a chart is drawn, in its own units. */
const [width, height] = [300, 90];

/** @param {(typeof charts)[number]} chart */
function openChart({ title, unit, lines }) {
  const drawn = lines.map((line, index) => {
    const path = drawing("path", { class: `line line-${index}`, "vector-effect": "non-scaling-stroke" });
    const now = element("b", {}, "–");
    /** @type {(number | undefined)[]} */
    const values = [];
    return { ...line, path, now, values, index };
  });
  const top = element("small", {}, "");
  const svg = drawing(
    "svg",
    { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": title },
    drawing("path", {
      class: "ground",
      d: `M0 ${height - 0.5}H${width}M0 ${height / 2}H${width}M0 .5H${width}`,
      "vector-effect": "non-scaling-stroke",
    }),
    ...drawn.map(({ path }) => path),
  );
  const card = element(
    "figure",
    { class: "card" },
    element("figcaption", { class: "head" }, element("h3", {}, title), top),
    /** @type {any} */ (svg),
    element(
      "ul",
      { class: "legend" },
      ...drawn.map(({ name, now, index }) =>
        element("li", {}, element("span", { class: `mark line-${index}` }), `${name} `, now),
      ),
    ),
  );

  /**
   * @param {Samples} before
   * @param {Samples} now
   * @param {number} seconds
   */
  const add = (before, now, seconds) => {
    for (const line of drawn) {
      const value = line.read(before, now, seconds);
      line.values.push(value);
      if (line.values.length > shown) line.values.shift();
      line.now.textContent = value === undefined ? "–" : `${round(value)} ${unit}`.trim();
    }
    const highest = toTop(Math.max(...drawn.flatMap(({ values }) => values.map((value) => value ?? 0))));
    top.textContent = `${highest} ${unit}`.trim();
    for (const { path, values } of drawn) path.setAttribute("d", toPath(values, highest));
  };
  return { card, add };
}

/**
 * A line through the values, the newest at the right, with a hole where there is none.
 *
 * @param {readonly (number | undefined)[]} values
 * @param {number} highest
 */
export function toPath(values, highest) {
  let isDrawing = false;
  return values
    .map((value, index) => {
      const command = isDrawing ? "L" : "M";
      isDrawing = value !== undefined;
      if (value === undefined) return "";
      const x = width - ((values.length - 1 - index) * width) / (shown - 1);
      return `${command}${x.toFixed(1)} ${(height - 1 - (value / highest) * (height - 2)).toFixed(1)}`;
    })
    .join("");
}

/**
 * The next of 1, 2, 5, 10, 20, … from a value on.
 *
 * @param {number} value
 */
export function toTop(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return ([1, 2, 5, 10].find((factor) => factor * power >= value) ?? 10) * power;
}

/** @param {number} value */
function round(value) {
  return value >= 100 ? Math.round(value) : Number(value.toPrecision(3));
}
