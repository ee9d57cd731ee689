import { beforeAll, describe, expect, test, vi } from "vitest";
import { toToken } from "../../src/broker/subjects.ts";
import { toErrorFacts } from "../../src/errors.ts";
import { roles } from "../../src/groups/groups.ts";
import { groupInfoSubject, joinedSubject } from "../../src/groups/layout.ts";
import { encodeGroup, type GroupRecord, noProfile } from "../../src/groups/records.ts";
import { startBroker, useBroker } from "../helpers/broker.ts";
import { type GroupsInstance, useGroups, userIds } from "../helpers/groups.ts";

// What is synced is tested with the crashes; here it would only be slow.
const server = useBroker({ syncInterval: "2m" });
const openInstance = useGroups(server);
let here: GroupsInstance;
let there: GroupsInstance;
beforeAll(async () => {
  here = await openInstance();
  there = await openInstance();
});

let made = 0;
const newId = (kind: string) => `${kind} ${++made}`;
const refusal = (call: Promise<unknown>) =>
  call.then(
    () => "nothing was refused",
    (error: unknown) => toErrorFacts(error).errCode,
  );

describe("a group that is created", () => {
  test("is known to every instance, with its owner and members", async () => {
    const groupId = newId("group");
    const before = Date.now();
    const created = await here.create({
      groupId,
      groupName: "Orders",
      ex: '{"a":1}',
      ownerUserId: "zoe",
      creatorUserId: "imAdmin",
      members: [
        { userId: "adam", role: roles.admin },
        { userId: "bob", role: roles.member },
      ],
    });
    expect(created).toEqual({
      ...noProfile,
      groupId,
      groupName: "Orders",
      ex: '{"a":1}',
      ownerUserId: "zoe",
      creatorUserId: "imAdmin",
      createTime: expect.any(Number),
      memberCount: 3,
      status: "active",
      version: 1,
    });
    expect(created?.createTime).toBeGreaterThanOrEqual(before);
    expect(await there.find(groupId)).toEqual(created);
    const members = await there.membersAt(groupId, 1);
    expect(Object.fromEntries(members.map(({ userId, role }) => [userId, role]))).toEqual({
      zoe: 100,
      adam: 60,
      bob: 20,
    });
    expect(new Set(members.map(({ joinTime }) => joinTime))).toEqual(new Set([created?.createTime]));
    for (const userId of ["zoe", "adam", "bob"]) {
      expect((await there.joined(userId)).find((group) => group.groupId === groupId)).toEqual(created);
    }
  });

  test("is refused when the id is taken, and changes nothing", async () => {
    const groupId = newId("group");
    const first = await here.open(groupId, ["adam"]);
    const again = { ...first, members: [{ userId: "eve", role: roles.member }] };
    expect(await there.create(again)).toBeUndefined();
    expect(await here.find(groupId)).toEqual(first);
    expect(await here.memberIds(groupId)).toEqual(["adam", "owner"]);
    expect(await here.joinedIds("eve")).toEqual([]);
    await here.dismiss(groupId, { deleteMembers: false });
    expect(await here.create(again)).toBeUndefined();
  });

  test("by many at the same moment is one of theirs", async () => {
    const groupId = newId("group");
    const created = await Promise.all(
      userIds(12).map((userId, n) =>
        (n % 2 === 0 ? here : there).create({
          groupId,
          groupName: userId,
          ex: "",
          ownerUserId: `${groupId} ${userId}`,
          creatorUserId: "imAdmin",
          members: [],
        }),
      ),
    );
    const [winner, ...more] = created.filter((group) => group !== undefined);
    expect(more).toEqual([]);
    expect(await here.find(groupId)).toEqual(winner);
    for (const userId of userIds(12).map((name) => `${groupId} ${name}`)) {
      expect(await here.joinedIds(userId)).toEqual(userId === winner?.ownerUserId ? [groupId] : []);
    }
  });

  test("may have more members than one write holds", async () => {
    const groupId = newId("group");
    const members = userIds(2_500);
    const { memberCount, version } = await here.open(groupId, members);
    expect(memberCount).toBe(2_501);
    expect(version).toBeGreaterThan(2);
    expect(await there.find(groupId)).toMatchObject({ memberCount, version });
    expect(await there.memberIds(groupId)).toEqual(["owner", ...members].sort());
    expect((await there.membersAt(groupId, 1)).length).toBeGreaterThanOrEqual(499);
    expect((await there.memberIds(groupId, 1)).includes("owner")).toBe(true);
    const told = here.changes.filter((change) => change.groupId === groupId);
    expect(told.flatMap((change) => change.userIds).sort()).toEqual(["owner", ...members].sort());
  });
});

