import { beforeEach, expect, test, vi } from "vitest";
import { FirstAcknowledgements } from "../../src/traffic/first-acknowledgements.ts";
import { Traffic } from "../../src/traffic/traffic.ts";

beforeEach(() => {
  measured = [];
  vi.useFakeTimers({ now: 1_000_000, toFake: ["Date", "performance"] });
  return () => void vi.useRealTimers();
});

let measured: number[] = [];
const newTraffic = () => new Traffic({ observe: (seconds) => void measured.push(seconds) });

/** A user who is here since now; `others` is how far another device has acknowledged. */
function userHere(others: () => Promise<number>, traffic = newTraffic()) {
  const readOthers = vi.fn(others);
  return { user: new FirstAcknowledgements(traffic, readOthers), traffic, readOthers };
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

const nobody = async () => 0;

test("the first device's acknowledgement counts, and no other's", () => {
  const { user, readOthers } = userHere(nobody);
  vi.setSystemTime(1_000_500);
  user.onAcknowledged(7, 1_000_200);
  user.onAcknowledged(7, 1_000_200);
  user.onAcknowledged(6, 1_000_100);
  user.onAcknowledged(8, 1_000_600);
  // The broker's clock is ahead.
  expect(measured).toEqual([0.3, 0]);
  expect(readOthers).not.toHaveBeenCalled();
});

test("what is no notification is not measured", () => {
  const { user } = userHere(nobody);
  user.onAcknowledged(7, 0);
  expect(measured).toEqual([]);
});

test("of what had waited, the rest counts that no other device has acknowledged; that is looked up once", async () => {
  const answer = Promise.withResolvers<number>();
  const { user, readOthers } = userHere(() => answer.promise);
  for (const sequence of [3, 4, 5]) user.onAcknowledged(sequence, 400_000);
  expect(measured).toEqual([]);
  answer.resolve(4);
  await settled();
  expect(measured).toEqual([600]);
  user.onAcknowledged(6, 500_000);
  expect(measured).toEqual([600, 500]);
  expect(readOthers).toHaveBeenCalledTimes(1);
});

test("what a device has acknowledged before its session is not another's first", () => {
  const { user } = userHere(nobody);
  user.knowAcknowledged(5);
  user.onAcknowledged(5, 1_000_000);
  user.onAcknowledged(6, 1_000_000);
  expect(measured).toEqual([0]);
});

test("while the broker is away, and beyond so many users a second, it is counted as not measured", async () => {
  const { user, traffic } = userHere(() => Promise.reject(new Error("away")));
  user.onAcknowledged(1, 1);
  await settled();
  expect(traffic.unmeasured).toBe(1);
  for (let i = 0; i < 300; i++) userHere(nobody, traffic).user.onAcknowledged(1, 1);
  await settled();
  expect(measured).toHaveLength(199);
  expect(traffic.unmeasured).toBe(102);
});
