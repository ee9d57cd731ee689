import { expect, test } from "vitest";
import { readTimeout } from "../../src/grpc/timeout.ts";

test.each<[string, number]>([
  ["2H", 7_200_000],
  ["3M", 180_000],
  ["4S", 4_000],
  ["5m", 5],
  ["6000u", 6],
  ["7000000n", 7],
  ["0n", 0],
  ["99999999H", 99_999_999 * 3_600_000],
  ["007S", 7_000],
])("%s are %d ms", (value, ms) => {
  expect(readTimeout(value)).toBeCloseTo(ms, 6);
});

test.each(["", "S", "1", "1s", "1h", "100000000S", "-1S", "+1S", "1.5S", " 1S", "1S ", "1SS", "１S", "1e3m", "0x1S"])(
  "%j is none",
  (value) => {
    expect(readTimeout(value)).toBeNaN();
  },
);