describe("membership", () => {
  test("is the same on both sides after users were added and removed", async () => {
    const groupId = newId("group");
    await here.open(groupId, ["ann"]);
    await here.add(groupId, ["ben", "cyd"], roles.member);
    await there.remove(groupId, ["ann"]);
    expect(await here.memberIds(groupId)).toEqual(["ben", "cyd", "owner"]);
    expect(await here.find(groupId)).toMatchObject({ memberCount: 3, version: 3 });
    expect(await here.joinedIds("ann")).not.toContain(groupId);
    expect(await here.joinedIds("ben")).toContain(groupId);
  });

  test("is not changed by adding members or removing others, and neither is the version", async () => {
    const groupId = newId("group");
    const created = await here.open(groupId, ["ann"]);
    const [joined] = (await here.membersAt(groupId, 1)).filter(({ userId }) => userId === "ann");
    await there.add(groupId, ["ann", "owner", "ann"], roles.admin);
    await there.remove(groupId, ["stranger", "stranger"]);
    expect(await here.find(groupId)).toEqual(created);
    await there.add(groupId, ["ann", "ben"], roles.admin);
    expect(await here.find(groupId)).toMatchObject({ memberCount: 3, version: 2 });
    expect((await here.membersAt(groupId, 2)).filter(({ userId }) => userId === "ann")).toEqual([joined]);
  });

  test("is told with its version after it is stored, also to who repeats a change", async () => {
    const groupId = newId("group");
    const seen: (number | undefined)[] = [];
    const teller = await openInstance({
      onMembershipChange: ({ version }) =>
        void here.find(groupId).then((group) => seen.push(version - (group?.version ?? 0))),
    });
    await teller.open(groupId);
    for (let repeat = 0; repeat < 2; repeat++) await teller.add(groupId, ["ann", "ben"], roles.member);
    for (let repeat = 0; repeat < 2; repeat++) await teller.remove(groupId, ["ann"]);
    const told = (version: number, joined: boolean, ...userIds: string[]) => ({
      groupId,
      version,
      joined,
      userIds: expect.toSatisfy((found: string[]) => found.toSorted().join() === userIds.join()),
    });
    expect(teller.changes).toEqual([
      told(1, true, "owner"),
      told(2, true, "ann", "ben"),
      told(2, true, "ann", "ben"),
      told(3, false, "ann"),
      told(3, false, "ann"),
    ]);
    await vi.waitFor(() => expect(seen).toHaveLength(5));
    expect(Math.max(...seen.map(Number))).toBeLessThanOrEqual(0);
  });

  test("of the owner and another member change places, also when both instances do it at once", async () => {
    const groupId = newId("group");
    const { version, createTime } = await here.open(groupId, ["ann", "ben"]);
    const owners = { from: "owner", to: "ann" };
    await Promise.all([
      here.transfer(groupId, owners),
      there.transfer(groupId, owners),
      here.transfer(groupId, owners),
    ]);
    const group = await there.find(groupId);
    expect(group).toMatchObject({ ownerUserId: "ann", memberCount: 3, version: version + 1 });
    const rolesAt = async (at: number) =>
      Object.fromEntries((await there.membersAt(groupId, at)).map(({ userId, role }) => [userId, role]));
    expect(await rolesAt(version)).toEqual({ owner: 100, ann: 20, ben: 20 });
    expect(await rolesAt(version + 1)).toEqual({ owner: 20, ann: 100, ben: 20 });
    const joinTimes = (await there.membersAt(groupId, version + 1)).map(({ joinTime }) => joinTime);
    expect(joinTimes).toEqual([createTime, createTime, createTime]);
    for (const userId of ["owner", "ann"]) expect(await there.joinedIds(userId)).toContain(groupId);

    expect(await refusal(here.transfer(groupId, { from: "owner", to: "ben" }))).toBe(1001);
    expect(await refusal(here.transfer(groupId, { from: "ann", to: "eve" }))).toBe(1001);
    expect(await refusal(here.transfer(newId("group"), owners))).toBe(1004);
    await here.remove(groupId, ["owner"]);
    expect(await here.memberIds(groupId)).toEqual(["ann", "ben"]);
  });

  test("of the owner cannot be ended", async () => {
    const groupId = newId("group");
    const created = await here.open(groupId, ["ann"]);
    expect(await refusal(here.remove(groupId, ["ann", "owner"]))).toBe(1001);
    expect(await here.find(groupId)).toEqual(created);
  });

  test("in 1,100 groups is listed whole", async () => {
    const userId = newId("user");
    const groupIds = userIds(1_100, newId("group"));
    const one = await here.open(groupIds[0] ?? "", [userId]);
    // The other groups are stored directly, since the broker syncs each batch.
    const [user, own] = [toToken(userId), toToken(one.groupId)];
    const joined = await here.broker.jsm.streams.getMessage("GROUPS", { last_by_subj: joinedSubject(user, own) });
    expect(joined?.string()).toBe(one.groupId);
    for (const [index, groupId] of groupIds.slice(1).entries()) {
      const group: GroupRecord = { ...one, groupId, changeId: "", status: index < 100 ? "dismissed" : "active" };
      here.broker.nc.publish(joinedSubject(user, toToken(groupId)), groupId);
      here.broker.nc.publish(groupInfoSubject(toToken(groupId)), encodeGroup(group));
    }
    await here.broker.js.publish(groupInfoSubject(toToken(newId("last"))), encodeGroup({ ...one, changeId: "" }));
    const expected = [one.groupId, ...groupIds.slice(101)].sort();
    expect(await there.joinedIds(userId)).toEqual(expected);
    await there.remove(one.groupId, [userId]);
    expect(await here.joinedIds(userId)).toEqual(expected.slice(1));
  });

  test("of a user in no group is empty", async () => {
    expect(await here.joined(newId("user"))).toEqual([]);
  });
});

