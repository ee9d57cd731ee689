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

test("the least recently used is forgotten first", () => {
  const tokens = createVerifiedTokens({ max: 2 });
  tokens.set("a", callerOf("a"));
  tokens.set("b", callerOf("b"));
  tokens.get("a");
  tokens.set("c", callerOf("c"));
  expect(["a", "b", "c"].map((token) => tokens.get(token)?.userId)).toEqual(["a", undefined, "c"]);
  tokens.set("a", callerOf("a"));
  tokens.set("d", callerOf("d"));
  expect(["a", "c", "d"].map((token) => tokens.get(token)?.userId)).toEqual(["a", undefined, "d"]);
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
