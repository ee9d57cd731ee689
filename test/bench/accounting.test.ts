import { expect, test } from "vitest";
import { cpuGranularityMs, parseStat } from "../../bench/accounting.ts";
import { format } from "../../bench/report.ts";

test("a process's times and memory are read past a name that looks like fields", () => {
  const line =
    "4711 (a ) S 1 b) S 815 4711 4711 0 -1 4194304 100 0 0 0 250 50 9 9 20 0 11 0 12345 1000000 77 18446744073709551615";
  const { parentPid, cpuMs, residentBytes } = parseStat(line);
  expect(parentPid).toBe(815);
  expect(cpuMs).toBe(300 * cpuGranularityMs);
  expect(residentBytes % 77).toBe(0);
});

test.each([
  [0.123, "0.12"],
  [9.999, "10.00"],
  [12.34, "12.3"],
  [987.6, "988"],
  [12_345.6, "12,346"],
  [1_234_567, "1,234,567"],
])("%d is written %s", (value, text) => {
  expect(format(value)).toBe(text);
});
