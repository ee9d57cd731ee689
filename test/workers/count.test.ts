import { expect, test } from "vitest";
import { ConfigError, loadConfig } from "../../src/config.ts";
import { workerCount } from "../../src/workers/count.ts";

const count = (settings: Record<string, string>, machine: { cores?: number; platform?: NodeJS.Platform } = {}) =>
  workerCount(loadConfig(settings), { cores: 8, platform: "linux", ...machine });

test("auto is never more than the cores, one on two, and never less than one", () => {
  for (const cores of [1, 2, 3, 4, 8, 64]) {
    expect(count({}, { cores })).toBeLessThanOrEqual(cores);
    expect(count({}, { cores })).toBeGreaterThanOrEqual(1);
  }
  expect(count({}, { cores: 2 })).toBe(1);
});

test("auto leaves each worker room for the largest push", () => {
  expect(count({ MUSTREACH_MAX_WAITING_PUSH_BYTES: "16777216" }, { cores: 64 })).toBe(2);
  expect(count({ MUSTREACH_MAX_WAITING_PUSH_BYTES: "8388608" }, { cores: 64 })).toBe(1);
});

test("a number counts as it is, or is refused with its reason", () => {
  expect(count({ MUSTREACH_WORKERS: "3" }, { cores: 1 })).toBe(3);
  const tooMany = { MUSTREACH_WORKERS: "3", MUSTREACH_MAX_WAITING_PUSH_BYTES: "16777216" };
  expect(() => count(tooMany)).toThrow(ConfigError);
  expect(() => count(tooMany)).toThrow(/MUSTREACH_WORKERS is 3, but MUSTREACH_MAX_WAITING_PUSH_BYTES is enough for 2/);
});

test("there are none on Windows", () => {
  expect(count({}, { platform: "win32" })).toBe(1);
  expect(count({ MUSTREACH_WORKERS: "1" }, { platform: "win32" })).toBe(1);
  expect(() => count({ MUSTREACH_WORKERS: "2" }, { platform: "win32" })).toThrow(/on Windows/);
});
