import { beforeAll, describe, expect, test, vi } from "vitest";
import { type DirectGet, type Page, readsOver } from "../../src/broker/reads/direct-get.ts";
import { toToken } from "../../src/broker/subjects.ts";
import { toErrorFacts } from "../../src/errors.ts";
import { roles } from "../../src/groups/groups.ts";
import { useBroker } from "../helpers/broker.ts";
import { type GroupsInstance, useGroups, userIds } from "../helpers/groups.ts";

const server = useBroker({ syncInterval: "2m" });
const openInstance = useGroups(server);
let groups: GroupsInstance;
beforeAll(async () => {
  groups = await openInstance();
});

let made = 0;
const newGroupId = () => `group ${++made}`;

describe("the members at a version", () => {
  test("are those of that time, also after some left and came back", async () => {
    const groupId = newGroupId();
    await groups.open(groupId, ["ann"]);
    await groups.add(groupId, ["ben"], roles.admin);
    await groups.remove(groupId, ["ann", "ben"]);
    await groups.add(groupId, ["ann", "cyd"], roles.member);
    await groups.remove(groupId, ["ann"]);
    await groups.add(groupId, ["ben"], roles.member);
    const expected = [
      [],
      ["ann", "owner"],
      ["ann", "ben", "owner"],
      ["owner"],
      ["ann", "cyd", "owner"],
      ["cyd", "owner"],
      ["ben", "cyd", "owner"],
    ];
    // One who reads all of it at once, one who has followed it, and one who is asked for the newest first.
    const orders = [
      [1, 2, 3, 4, 5, 6],
      [6, 5, 4, 3, 2, 1],
      [6, 1, 6, 3, 3, 0],
    ];
    for (const versions of orders) {
      const reader = await openInstance();
      for (const version of versions) {
        expect(await reader.memberIds(groupId, version)).toEqual(expected[version]);
      }
    }
    const [ben] = (await groups.membersAt(groupId, 2)).filter(({ userId }) => userId === "ben");
    expect(ben).toMatchObject({ role: roles.admin });
    const [again] = (await groups.membersAt(groupId, 6)).filter(({ userId }) => userId === "ben");
    expect(again).toMatchObject({ role: roles.member });
  });

  test("are in the same order for everybody, at any time", async () => {
    const groupId = newGroupId();
    const { version } = await groups.open(groupId, userIds(300));
    const order = (await groups.membersAt(groupId, version)).map(({ userId }) => userId);
    await groups.remove(groupId, userIds(100));
    await groups.add(groupId, userIds(100, "new"), roles.member);
    for (const reader of [groups, await openInstance()]) {
      expect((await reader.membersAt(groupId, version)).map(({ userId }) => userId)).toEqual(order);
    }
  });

  test("are 100,000 after one call that added them, and can be counted, listed and removed", async () => {
    const groupId = newGroupId();
    const members = userIds(100_000);
    await groups.open(groupId);
    await groups.add(groupId, members, roles.member);
    const group = await groups.find(groupId);
    expect(group?.memberCount).toBe(100_001);
    const reader = await openInstance();
    const found = await reader.membersAt(groupId, group?.version ?? 0);
    expect(new Set(found.map(({ userId }) => userId))).toEqual(new Set(["owner", ...members]));
    expect(found).toHaveLength(100_001);
    expect(reader.reads.length).toBeLessThan(10);
    const told = groups.changes.filter((change) => change.groupId === groupId && change.joined);
    expect(new Set(told.flatMap((change) => change.userIds))).toEqual(new Set(["owner", ...members]));
    expect(Math.max(...told.map((change) => change.userIds.length))).toBeLessThanOrEqual(1_000);
    expect((await groups.joined("user99999")).map((one) => one.groupId)).toEqual([groupId]);

    await groups.remove(groupId, [...members.slice(0, 10), ...members.slice(-10)]);
    expect(await groups.find(groupId)).toMatchObject({ memberCount: 99_981 });
    expect(await reader.memberIds(groupId)).toHaveLength(99_981);
    expect(await reader.memberIds(groupId, group?.version)).toHaveLength(100_001);
  });
});

describe("a group that was read before", () => {
  /** An instance that counts the records it gets. */
  const openCounting = async (maxCachedMembers?: number) => {
    const received: number[] = [];
    const reader = await openInstance({
      ...(maxCachedMembers === undefined ? {} : { maxCachedMembers }),
      wrapGet: (get) =>
        intercept(get, (response) => {
          received.push(response?.messages.length ?? -1);
          return response;
        }),
    });
    return { reader, received };
  };

  test("is not read again while its version is the same, and then only what changed is", async () => {
    const groupId = newGroupId();
    await groups.open(groupId, userIds(400));
    const { reader, received } = await openCounting();
    const all = await Promise.all(Array.from({ length: 20 }, () => reader.membersAt(groupId, 1)));
    expect(received).toHaveLength(1);
    expect(received[0]).toBeGreaterThan(200);
    expect(new Set(all).size).toBe(1);
    await groups.add(groupId, ["new"], roles.member);
    await groups.remove(groupId, ["user7"]);
    expect(await reader.memberIds(groupId, 3)).toHaveLength(401);
    expect(await reader.memberIds(groupId, 2)).toHaveLength(402);
    expect(await reader.memberIds(groupId, 1)).toEqual([...userIds(400), "owner"].sort());
    expect(received).toHaveLength(2);
    expect(received[1]).toBeLessThanOrEqual(3);
  });

  test("is read again when others took its place in memory", async () => {
    const groupIds = [newGroupId(), newGroupId(), newGroupId()];
    for (const groupId of groupIds) await groups.open(groupId, userIds(100));
    const { reader, received } = await openCounting(250);
    const [first = "", second = "", third = ""] = groupIds;
    for (const groupId of [first, second, first, third, first]) {
      expect(await reader.memberIds(groupId, 1)).toHaveLength(101);
    }
    expect(received).toHaveLength(3);
    expect(await reader.memberIds(second, 1)).toHaveLength(101);
    expect(received).toHaveLength(4);
  });

  test("may be larger than what is kept in memory", async () => {
    const groupId = newGroupId();
    await groups.open(groupId, userIds(100));
    const { reader, received } = await openCounting(50);
    for (let repeat = 1; repeat <= 2; repeat++) {
      expect(await reader.memberIds(groupId, 1)).toHaveLength(101);
      expect(received).toHaveLength(repeat);
    }
  });
});

