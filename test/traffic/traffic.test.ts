import { expect, test } from "vitest";
import { Traffic } from "../../src/traffic/traffic.ts";

test("up to where a device was interrupted is given once, and for so many devices only", () => {
  const traffic = new Traffic({ observe() {} });
  traffic.interrupt("alice", "phone", 7);
  traffic.interrupt("alice", "phone", 9);
  expect(traffic.takeInterrupted("alice", "tablet")).toBe(0);
  expect(traffic.takeInterrupted("alice", "phone")).toBe(9);
  expect(traffic.takeInterrupted("alice", "phone")).toBe(0);
  for (let i = 0; i <= 10_000; i++) traffic.interrupt("bob", String(i), 1);
  expect(traffic.takeInterrupted("bob", "0")).toBe(0);
  expect(traffic.takeInterrupted("bob", "1")).toBe(1);
});
