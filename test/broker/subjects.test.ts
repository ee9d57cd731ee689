import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { revokedSubject } from "../../src/auth/layout.ts";
import { toPartition, toToken } from "../../src/broker/subjects.ts";
import { cursorSubject } from "../../src/cursors/layout.ts";
import {
  inboxDayFilter,
  inboxFilter,
  inboxSpecs,
  inboxSubject,
  messageToken,
  recallToken,
  toDay,
} from "../../src/inbox/layout.ts";
import { isId, maxUserIdBytes } from "../../src/limits.ts";
import { ackSubject, liveFilter, liveSessionSubject, parseLiveSubject, pushSubject } from "../../src/live/layout.ts";
import { recalledSubject } from "../../src/recalling/layout.ts";
import { sentSubject } from "../../src/sending/layout.ts";
import { fuzz } from "../helpers/fuzz.ts";

/** Any id that the service accepts. */
const id = fc
  .oneof(
    fc.string({ unit: "grapheme", minLength: 1, maxLength: 400 }),
    fc.string({ unit: "binary", minLength: 1, maxLength: 90 }),
    // What means something in a subject, in a token or in another id.
    fc.string({
      unit: fc.constantFrom("*", ">", ".", " ", "=", "-", "_", "$", "a", "A", "é", "e\u0301"),
      minLength: 1,
    }),
  )
  .filter((value) => isId(value, maxUserIdBytes));

/** Whether a subject matches a filter, by the rules of NATS. */
function matches(filter: string, subject: string): boolean {
  const [wanted, tokens] = [filter.split("."), subject.split(".")];
  return (
    wanted.every((token, i) => (token === ">" ? tokens.length > i : token === "*" || token === tokens[i])) &&
    (wanted.at(-1) === ">" || wanted.length === tokens.length)
  );
}

describe("the token of an id", () => {
  test("holds no wildcard, separator or space, and is bounded", () => {
    fc.assert(
      fc.property(id, (value) => {
        expect(toToken(value)).toMatch(/^=?[A-Za-z0-9_-]{1,86}$/);
      }),
      fuzz(2_000),
    );
  });

  test("is that of no other id", () => {
    const tokens = new Map<string, string>();
    fc.assert(
      fc.property(id, id, (one, other) => {
        expect(toToken(one) === toToken(other)).toBe(one === other);
        for (const value of [one, other]) {
          expect(tokens.get(toToken(value)) ?? value).toBe(value);
          tokens.set(toToken(value), value);
        }
      }),
      fuzz(5_000),
    );
  });

  test("is that of no other id where a long id meets the token of a short one", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme", minLength: 65, maxLength: 300 }), (long) => {
        const token = toToken(long);
        expect(toToken(token)).not.toBe(token);
        expect(toToken(token.slice(1))).not.toBe(token);
      }),
      fuzz(100),
    );
  });

  test.each([
    ["*", "Kg"],
    [">", "Pg"],
    ["a.b", "YS5i"],
    ["日本", "5pel5pys"],
    ["2839678182", "MjgzOTY3ODE4Mg"],
    ["x".repeat(64), Buffer.from("x".repeat(64)).toString("base64url")],
    ["x".repeat(65), "=lTfF_fEgSC99WNJentWD9SwCtOME6oFNsWM61WWu1-k"],
  ])("of %o stays what stored data was written under", (value, token) => {
    // A change here would look for stored notifications in the wrong place.
    expect(toToken(value)).toBe(token);
  });

  test("does not exist for an empty id", () => {
    expect(() => toToken("")).toThrow(TypeError);
  });
});

