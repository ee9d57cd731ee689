import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { createSendAdmission } from "../../src/admission/admit-sends.ts";
import { retryAfterMsOf } from "../../src/errors.ts";

// A broker that writes what waits as one batch, and syncs it, after which come the callers' answers: about what is measured
// of the real one on two cores. Callers and broker live on the same fake time.

const syncMs = 1;
const sendMs = 0.1;
/** One in so many syncs is slow. */
const slowEvery = 50;
const slowMs = 8;
const maxBatch = 512;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["performance", "setTimeout"] });
  return () => void vi.useRealTimers();
});

/** Numbers from 0 to 1 that are the same in each run. */
function createRandom(): () => number {
  let state = 1;
  return () => {
    state = (state * 48_271) % 2_147_483_647;
    return state / 2_147_483_647;
  };
}

function createBroker(random: () => number) {
  const waiting: (() => void)[] = [];
  let isWriting = false;
  const write = () => {
    isWriting = waiting.length > 0;
    if (!isWriting) return;
    const batch = waiting.splice(0, maxBatch);
    const isSlow = random() < 1 / slowEvery;
    setTimeout(
      () => {
        for (const done of batch) done();
        write();
      },
      syncMs + (isSlow ? slowMs : 0) + batch.length * sendMs,
    );
  };
  return () =>
    new Promise<void>((resolve) => {
      waiting.push(resolve);
      if (!isWriting) write();
    });
}

const after = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

function percentile(all: readonly number[], part: number): number {
  return all.toSorted((a, b) => a - b)[Math.ceil(all.length * part) - 1] ?? Number.NaN;
}

/** One who sends, alone or many at a time, and waits when it is told to. */
function openCaller(admission: ReturnType<typeof createSendAdmission>, send: () => Promise<void>, callerId: string) {
  let took: number[] = [];
  let refused = 0;
  let isOver = false;
  const once = async () => {
    const startedMs = performance.now();
    try {
      await admission.admit({ callerId, count: 1, isMeasured: true }, send);
      took.push(performance.now() - startedMs);
    } catch (error) {
      refused++;
      await after(retryAfterMsOf(error) ?? 0);
    }
  };
  return {
    begin(inFlight: number, pauseMs = 0) {
      for (let n = 0; n < inFlight; n++) {
        void (async () => {
          while (!isOver) {
            await once();
            if (pauseMs > 0) await after(pauseMs);
          }
        })();
      }
    },
    end() {
      isOver = true;
    },
    take() {
      const [times, refusals] = [took, refused];
      took = [];
      refused = 0;
      return { times, refusals };
    },
  };
}

function open() {
  const random = createRandom();
  vi.spyOn(Math, "random").mockImplementation(random);
  const admission = createSendAdmission(4_096);
  const send = createBroker(random);
  const caller = (name: string) => openCaller(admission, send, name);
  return { admission, caller };
}

afterEach(() => void vi.restoreAllMocks());

test("under ten times what is answered best, what is admitted stays within three times the unloaded p99", async () => {
  const { admission, caller } = open();
  const other = caller("other");
  other.begin(1, 20);
  await vi.advanceTimersByTimeAsync(10_000);
  const unloadedP99 = percentile(other.take().times, 0.99);
  const before = admission.limit();

  // As many as are answered best wait for longer, and are no overload.
  const best = caller("best");
  best.begin(256);
  await vi.advanceTimersByTimeAsync(2_000);
  const sustained = best.take();
  best.end();
  expect(sustained.refusals).toBe(0);

  const flood = caller("flood");
  flood.begin(2_560);
  await vi.advanceTimersByTimeAsync(2_000);
  flood.take();
  other.take();
  await vi.advanceTimersByTimeAsync(4_000);
  const flooded = flood.take();
  const meanwhile = other.take();
  flood.end();
  expect(percentile(flooded.times, 0.99)).toBeLessThanOrEqual(3 * unloadedP99);
  expect(percentile(meanwhile.times, 0.99)).toBeLessThanOrEqual(3 * unloadedP99);
  expect(meanwhile.refusals).toBe(0);
  expect(flooded.times.length / 4).toBeGreaterThan(0.85 * (sustained.times.length / 2));

  // Afterwards it is as before.
  await vi.advanceTimersByTimeAsync(15_000);
  expect(admission.limit()).toBe(before);
  expect(admission.inFlight()).toBeLessThanOrEqual(1);
});

test("a caller of as many as are answered best is let in again soon after a crowd", async () => {
  const { caller } = open();
  const crowd = caller("crowd");
  crowd.begin(2_560);
  await vi.advanceTimersByTimeAsync(3_000);
  crowd.end();
  const best = caller("best");
  best.begin(256);
  await vi.advanceTimersByTimeAsync(5_000);
  best.take();
  await vi.advanceTimersByTimeAsync(2_000);
  expect(best.take().refusals).toBe(0);
  best.end();
});