describe("a group that is dismissed", () => {
  test.each([false, true])("ends for everybody (deleteMembers: %s)", async (deleteMembers) => {
    const groupId = newId("group");
    const members = [...userIds(1_200, groupId), "owner"].sort();
    const { version } = await here.open(groupId, userIds(1_200, groupId));
    here.changes.length = 0;
    await here.dismiss(groupId, { deleteMembers });
    expect(await there.find(groupId)).toMatchObject({ status: "dismissed", memberCount: deleteMembers ? 0 : 1_201 });
    expect(await there.joinedIds(`${groupId}7`)).toEqual([]);
    expect(await there.memberIds(groupId)).toEqual(deleteMembers ? [] : members);
    // What was sent before still reaches those who were members.
    expect(await there.memberIds(groupId, version)).toEqual(members);
    expect(here.changes.flatMap(({ userIds }) => userIds).sort()).toEqual(members);
    for (const change of here.changes) {
      expect(change).toMatchObject({ groupId, joined: false });
      expect(change.version).toBeGreaterThan(version);
      expect(change.userIds.length).toBeLessThanOrEqual(1_000);
    }
  });

  test("is not changed any more", async () => {
    const groupId = newId("group");
    await here.open(groupId, ["ann"]);
    await here.dismiss(groupId, { deleteMembers: false });
    const dismissed = await here.find(groupId);
    expect(await refusal(there.add(groupId, ["ben"], roles.member))).toBe(1204);
    expect(await refusal(there.add(groupId, ["ann"], roles.member))).toBe(1204);
    expect(await refusal(there.remove(groupId, ["ann"]))).toBe(1204);
    expect(await refusal(there.dismiss(groupId, { deleteMembers: true }))).toBe(1204);
    expect(await here.find(groupId)).toEqual(dismissed);
  });
});

