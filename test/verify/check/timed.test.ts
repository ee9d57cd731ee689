import { describe, expect, test } from "vitest";
import type { History } from "../../../src/verify/check/history.ts";
import { inspect } from "../../../src/verify/check/inspect.ts";
import { clockFaults } from "../../../src/verify/own/bad-clocks.ts";
import { call, got, historyOf, send, session } from "./histories.ts";

const clock = "the clock of an instance jumps forwards";

/** What a history shows where a clock was wrong from one moment to another, and what else happened. */
function shownBy(history: History, at: number, until: number, ...more: History["marks"]): string[] {
  return inspect({ ...history, marks: [...more, { at, until, what: clock }] }).map(({ what }) => what);
}

/** What was sent at 20 s, so that a clock may have been wrong, and been right for a while, before. */
const attempts = [call(20_000, 20_010)];

/** From 22,000 at the earliest, and for certain from 22,010, it has expired. */
const brief = send("a", { attempts, ttlSeconds: 2 });

const gap = { kind: "gap", from: 1, sequence: 1, reason: 2 } as const;

describe.each<[what: string, history: History, found: RegExp, until: number]>([
  [
    "what comes before its time",
    historyOf([send("a", { attempts, dueAt: 24_000 })], [session([{ ...got(1, "a"), at: 21_000 }])]),
    /before its time/,
    21_000,
  ],
  [
    "what has expired and comes",
    historyOf([brief], [session([{ ...got(1, "a"), at: 23_500 }], { openedAt: 23_000 })]),
    /after it had expired/,
    23_500,
  ],
  [
    "what a gap tells of, and has not expired",
    historyOf([brief], [session([{ ...gap, at: 21_000 }]), session([{ ...got(1, "a"), at: 21_500 }])]),
    /had not expired/,
    21_000,
  ],
  ["what has expired and is not told", historyOf([brief], []), /is not told/, 22_010],
])("of %s", (_, history, found, until) => {
  const all = [expect.stringMatching(found)];

  test("a clock says nothing that was wrong before or after", () => {
    expect(shownBy(history, 10_000, 14_999)).toEqual(all);
    expect(shownBy(history, until + 1, until + 1_000)).toEqual(all);
  });

  test("nothing is found where a clock was wrong meanwhile, or shortly before", () => {
    expect(shownBy(history, 10_000, 15_000)).toEqual([]);
    expect(shownBy(history, 20_005, 20_006)).toEqual([]);
    expect(shownBy(history, until, until + 1_000)).toEqual([]);
  });

  test("a clock may be wrong for as long as its instance was frozen", () => {
    const frozenUntil = (ms: number) => ({ at: 5_000, until: ms, what: "freeze an instance" });
    expect(shownBy(history, 5_000, 6_000, frozenUntil(14_999))).toEqual(all);
    expect(shownBy(history, 5_000, 6_000, frozenUntil(15_000))).toEqual([]);
    // It began when the clock had long been right.
    expect(shownBy(history, 5_000, 6_000, { ...frozenUntil(19_000), at: 11_000 })).toEqual(all);
  });
});

test("what comes long after it had expired is found, whatever clock was wrong in between", () => {
  const history = historyOf([brief], [session([{ ...got(1, "a"), at: 60_500 }], { openedAt: 60_000 })]);
  expect(shownBy(history, 30_000, 31_000)).toEqual([expect.stringMatching(/after it had expired/)]);
  expect(shownBy(history, 60_100, 60_200)).toEqual([]);
});

test("by no clock has expired what does not expire", () => {
  const lasting = send("a", { attempts });
  const history = historyOf([lasting], [session([{ ...gap, at: 21_000 }]), session([{ ...got(1, "a"), at: 21_500 }])]);
  expect(shownBy(history, 20_000, 21_000)).toEqual([expect.stringMatching(/had not expired/)]);
});

test("each fault of a clock is known as one", () => {
  const history = historyOf([brief], []);
  for (const { name } of clockFaults({ clocks: [] })) {
    expect(inspect({ ...history, marks: [{ at: 20_000, until: 21_000, what: name }] })).toEqual([]);
  }
});
