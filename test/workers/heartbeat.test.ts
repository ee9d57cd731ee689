import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { WorkerCalls } from "../../src/workers/calls.ts";
import { startHeartbeat } from "../../src/workers/heartbeat.ts";
import type { Link } from "../../src/workers/link.ts";

beforeEach(() => void vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] }));
afterEach(() => void vi.useRealTimers());

/** A worker that answers, once, each time that it is told to. */
function open() {
  let waiting: (() => void)[] = [];
  const link: Link<WorkerCalls> = {
    ask: () => new Promise((resolve) => waiting.push(() => resolve(undefined as never))),
  };
  const onStuck = vi.fn();
  const heartbeat = startHeartbeat(link, onStuck);
  const answer = () => {
    for (const resolve of waiting) resolve();
    waiting = [];
  };
  return { onStuck, heartbeat, answer, asked: () => waiting.length };
}

/** Turns of our own event loop, a second each. */
const turns = async (count: number) => {
  for (let i = 0; i < count; i++) {
    vi.advanceTimersByTime(1_000);
    await new Promise((resolve) => setImmediate(resolve));
  }
};

test("a worker that has answered is stuck after ten turns without an answer, and told of once", async () => {
  const { onStuck, answer, asked } = open();
  for (let i = 0; i < 100; i++) {
    await turns(1);
    answer();
  }
  await turns(1);
  expect(asked()).toBe(1);
  await turns(9);
  expect(onStuck).not.toHaveBeenCalled();
  await turns(1);
  expect(onStuck).toHaveBeenCalledOnce();
  await turns(100);
  expect(onStuck).toHaveBeenCalledOnce();
});

test("one that loads has a minute", async () => {
  const { onStuck } = open();
  await turns(60);
  expect(onStuck).not.toHaveBeenCalled();
  await turns(1);
  expect(onStuck).toHaveBeenCalledOnce();
});

test("an answer that is late, but comes, counts from anew", async () => {
  const { onStuck, answer } = open();
  for (let i = 0; i < 5; i++) {
    await turns(10);
    answer();
  }
  expect(onStuck).not.toHaveBeenCalled();
});

test("nothing is counted after the stop", async () => {
  const { onStuck, heartbeat } = open();
  await turns(1);
  heartbeat.stop();
  await turns(100);
  expect(onStuck).not.toHaveBeenCalled();
});
