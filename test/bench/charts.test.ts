import { expect, test } from "vitest";
import { drawBars, drawCurve, drawDistances } from "../../bench/charts.ts";

const charts = {
  bars: drawBars(
    "µs & more",
    ["server", "broker"],
    [
      { label: 'a "quoted" <one>', parts: [3, 1] },
      { label: "nothing", parts: [0, 0] },
    ],
  ),
  distances: drawDistances("from the target", [
    { label: "far & away", value: 8 },
    { label: "on it", value: 1 },
    { label: "below", value: 0.2 },
    { label: "nothing", value: 0 },
  ]),
  curve: drawCurve({
    title: "a < b",
    xLabel: "retained",
    yLabel: "µs",
    series: [
      {
        name: "send & read",
        points: [
          [1_000, 5],
          [10_000, 6],
          [1_000_000, 7],
        ],
      },
      { name: "alone", points: [[1_000, 0]] },
    ],
  }),
};

/** The elements that are still open at the end, and those that were closed out of turn. */
function unbalanced(xml: string): string[] {
  const open: string[] = [];
  const wrong: string[] = [];
  for (const [, closing, name = "", selfClosing] of xml.matchAll(/<(\/?)([a-z]+)[^<>]*?(\/?)>/g)) {
    if (closing === "") selfClosing || open.push(name);
    else if (open.pop() !== name) wrong.push(name);
  }
  return [...wrong, ...open];
}

test.each(Object.entries(charts))("%s are well-formed", (_, svg) => {
  expect(svg.startsWith('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ')).toBe(true);
  expect(unbalanced(svg)).toEqual([]);
  expect(svg.replaceAll(/<[^<>]*>|&(amp|lt|gt|quot);/g, "")).not.toMatch(/[<>&"]/);
});

test.each(Object.entries(charts))("%s have numbers only where numbers are due", (_, svg) => {
  const numbers = [...svg.matchAll(/\b(?:x|y|width|height|x1|x2|y1|y2)="([^"]*)"/g)].map(([, value]) => Number(value));
  expect(numbers.length).toBeGreaterThan(0);
  expect(numbers.every((value) => Number.isFinite(value) && value >= 0)).toBe(true);
});

test("a figure that reaches its target points the other way", () => {
  expect(charts.distances.match(/class="missed"/g)).toHaveLength(1);
  expect(charts.distances.match(/class="met"/g)).toHaveLength(3);
});
