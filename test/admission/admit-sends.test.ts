import { Code, ConnectError } from "@connectrpc/connect";
import { expect, test, vi } from "vitest";
import { createSendAdmission, maxAtWork, minShare, type SendAdmission } from "../../src/admission/admit-sends.ts";
import { retryAfterMsOf, toErrorFacts } from "../../src/errors.ts";

/** A limit that stays where it is put. */
const fixed = (current: number, patience = 1) => ({ current, patience, observe: () => {}, refuse: () => {} });

/** Begins sends that last until they are told to end; those that were refused are not among them. */
function begin(admission: SendAdmission, callerId: string, times: number, count = 1) {
  const held: PromiseWithResolvers<void>[] = [];
  const refusals: unknown[] = [];
  const sends = Array.from({ length: times }, () =>
    admission
      .admit({ callerId, count, isMeasured: false }, () => {
        const end = Promise.withResolvers<void>();
        held.push(end);
        return end.promise;
      })
      .catch((error: unknown) => refusals.push(error)),
  );
  let isOver = false;
  return {
    held,
    refusals,
    /** Ends all, also those whose turn is yet to come. */
    async end() {
      void Promise.all(sends).then(() => {
        isOver = true;
      });
      while (!isOver) {
        for (const { resolve } of held) resolve();
        await new Promise(setImmediate);
      }
    },
  };
}

test("one who has 2,000 in flight has four fifths of the room, the rest is refused, and who comes next is let in", async () => {
  const admission = createSendAdmission(1_000, fixed(1_000));
  const flood = begin(admission, "flood", 2_000);
  expect(admission.inFlight()).toBe(800);
  const others = ["a", "b", "c", "d"].map((name) => begin(admission, name, minShare));
  expect(admission.inFlight()).toBe(800 + 4 * minShare);
  await vi.waitFor(() => expect(flood.refusals).toHaveLength(1_200));
  // What is at work ends, one by one: of each of the others one begins before the next of who floods.
  expect(flood.held).toHaveLength(maxAtWork);
  for (let i = 0; i < 5; i++) flood.held[i]?.resolve();
  await vi.waitFor(() => expect(flood.held).toHaveLength(maxAtWork + 1));
  for (const { held } of others) expect(held).toHaveLength(1);
  await flood.end();
  expect(admission.refused()).toBe(1_200);
  for (const refusal of flood.refusals) {
    expect(toErrorFacts(refusal)).toMatchObject({ errCode: 429, errMsg: "TooManyRequestsError" });
    expect(ConnectError.from(refusal).code).toBe(Code.ResourceExhausted);
    expect(retryAfterMsOf(refusal)).toBeGreaterThanOrEqual(500);
    expect(retryAfterMsOf(refusal)).toBeLessThanOrEqual(1_500);
  }
  for (const other of others) await other.end();
  expect(admission.inFlight()).toBe(0);
});

test("while a crowd lasts, who has much under way waits longer, and who has little does not", async () => {
  const admission = createSendAdmission(100, fixed(100, 8));
  const flood = begin(admission, "flood", 200);
  const crowd = Array.from({ length: 4 }, (_, n) => begin(admission, `crowd-${n}`, minShare));
  const other = begin(admission, "other", 1);
  await vi.waitFor(() => expect([flood.refusals.length, other.refusals.length]).toEqual([120, 1]));
  for (const refusal of flood.refusals) {
    expect(retryAfterMsOf(refusal)).toBeGreaterThanOrEqual(4_000);
    expect(retryAfterMsOf(refusal)).toBeLessThanOrEqual(12_000);
  }
  for (const refusal of other.refusals) expect(retryAfterMsOf(refusal)).toBeLessThanOrEqual(1_500);
  for (const one of [flood, other, ...crowd]) await one.end();
});

test("many callers who take all they can never exceed the bound, and share alike", () => {
  const admission = createSendAdmission(900, fixed(900));
  const taken = new Map<string, number>();
  for (let round = 0; round < 1_000; round++) {
    for (const name of ["a", "b"]) {
      const before = admission.inFlight();
      begin(admission, name, 1);
      taken.set(name, (taken.get(name) ?? 0) + admission.inFlight() - before);
    }
  }
  expect([...taken.values()]).toEqual([400, 400]);
  for (let i = 0; i < 200; i++) begin(admission, `more-${i}`, 10);
  expect(admission.inFlight()).toBe(900);
});

test("when the limit falls below what is in flight, others are let in all the same, up to their least share", async () => {
  const limit = fixed(1_000);
  const admission = createSendAdmission(1_000, limit);
  begin(admission, "flood", 2_000);
  limit.current = 320;
  expect(admission.inFlight()).toBe(800);
  begin(admission, "flood", 1);
  expect(admission.inFlight()).toBe(800);
  begin(admission, "other", 100);
  expect(admission.inFlight()).toBe(800 + minShare);
});

test("a batch counts by what is in it; one for which there is no room runs alone, and leaves others theirs", async () => {
  const admission = createSendAdmission(1_000, fixed(1_000));
  const batch = begin(admission, "batches", 1, 600);
  expect(admission.inFlight()).toBe(600);
  expect(begin(admission, "batches", 1, 600).held).toHaveLength(0);
  await batch.end();
  const large = begin(admission, "batches", 1, 5_000);
  expect(large.held).toHaveLength(1);
  expect(admission.inFlight()).toBe(800);
  expect(begin(admission, "batches", 1).held).toHaveLength(0);
  expect(begin(admission, "other", 1, 5_000).held).toHaveLength(1);
  expect(begin(admission, "third", 1).held).toHaveLength(1);
  await large.end();
});

test("what fails is counted out, and is no measure of the broker", async () => {
  const observed: number[] = [];
  const limit = { ...fixed(16), observe: (...[, , inFlight]: number[]) => observed.push(inFlight ?? 0) };
  const admission = createSendAdmission(16, limit);
  const ask = { callerId: "a", count: 1, isMeasured: true };
  await expect(admission.admit(ask, () => Promise.reject(new Error("no")))).rejects.toThrow("no");
  expect(admission.inFlight()).toBe(0);
  expect(observed).toEqual([]);
  await admission.admit(ask, async () => {});
  await admission.admit({ ...ask, isMeasured: false }, async () => {});
  expect(observed).toEqual([1]);
});
