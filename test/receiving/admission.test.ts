import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { retryAfterMsOf, toErrorFacts } from "../../src/errors.ts";
import { type Applicant, createAdmission } from "../../src/receiving/admission.ts";

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["Date"] });
});
afterEach(() => {
  vi.useRealTimers();
});

const open = ({ maxSessions = 1_000, maxSessionsPerUser = 50, maxSessionsPerAddress = 0 } = {}) => {
  const admission = createAdmission({ maxSessions, maxSessionsPerUser, maxSessionsPerAddress });
  const enter = (userId: string, applicant: Partial<Applicant> = {}) =>
    admission.enter({ userId, peer: "10.0.0.1", device: "phone", isTakeover: false, ...applicant });
  /** Why a session is refused; undefined when it is let in. */
  const refusal = (...args: Parameters<typeof enter>) => {
    try {
      enter(...args);
      return undefined;
    } catch (error) {
      return { ...toErrorFacts(error), retryAfterMs: retryAfterMsOf(error) };
    }
  };
  return { admission, enter, refusal };
};

const times = <T>(count: number, work: () => T): T[] => Array.from({ length: count }, work);

test("who is refused is told to come back at a time of its own", () => {
  const { enter, refusal } = open({ maxSessions: 1 });
  enter("alice");
  const waits = times(50, () => refusal("bob")?.retryAfterMs ?? 0);
  expect(Math.min(...waits)).toBeGreaterThanOrEqual(5_000);
  expect(Math.max(...waits)).toBeLessThanOrEqual(7_500);
  expect(new Set(waits).size).toBeGreaterThan(1);
});

test("sessions of the instance are counted, and refused with 1601 beyond the maximum, until one leaves", () => {
  const { admission, enter, refusal } = open({ maxSessions: 2 });
  const leave = enter("alice");
  enter("bob");
  expect(admission.size()).toBe(2);
  expect(refusal("carol")).toMatchObject({ errCode: 1601, errDlt: expect.stringContaining("this instance") });
  leave();
  expect(admission.size()).toBe(1);
  expect(refusal("carol")).toBeUndefined();
});

describe("the sessions of a user", () => {
  test("are limited, and nobody else's", () => {
    const { enter, refusal } = open({ maxSessionsPerUser: 3 });
    const [leave] = times(3, () => enter("alice"));
    expect(refusal("alice")).toMatchObject({ errCode: 1601, errDlt: expect.stringContaining("this user") });
    expect(refusal("bob")).toBeUndefined();
    leave?.();
    expect(refusal("alice")).toBeUndefined();
  });

  test("can be replaced at the limit, while those replaced are still there; up to twice the limit", () => {
    const { enter, refusal } = open({ maxSessionsPerUser: 3 });
    times(3, () => enter("alice"));
    vi.advanceTimersByTime(60_000);
    expect(times(4, () => refusal("alice", { isTakeover: true })?.errCode)).toEqual([
      undefined,
      undefined,
      undefined,
      1601,
    ]);
    expect(refusal("alice")?.errCode).toBe(1601);
  });

  test("cannot be opened all the time: after a burst, 1601 says when", () => {
    const { enter, refusal } = open({ maxSessionsPerUser: 10 });
    times(20, () => enter("alice")());
    expect(refusal("alice")).toMatchObject({ errCode: 1601, retryAfterMs: 1_000 });
    expect(refusal("bob")).toBeUndefined();
    vi.advanceTimersByTime(1_000);
    expect(refusal("alice")).toBeUndefined();
    expect(refusal("alice")?.errCode).toBe(1601);
  });
});

test("sessions from an address are limited where that is set, whoever's they are", () => {
  const { refusal } = open({ maxSessionsPerAddress: 2 });
  expect(times(2, () => refusal("alice"))).toEqual([undefined, undefined]);
  expect(refusal("bob")).toMatchObject({ errCode: 1601, errDlt: expect.stringContaining("this address") });
  expect(refusal("bob", { peer: "10.0.0.2" })).toBeUndefined();
});
