import { expect, test } from "vitest";
import { sessionEnds } from "../../src/receiving/session-end.ts";

const count = 400;

// Of 400, a quarter of the range has fewer than 50 once in a billion runs.
test.each([
  ["a stop", sessionEnds.drained, 500, 2_500],
  ["another store", sessionEnds.storeChanged, 0, 2_000],
] as const)("after %s, devices come back spread over the time that they are told", (_, end, fromMs, toMs) => {
  const quarters = [0, 0, 0, 0];
  for (let i = 0; i < count; i++) {
    const { last } = end();
    const afterMs = last?.case === "reconnect" ? (last.value.afterMs ?? Number.NaN) : Number.NaN;
    expect(afterMs).toBeGreaterThanOrEqual(fromMs);
    expect(afterMs).toBeLessThan(toMs);
    const quarter = Math.floor((4 * (afterMs - fromMs)) / (toMs - fromMs));
    quarters[quarter] = (quarters[quarter] ?? 0) + 1;
  }
  expect(Math.min(...quarters), `${quarters}`).toBeGreaterThanOrEqual(50);
});
