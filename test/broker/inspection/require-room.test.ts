import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Broker } from "../../../src/broker/connect.ts";
import { createRequireRoom } from "../../../src/broker/inspection/require-room.ts";
import { toErrorFacts } from "../../../src/errors.ts";

beforeEach(() => void vi.useFakeTimers({ toFake: ["performance"] }));
afterEach(() => void vi.useRealTimers());

const bound = { stream: "GROUPS", maxBytes: 1_000, maxMessages: 10, setting: "MUSTREACH_MAX_GROUPS_BYTES" };

function open(state: { bytes: number; messages: number }) {
  const stream = { state, isAway: false };
  const info = vi.fn(async () => {
    if (stream.isAway) throw new Error("away");
    return { state: { ...stream.state } };
  });
  const requireRoom = createRequireRoom({ jsm: { streams: { info } } } as unknown as Broker, bound);
  return { stream, info, facts: () => requireRoom().then(() => undefined, toErrorFacts) };
}

test("from its bytes and from its messages on a stream is full, and says so; with room it is not", async () => {
  const { stream, facts } = open({ bytes: 1_000, messages: 1 });
  expect(await facts()).toMatchObject({
    errCode: 90101,
    errDlt: expect.stringContaining("1000 bytes (MUSTREACH_MAX_"),
  });
  stream.state = { bytes: 1, messages: 10 };
  expect(await facts()).toMatchObject({ errCode: 90101, errDlt: expect.stringContaining("10 messages") });
  stream.state = { bytes: 999, messages: 9 };
  expect(await facts()).toBeUndefined();
});

test("the broker is asked once a second, and while it is nearly full each time", async () => {
  const { stream, info, facts } = open({ bytes: 1, messages: 1 });
  for (let n = 0; n < 100; n++) expect(await facts()).toBeUndefined();
  expect(info).toHaveBeenCalledTimes(1);
  stream.state = { bytes: 900, messages: 1 };
  vi.advanceTimersByTime(1_000);
  expect(await facts()).toBeUndefined();
  await vi.waitFor(() => expect(info).toHaveBeenCalledTimes(2));
  for (let n = 0; n < 5; n++) expect(await facts()).toBeUndefined();
  expect(info).toHaveBeenCalledTimes(7);
});

test("a broker that does not answer is for the write to tell of", async () => {
  const { stream, facts } = open({ bytes: 1_000, messages: 1 });
  stream.isAway = true;
  expect(await facts()).toBeUndefined();
});
