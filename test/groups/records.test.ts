import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isMemberAt, reviseStays, type Stay } from "../../src/groups/records.ts";

const stay = (userId: string, from: number, to?: number, leaveTime = 0): Stay => ({
  userId,
  role: 20,
  joinTime: 1,
  from,
  ...(to === undefined ? {} : { to, leaveTime }),
});
const member = (userId: string) => ({ userId, role: 20, joinTime: 1 }) as const;
const revision = { version: 9, nowMs: 1_000, enter: [], leave: new Set<string>(), historyMs: 500 };

test.each([
  ["before it", 2, false],
  ["at its first version", 3, true],
  ["at its last version", 6, true],
  ["at the first version without it", 7, false],
])("a member %s", (_, version, expected) => {
  expect(isMemberAt(stay("a", 3, 7), version)).toBe(expected);
});

test("a stay without an end has none", () => {
  expect(isMemberAt(stay("a", 3), 1_000_000)).toBe(true);
});

describe("a revision", () => {
  test("ends the stays of who leaves, and begins one for who enters", () => {
    const before = [stay("a", 1), stay("c", 2)];
    expect(reviseStays(before, { ...revision, enter: [member("b")], leave: new Set(["c"]) })).toEqual([
      stay("a", 1),
      stay("b", 9),
      stay("c", 2, 9, 1_000),
    ]);
    expect(before).toEqual([stay("a", 1), stay("c", 2)]);
  });

  test("keeps earlier stays of who comes back, and does not end them again", () => {
    const before = [stay("a", 1, 4, 900), stay("a", 6)];
    const left = reviseStays(before, { ...revision, leave: new Set(["a"]) });
    expect(left).toEqual([stay("a", 1, 4, 900), stay("a", 6, 9, 1_000)]);
    const back = reviseStays(left, { ...revision, version: 10, enter: [member("a")] });
    expect(back).toEqual([stay("a", 1, 4, 900), stay("a", 6, 9, 1_000), stay("a", 10)]);
  });

  test("forgets stays that ended before the history begins", () => {
    const before = [stay("a", 1, 2, 500), stay("b", 1, 2, 501), stay("c", 1)];
    expect(reviseStays(before, revision)).toEqual([stay("b", 1, 2, 501), stay("c", 1)]);
  });

  test("keeps the last 50 ended stays of a user who comes and goes, and all of others", () => {
    const busy = Array.from({ length: 60 }, (_, n) => stay("busy", n + 1, n + 2, 900));
    const revised = reviseStays([...busy, stay("busy", 100), stay("calm", 1, 2, 900)], revision);
    expect(revised).toEqual([...busy.slice(10), stay("busy", 100), stay("calm", 1, 2, 900)]);
  });

  test("any history of a record answers who was a member at each version", () => {
    const users = ["a", "b", "c", "~", "é"];
    fc.assert(
      fc.property(fc.array(fc.uniqueArray(fc.constantFrom(...users)), { maxLength: 40 }), (toggles) => {
        const members = new Set<string>();
        const history: string[][] = [[]];
        let stays: readonly Stay[] = [];
        for (const [index, toggled] of toggles.entries()) {
          const leave = new Set(toggled.filter((userId) => members.has(userId)));
          const enter = toggled.filter((userId) => !members.has(userId));
          for (const userId of leave) members.delete(userId);
          for (const userId of enter) members.add(userId);
          stays = reviseStays(stays, { ...revision, version: index + 1, enter: enter.map(member), leave });
          history.push([...members].sort());
        }
        for (const [version, expected] of history.entries()) {
          const found = stays.filter((one) => isMemberAt(one, version)).map(({ userId }) => userId);
          expect(found).toEqual(expected);
        }
      }),
    );
  });
});