describe("a copy of the stream that is behind", () => {
  /** An instance that can be given the answer to an earlier read once more. */
  const openLate = async () => {
    let last: Page | undefined;
    let stale: Page | undefined;
    const late = await openInstance({
      wrapGet: (get) =>
        intercept(get, (response) => {
          const answer = stale ?? response;
          stale = undefined;
          last = response;
          return answer;
        }),
    });
    const repeatLast = () => {
      stale = last;
    };
    return { late, repeatLast, isRepeated: () => stale === undefined };
  };

  test("does not make a user a member of whom another instance removed", async () => {
    const groupId = newGroupId();
    await groups.open(groupId, ["ann"]);
    const { late, repeatLast, isRepeated } = await openLate();
    await late.add(groupId, ["ann"], roles.member);
    repeatLast();
    await groups.remove(groupId, ["ann"]);
    await late.add(groupId, ["ann"], roles.member);
    expect(isRepeated()).toBe(true);
    expect(await groups.memberIds(groupId)).toEqual(["ann", "owner"]);
    expect(await groups.find(groupId)).toMatchObject({ memberCount: 2, version: 3 });
  });

  test("does not hide a new member from a send", async () => {
    const groupId = newGroupId();
    await groups.open(groupId, ["ann"]);
    const { late, repeatLast, isRepeated } = await openLate();
    await late.add(groupId, ["ann"], roles.member);
    repeatLast();
    await groups.add(groupId, ["ben"], roles.member);
    expect(await late.memberIds(groupId)).toEqual(["ann", "ben", "owner"]);
    expect(isRepeated()).toBe(true);
  });

  test("does not make a new group unknown", async () => {
    const groupId = newGroupId();
    const { late, repeatLast, isRepeated } = await openLate();
    await late.joined("nobody");
    repeatLast();
    await groups.open(groupId, ["ann"]);
    await late.remove(groupId, ["ann"]);
    expect(isRepeated()).toBe(true);
    expect(await groups.memberIds(groupId)).toEqual(["owner"]);
  });
});

test("who left longer ago than the history is forgotten, and nobody else", async () => {
  const forgetful = await openInstance({ historyMs: 1 });
  const groupId = newGroupId();
  await forgetful.open(groupId, ["ann", "ben"]);
  await forgetful.remove(groupId, ["ann"]);
  const count = async (filter: string) => {
    const { state } = await groups.broker.jsm.streams.info("GROUPS", { subjects_filter: filter });
    return Object.keys(state.subjects ?? {}).length;
  };
  const group = toToken(groupId);
  await vi.waitFor(async () => {
    expect(await count(`group.${group}.members.*`)).toBe(2);
    expect(await count(`joined.*.${group}`)).toBe(2);
  });
  expect(await groups.memberIds(groupId)).toEqual(["ben", "owner"]);
  expect(await groups.find(groupId)).toMatchObject({ memberCount: 2, version: 2 });
  await forgetful.add(groupId, ["ann"], roles.member);
  expect(await groups.memberIds(groupId)).toEqual(["ann", "ben", "owner"]);
  expect(await groups.joinedIds("ann")).toContain(groupId);
});

function intercept(get: DirectGet, onPage: (page: Page | undefined) => Page | undefined): DirectGet {
  return readsOver(async (...request) => onPage(await get.ask(...request)), get.close);
}

describe("how users stand to a group", () => {
  test("is read of some, or of those of whom something has changed since", async () => {
    const groupId = newGroupId();
    const opened = await groups.open(groupId, ["ann", "ben"]);
    const first = await groups.standing(groupId, { minVersion: 1, userIds: ["ann", "ben", "eve"] });
    expect(first).toMatchObject({ version: opened.version });
    expect(["ann", "ben", "eve"].map((userId) => first.since.get(userId))).toEqual([1, 1, undefined]);
    await groups.remove(groupId, ["ann"]);
    await groups.add(groupId, ["ann", "cyd"], roles.member);
    await groups.remove(groupId, ["cyd"]);
    const changed = await groups.standing(groupId, { minVersion: 4, after: first.sequence });
    expect(changed.version).toBe(4);
    expect([...changed.since].filter(([userId]) => ["ann", "ben", "cyd"].includes(userId)).sort()).toEqual([
      ["ann", 3],
      ["cyd", undefined],
    ]);
  });

  test("fails in time for a version that there is not", async () => {
    const hasty = await openInstance({ timeoutMs: 200 });
    const groupId = newGroupId();
    await groups.open(groupId, ["ann"]);
    const reading = hasty.standing(groupId, { minVersion: 9, userIds: ["ann"] });
    expect(await reading.catch(toErrorFacts)).toMatchObject({ errCode: 90004 });
  });
});
