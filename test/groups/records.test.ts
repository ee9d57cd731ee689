import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  decodeGroup,
  encodeGroup,
  isMemberAt,
  type Membership,
  noProfile,
  reviseMemberships,
} from "../../src/groups/records.ts";
import { fuzz } from "../helpers/fuzz.ts";

const membership = (userId: string, from: number, to?: number, leaveTime = 0): Membership => ({
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
  expect(isMemberAt(membership("a", 3, 7), version)).toBe(expected);
});

test("a membership without an end has none", () => {
  expect(isMemberAt(membership("a", 3), 1_000_000)).toBe(true);
});

describe("a revision", () => {
  test("ends the memberships of who leaves, and begins one for who enters", () => {
    const before = [membership("a", 1), membership("c", 2)];
    expect(reviseMemberships(before, { ...revision, enter: [member("b")], leave: new Set(["c"]) })).toEqual([
      membership("a", 1),
      membership("b", 9),
      membership("c", 2, 9, 1_000),
    ]);
    expect(before).toEqual([membership("a", 1), membership("c", 2)]);
  });

  test("keeps earlier memberships of who comes back, and does not end them again", () => {
    const before = [membership("a", 1, 4, 900), membership("a", 6)];
    const left = reviseMemberships(before, { ...revision, leave: new Set(["a"]) });
    expect(left).toEqual([membership("a", 1, 4, 900), membership("a", 6, 9, 1_000)]);
    const back = reviseMemberships(left, { ...revision, version: 10, enter: [member("a")] });
    expect(back).toEqual([membership("a", 1, 4, 900), membership("a", 6, 9, 1_000), membership("a", 10)]);
  });

  test("forgets memberships that ended before the history begins", () => {
    const before = [membership("a", 1, 2, 500), membership("b", 1, 2, 501), membership("c", 1)];
    expect(reviseMemberships(before, revision)).toEqual([membership("b", 1, 2, 501), membership("c", 1)]);
  });

  test("keeps the last 50 ended memberships of a user who comes and goes, and all of others", () => {
    const busy = Array.from({ length: 60 }, (_, n) => membership("busy", n + 1, n + 2, 900));
    const revised = reviseMemberships([...busy, membership("busy", 100), membership("calm", 1, 2, 900)], revision);
    expect(revised).toEqual([...busy.slice(10), membership("busy", 100), membership("calm", 1, 2, 900)]);
  });

  test("any history of a record answers who was a member at each version", () => {
    const users = ["a", "b", "c", "~", "é"];
    fc.assert(
      fc.property(fc.array(fc.uniqueArray(fc.constantFrom(...users)), { maxLength: 40 }), (toggles) => {
        const members = new Set<string>();
        const history: string[][] = [[]];
        let memberships: readonly Membership[] = [];
        for (const [index, toggled] of toggles.entries()) {
          const leave = new Set(toggled.filter((userId) => members.has(userId)));
          const enter = toggled.filter((userId) => !members.has(userId));
          for (const userId of leave) members.delete(userId);
          for (const userId of enter) members.add(userId);
          memberships = reviseMemberships(memberships, {
            ...revision,
            version: index + 1,
            enter: enter.map(member),
            leave,
          });
          history.push([...members].sort());
        }
        for (const [version, expected] of history.entries()) {
          const found = memberships.filter((one) => isMemberAt(one, version)).map(({ userId }) => userId);
          expect(found).toEqual(expected);
        }
      }),
      fuzz(100),
    );
  });
});

test("a group that was stored before it had a profile has an empty one", () => {
  const group = { ...noProfile, groupName: "Orders", ex: "x", groupId: "g", ownerUserId: "o", creatorUserId: "c" };
  const record = { ...group, createTime: 1, memberCount: 1, status: "active", version: 1, changeId: "1" } as const;
  // A field with its zero value is not written: the bytes are those of then.
  const stored = encodeGroup(record);
  expect(decodeGroup(stored)).toEqual(record);
  const told = {
    ...record,
    notification: "n",
    introduction: "i",
    faceUrl: "f",
    needVerification: 2,
    lookMemberInfo: 1,
  };
  expect(decodeGroup(encodeGroup(told))).toEqual(told);
});