describe("the filters of a user", () => {
  const specs = inboxSpecs({ partitions: 5, retentionMs: 3_600_000, maxStoreBytes: 100_000_000 });
  const subjectsOf = (partition: number) => specs[partition]?.subjects ?? [];

  test("match the user's own subjects, in the streams' own, and no other user's", () => {
    fc.assert(
      fc.property(id, id, id, fc.nat(30_000), (one, other, messageId, day) => {
        const [mine, theirs] = [toToken(one), toToken(other)];
        const subject = inboxSubject(3, theirs, day, toToken(messageId));
        const own = one === other;
        expect(matches(inboxFilter(3, mine), subject)).toBe(own);
        expect(matches(inboxDayFilter(3, mine, day), subject)).toBe(own);
        expect(matches(inboxDayFilter(3, mine, day + 1), subject)).toBe(false);
        expect(matches(liveFilter(3, mine), pushSubject(3, theirs))).toBe(own);
        expect(matches(liveFilter(3, mine), ackSubject(3, theirs, toToken(messageId)))).toBe(own);
        expect(matches(liveFilter(3, mine), liveSessionSubject(3, theirs, toToken(messageId)))).toBe(own);
        expect(subjectsOf(3).filter((filter) => matches(filter, subject))).toHaveLength(1);
        for (const record of [sentSubject(3, mine), recalledSubject(3, mine)]) {
          expect(subjectsOf(3).filter((filter) => matches(filter, record))).toHaveLength(1);
        }
        expect(subjectsOf(4).some((filter) => matches(filter, subject))).toBe(false);
      }),
      fuzz(100),
    );
  });
});

describe("a live subject", () => {
  test("is read as what it was made for", () => {
    fc.assert(
      fc.property(id, id, (user, device) => {
        const [userToken, deviceToken] = [toToken(user), toToken(device)];
        expect(parseLiveSubject(pushSubject(0, userToken))).toEqual({ kind: "push" });
        expect(parseLiveSubject(`live.0.${userToken}.hint.20779.${deviceToken}`)).toEqual({ kind: "hint" });
        expect(parseLiveSubject(ackSubject(0, userToken, deviceToken))).toEqual({ kind: "ack", device: deviceToken });
        expect(parseLiveSubject(liveSessionSubject(0, userToken, deviceToken))).toEqual({
          kind: "session",
          device: deviceToken,
        });
      }),
      fuzz(100),
    );
  });

  test.each(["live.0.dXNlcg.later", "live.0.dXNlcg", "live.0.dXNlcg.ack"])(
    "that this version does not know is nothing: %s",
    (subject) => {
      expect(parseLiveSubject(subject)).toBeUndefined();
    },
  );
});

describe("the partition of a token", () => {
  test("is one of the partitions and never changes", () => {
    fc.assert(
      fc.property(id, fc.integer({ min: 1, max: 256 }), (value, partitions) => {
        const partition = toPartition(toToken(value), partitions);
        expect(Number.isInteger(partition) && partition >= 0 && partition < partitions).toBe(true);
      }),
      fuzz(100),
    );
    // FNV-1a of "foobar", from the reference (http://www.isthe.com/chongo/tech/comp/fnv).
    expect(toPartition("foobar", 2 ** 32)).toBe(0xbf9cf968);
  });

  test("spreads users evenly", () => {
    const counts = Array.from({ length: 8 }, () => 0);
    for (let i = 0; i < 8_000; i++) {
      const partition = toPartition(toToken(`user-${i}`), 8);
      counts[partition] = (counts[partition] ?? 0) + 1;
    }
    for (const count of counts) expect(Math.abs(count - 1_000)).toBeLessThan(150);
  });
});

test("keys in buckets are of one user and device, or platform", () => {
  const key = /^\$KV\.[A-Z]+\.[-/_=.a-zA-Z0-9]+$/;
  fc.assert(
    fc.property(id, id, (user, device) => {
      expect(cursorSubject(toToken(user), toToken(device))).toMatch(key);
      expect(cursorSubject(toToken(user), toToken(device)).split(".")).toHaveLength(4);
      expect(revokedSubject(toToken(user), 11)).toMatch(key);
    }),
    fuzz(100),
  );
});

test("a chat copy and a recall have places of their own, which no notification can take", () => {
  fc.assert(
    fc.property(id, id, (one, other) => {
      const tokens = [toToken(one), toToken(other), messageToken(one), recallToken(one)];
      expect(new Set(tokens).size).toBe(one === other ? 3 : 4);
      for (const token of tokens) expect(token).toMatch(/^=?[A-Za-z0-9_-]{1,86}(~[mr])?$/);
    }),
    fuzz(100),
  );
});

test("a day begins at midnight UTC", () => {
  expect(toDay(Date.UTC(2026, 0, 1) - 1) + 1).toBe(toDay(Date.UTC(2026, 0, 1)));
  expect(toDay(86_400_000)).toBe(1);
});
