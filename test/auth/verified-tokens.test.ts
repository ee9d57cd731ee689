import { afterEach, expect, test, vi } from "vitest";
import type { Caller } from "../../src/auth/caller.ts";
import { createVerifiedTokens } from "../../src/auth/verified-tokens.ts";

afterEach(() => {
  vi.useRealTimers();
});

const callerOf = (userId: string): Caller => ({
  userId,
  platformId: 5,
  isAdmin: false,
  issuedAtMs: 0,
  expiresAtMs: 1,
});

test("a token is found again, another is not", () => {
  const tokens = createVerifiedTokens();
  const alice = callerOf("alice");
  tokens.set("token of alice", alice);
  expect(tokens.get("token of alice")).toBe(alice);
  expect(tokens.get("token of bob")).toBeUndefined();
});

test("those not used for the longest time are forgotten, those in use are not", () => {
  const tokens = createVerifiedTokens({ max: 10 });
  for (let n = 0; n < 100; n++) {
    tokens.set(`token ${n}`, callerOf(`user ${n}`));
    tokens.get("token 0");
  }
  const known = Array.from({ length: 100 }, (_, n) => n).filter((n) => tokens.get(`token ${n}`) !== undefined);
  expect(known).toContain(0);
  expect(known).toContain(99);
  expect(known.length).toBeLessThanOrEqual(10);
  expect(known.filter((n) => n > 0 && n < 90)).toEqual([]);
});

test("a token that is kept again counts once", () => {
  const tokens = createVerifiedTokens({ max: 4 });
  tokens.set("a", callerOf("a"));
  for (let n = 0; n < 100; n++) {
    tokens.set("b", callerOf(`b${n}`));
    expect(tokens.get("b")?.userId).toBe(`b${n}`);
  }
  expect(tokens.get("a")?.userId).toBe("a");
  expect(tokens.get("b")?.userId).toBe("b99");
});

test("more busy tokens than are kept as they came are found all the same", () => {
  const tokens = createVerifiedTokens();
  for (let n = 0; n < 1_000; n++) tokens.set(`token ${n}`, callerOf(`user ${n}`));
  for (let round = 0; round < 3; round++) {
    for (let n = 0; n < 1_000; n++) expect(tokens.get(`token ${n}`)?.userId).toBe(`user ${n}`);
  }
});

test("after its time a token is forgotten, however often it is used", () => {
  vi.useFakeTimers({ toFake: ["Date"] });
  const tokens = createVerifiedTokens({ maxAgeMs: 1_000 });
  tokens.set("a", callerOf("a"));
  vi.advanceTimersByTime(999);
  expect(tokens.get("a")).toBeDefined();
  vi.advanceTimersByTime(1);
  expect(tokens.get("a")).toBeUndefined();
});