test("an unknown group is 1004, and is not made by asking", async () => {
  const groupId = newId("group");
  expect(await here.find(groupId)).toBeUndefined();
  expect(await refusal(here.add(groupId, ["ann"], roles.member))).toBe(1004);
  expect(await refusal(here.remove(groupId, ["ann"]))).toBe(1004);
  expect(await refusal(here.dismiss(groupId, { deleteMembers: true }))).toBe(1004);
  expect(await here.find(groupId)).toBeUndefined();
  expect(await here.joinedIds("ann")).not.toContain(groupId);
});

const strangeIds = [
  "*",
  ">",
  "a.b",
  "日本",
  "with space",
  'quote"\\',
  "A",
  "a",
  "x".repeat(300),
  `${"x".repeat(299)}y`,
];

test.each(strangeIds.map((id) => [id.slice(-12), id]))(
  "as a group and as a user, …%s is nobody else",
  async (_, id) => {
    const others = strangeIds.filter((other) => other !== id);
    const groupId = `${id}${"!".repeat(made)}`;
    await here.open(groupId, [id]);
    expect(await there.find(groupId)).toMatchObject({ groupId });
    expect(await there.memberIds(groupId)).toEqual([id, "owner"].sort());
    expect(await there.joinedIds(id)).toContain(groupId);
    await here.add(groupId, others, roles.member);
    expect(await there.memberIds(groupId)).toEqual([...strangeIds, "owner"].sort());
    await here.remove(groupId, [id]);
    expect(await there.memberIds(groupId)).toEqual([...others, "owner"].sort());
    expect(await there.joinedIds(id)).not.toContain(groupId);
    for (const other of others) expect(await there.joinedIds(other)).toContain(groupId);
    await here.dismiss(groupId, { deleteMembers: true });
  },
);

describe("with a broker of its own", () => {
  test("without a broker everything is 90004", async () => {
    const own = await startBroker();
    try {
      const instance = await useOnce(own, { timeoutMs: 300 });
      await instance.open("group");
      const down = new Promise<void>((resolve) => {
        void (async () => {
          for await (const { type } of instance.broker.nc.status()) if (type === "disconnect") resolve();
        })();
      });
      await own.stop();
      await down;
      for (const call of [
        () => instance.find("group"),
        () => instance.membersAt("group", 1),
        () => instance.joined("owner"),
        () => instance.open("other"),
        () => instance.add("group", ["ann"], roles.member),
        () => instance.remove("group", ["ann"]),
        () => instance.dismiss("group", { deleteMembers: false }),
      ]) {
        expect(await refusal(call())).toBe(90004);
      }
      await instance.broker.close();
    } finally {
      await own.remove();
    }
  });

  test("what a stream of an earlier version lacks is added to it", async () => {
    const own = await startBroker();
    try {
      const instance = await useOnce(own);
      const { jsm } = instance.broker;
      await jsm.streams.delete("GROUPS");
      await jsm.streams.add({ name: "GROUPS", subjects: ["group.*.info"], max_msgs_per_subject: 1 });
      const again = await useOnce(own);
      await again.open("group", ["ann"]);
      expect(await again.memberIds("group")).toEqual(["ann", "owner"]);
      const { config } = await jsm.streams.info("GROUPS");
      expect(config).toMatchObject({ allow_atomic: true, allow_direct: true, allow_msg_ttl: true, num_replicas: 1 });
      expect(config).toMatchObject({ storage: "file", max_age: 0, discard: "old", max_msgs_per_subject: 1 });
      await again.broker.close();
      await instance.broker.close();
    } finally {
      await own.remove();
    }
  });

  const useOnce = (own: typeof server, options = {}) => useGroups(own)(options);
});
