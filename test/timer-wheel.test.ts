import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { createTimerWheel, Timer } from "../src/timer-wheel.ts";
import { fuzz } from "./helpers/fuzz.ts";

const dayMs = 86_400_000;

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** A timer that keeps when it went off. */
function newTimer(onTime = () => {}) {
  const times: number[] = [];
  const timer = new Timer({
    onTime() {
      times.push(performance.now());
      onTime();
    },
  });
  return { timer, times };
}

describe("a timer", () => {
  test.each([0, 1, 5, 255, 256, 257, 65_535, 65_536, 15_000, dayMs, 40 * dayMs])(
    "goes off once, in %i ms and not before",
    (ms) => {
      const wheel = createTimerWheel();
      const { timer, times } = newTimer();
      const due = performance.now() + Math.max(ms, 1);
      wheel.set(timer, ms);
      vi.advanceTimersByTime(Math.max(ms, 1) - 1);
      expect(times).toEqual([]);
      vi.advanceTimersByTime(1);
      expect(times).toEqual([due]);
      vi.advanceTimersByTime(dayMs);
      expect(times).toHaveLength(1);
    },
  );

  test("that is cleared does not go off, and may be set again", () => {
    const wheel = createTimerWheel();
    const { timer, times } = newTimer();
    wheel.set(timer, 10);
    wheel.clear(timer);
    vi.advanceTimersByTime(100);
    expect(times).toEqual([]);
    wheel.set(timer, 10);
    vi.advanceTimersByTime(10);
    expect(times).toHaveLength(1);
  });

  test("that is set again goes off at the later time only", () => {
    const wheel = createTimerWheel();
    const { timer, times } = newTimer();
    wheel.set(timer, 10);
    wheel.set(timer, 500);
    const due = performance.now() + 500;
    vi.advanceTimersByTime(1_000);
    expect(times).toEqual([due]);
  });

  test("that is set when another was due goes off a millisecond later, and not at once", () => {
    const wheel = createTimerWheel();
    const { timer, times } = newTimer();
    wheel.set(timer, 2);
    vi.advanceTimersByTime(1);
    wheel.set(timer, 0);
    vi.advanceTimersByTime(0);
    expect(times).toEqual([]);
    vi.advanceTimersByTime(1);
    expect(times).toHaveLength(1);
  });

  test("may be set again, and others cleared, while it goes off", () => {
    const wheel = createTimerWheel();
    const other = newTimer();
    const self = newTimer(() => {
      wheel.clear(other.timer);
      if (self.times.length < 3) wheel.set(self.timer, 0);
    });
    wheel.set(self.timer, 300);
    wheel.set(other.timer, 300);
    vi.advanceTimersByTime(1_000);
    expect(self.times).toHaveLength(3);
    expect(other.times).toEqual([]);
  });

  test("whose owner throws leaves the others to their time", () => {
    const wheel = createTimerWheel();
    const bad = newTimer(() => {
      throw new Error("test");
    });
    const good = newTimer();
    wheel.set(bad.timer, 10);
    wheel.set(good.timer, 10);
    expect(() => vi.advanceTimersByTime(10)).toThrow("test");
    vi.advanceTimersByTime(10);
    expect(good.times).toHaveLength(1);
  });
});

test("each goes off at its time, however they are set, cleared and set anew", () => {
  const step = fc.record({
    which: fc.nat(9),
    ms: fc.oneof(fc.nat(600), fc.nat(200_000), fc.nat(20_000_000)),
    isCleared: fc.boolean(),
    waitMs: fc.oneof(fc.nat(300), fc.nat(100_000), fc.nat(17_000_000)),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const wheel = createTimerWheel();
      const due = new Map<number, number>();
      const late: number[] = [];
      const timers = Array.from({ length: 10 }, (_, index) =>
        newTimer(() => {
          late.push(performance.now() - (due.get(index) ?? Number.NaN));
          due.delete(index);
        }),
      );
      for (const { which, ms, isCleared, waitMs } of steps) {
        const { timer } = timers[which] ?? newTimer();
        if (isCleared) {
          wheel.clear(timer);
          due.delete(which);
        } else {
          wheel.set(timer, ms);
          due.set(which, performance.now() + Math.max(ms, 1));
        }
        vi.advanceTimersByTime(waitMs);
      }
      vi.advanceTimersByTime(20_000_000);
      expect(due).toEqual(new Map());
      expect(late.every((ms) => ms === 0)).toBe(true);
    }),
    fuzz(200),
  );
});
