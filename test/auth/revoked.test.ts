import { expect, test } from "vitest";
import { isRevoked } from "../../src/auth/revocations.ts";

/** alice's tokens for platform 5 are revoked up to 1,000. */
const revokedAtMs = (userId: string, platformId: number) =>
  userId === "alice" && platformId === 5 ? 1_000 : undefined;

test.each([
  ["minted before", "alice", 5, 999, true],
  ["minted in the same millisecond", "alice", 5, 1_000, true],
  ["minted after", "alice", 5, 1_001, false],
  ["minted at an unknown time", "alice", 5, 0, true],
  ["for another platform", "alice", 1, 999, false],
  ["for another platform, minted at an unknown time", "alice", 1, 0, false],
  ["of another user", "bob", 5, 999, false],
  ["for any platform, minted before", "alice", 0, 999, true],
  ["for any platform, minted after", "alice", 0, 1_001, false],
  ["for any platform, of another user", "bob", 0, 0, false],
])("a token %s", (_, userId, platformId, issuedAtMs, expected) => {
  expect(isRevoked({ userId, platformId, issuedAtMs }, revokedAtMs)).toBe(expected);
});
