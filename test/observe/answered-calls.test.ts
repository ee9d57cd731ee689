import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type AccessLog, createAnsweredCalls, sumEveryMs, wholeLines } from "../../src/observe/answered-calls.ts";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

function open(mode: AccessLog) {
  const lines: Record<string, unknown>[] = [];
  const calls = createAnsweredCalls((line, msg) => void lines.push({ ...line, msg }), mode);
  const add = (rpc: string, count: number, ms = 1) => {
    for (let n = 0; n < count; n++) calls.add({ rpc, toLine: (took) => ({ rpc, ms: took }) }, ms);
  };
  return { lines, add, close: calls.close, take: () => lines.splice(0) };
}

const answered = (rpc: string, count: number, ms = 1) =>
  Array.from({ length: count }, () => ({ rpc, ms, msg: "call answered" }));

test("as many calls as have a line of their own have nothing else", () => {
  const { add, take } = open("sampled");
  add("a", wholeLines);
  vi.advanceTimersByTime(sumEveryMs);
  expect(take()).toEqual(answered("a", wholeLines));
});

test("one more is counted, of each method for itself, with the longest, and the next interval begins anew", () => {
  const { add, take } = open("sampled");
  add("a", wholeLines, 500);
  add("a", 1, 7);
  add("a", 2, 3);
  add("b", wholeLines + 1);
  expect(take()).toEqual([...answered("a", wholeLines, 500), ...answered("b", wholeLines)]);
  vi.advanceTimersByTime(sumEveryMs);
  expect(take()).toEqual([
    { rpc: "a", calls: 3, maxMs: 7, msg: "more calls answered" },
    { rpc: "b", calls: 1, maxMs: 1, msg: "more calls answered" },
  ]);
  add("a", wholeLines);
  vi.advanceTimersByTime(10 * sumEveryMs);
  expect(take()).toEqual(answered("a", wholeLines));
});

test("what is summed when it is closed is written", () => {
  const { add, take, close } = open("sampled");
  add("a", wholeLines + 5);
  take();
  close();
  expect(take()).toEqual([{ rpc: "a", calls: 5, maxMs: 1, msg: "more calls answered" }]);
});

test("the line of a call without one is not made", () => {
  const calls = createAnsweredCalls(() => {}, "sampled");
  const call = { rpc: "a", toLine: vi.fn(() => ({})) };
  for (let n = 0; n < 1_000; n++) calls.add(call, 1);
  expect(call.toLine).toHaveBeenCalledTimes(wholeLines);
});

test("all is each, and off is none", () => {
  const each = open("all");
  each.add("a", 1_000);
  expect(each.take()).toEqual(answered("a", 1_000));
  const none = open("off");
  none.add("a", 1_000);
  vi.advanceTimersByTime(sumEveryMs);
  none.close();
  expect(none.take()).toEqual([]);
});

test("those that are refused are summed by their error, also when nothing else has a line", () => {
  const lines: Record<string, unknown>[] = [];
  const calls = createAnsweredCalls((line, msg) => void lines.push({ ...line, msg }), "off");
  const refuse = (errCode: number, count: number, ms: number) => {
    const refusal = { errCode, errMsg: `E${errCode}`, errDlt: "no" };
    for (let n = 0; n < count; n++) calls.add({ rpc: "a", toLine: (took) => ({ rpc: "a", ms: took }) }, ms, refusal);
  };
  refuse(429, wholeLines + 5, 3);
  refuse(1505, wholeLines, 1);
  calls.add({ rpc: "a", toLine: () => ({}) }, 9);
  const own = (errCode: number, ms: number) =>
    Array.from({ length: wholeLines }, () => {
      return { rpc: "a", ms, errCode, errMsg: `E${errCode}`, errDlt: "no", msg: "call refused" };
    });
  expect(lines.splice(0)).toEqual([...own(429, 3), ...own(1505, 1)]);
  vi.advanceTimersByTime(sumEveryMs);
  expect(lines).toEqual([{ rpc: "a", errCode: 429, errMsg: "E429", calls: 5, maxMs: 3, msg: "more calls refused" }]);
});
