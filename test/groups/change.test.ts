import { TimeoutError } from "@nats-io/transport-node";
import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import type { Ask } from "../../src/broker/ask.ts";
import type { Broker } from "../../src/broker/connect.ts";
import { createDirectGet } from "../../src/broker/reads/create-direct-get.ts";
import { readsOver } from "../../src/broker/reads/direct-get.ts";
import { toToken } from "../../src/broker/subjects.ts";
import { toErrorFacts } from "../../src/errors.ts";
import { roles } from "../../src/groups/groups.ts";
import { groupFilter, groupsStream } from "../../src/groups/layout.ts";
import { startBroker, type TestBroker, useBroker } from "../helpers/broker.ts";
import { fuzz } from "../helpers/fuzz.ts";
import { type GroupsInstance, useGroups, userIds } from "../helpers/groups.ts";

const server = useBroker({ syncInterval: "2m" });
const openInstance = useGroups(server);
let instances: readonly [GroupsInstance, GroupsInstance];
beforeAll(async () => {
  instances = [await openInstance(), await openInstance()];
});

let made = 0;
const newGroupId = () => `group ${++made}`;

/** What the records of a group must agree on, whatever happened. Resolves to its members. */
async function requireConsistent(groups: GroupsInstance, groupId: string): Promise<string[]> {
  const group = await groups.find(groupId);
  const members = await groups.memberIds(groupId);
  expect(new Set(members).size).toBe(members.length);
  expect(group?.memberCount).toBe(members.length);
  const get = createDirectGet(groups.broker, { timeoutMs: 20_000 });
  const records = await get.under(groupsStream, `joined.*.${toToken(groupId)}`);
  get.close();
  const joined = records
    .filter(({ payload }) => Buffer.from(payload).toString() === groupId)
    .map(({ subject }) => subject.split(".")[1]);
  expect(joined.sort()).toEqual(members.map(toToken).sort());
  return members;
}

describe("changes at the same moment", () => {
  test("are all counted: 20 that add and 10 that remove, on two instances", async () => {
    const groupId = newGroupId();
    const [here, there] = instances;
    await here.open(groupId, userIds(300, "old"));
    await Promise.all([
      ...Array.from({ length: 20 }, (_, n) =>
        (instances[n % 2] ?? here).add(groupId, userIds(30, `new ${n} `), roles.member),
      ),
      ...Array.from({ length: 10 }, (_, n) =>
        (instances[n % 2] ?? here).remove(groupId, userIds(300, "old").slice(n * 20, n * 20 + 20)),
      ),
    ]);
    const expected = [
      "owner",
      ...userIds(300, "old").slice(200),
      ...Array.from({ length: 20 }, (_, n) => userIds(30, `new ${n} `)).flat(),
    ];
    expect(await requireConsistent(there, groupId)).toEqual(expected.sort());
    expect(await there.find(groupId)).toMatchObject({ version: 31 });
  });

  test("of the same users leave them as the change with the highest version says", async () => {
    const users = userIds(12);
    const change = fc.record({
      instance: fc.constantFrom(0, 1),
      joined: fc.boolean(),
      userIds: fc.uniqueArray(fc.constantFrom(...users), { minLength: 1 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 10, maxLength: 25 }), async (changes) => {
        const groupId = newGroupId();
        const [here] = instances;
        for (const { changes: told } of instances) told.length = 0;
        await here.open(groupId, users.slice(0, 4));
        await Promise.all(
          changes.map(({ instance, joined, userIds }) => {
            const groups = instances[instance] ?? here;
            return joined ? groups.add(groupId, userIds, roles.member) : groups.remove(groupId, userIds);
          }),
        );
        await requireConsistent(here, groupId);
        const told = instances.flatMap((groups) => groups.changes);
        expect(told).toHaveLength(changes.length + 1);
        const [, reader] = instances;
        for (const { version, joined, userIds } of told) {
          const members = new Set(await reader.memberIds(groupId, version));
          expect(userIds.map((userId) => members.has(userId))).toEqual(userIds.map(() => joined));
        }
      }),
      { ...fuzz(8), endOnFailure: true },
    );
  });
});

test("any sequence of changes agrees with a set, at every version and on both sides", async () => {
  const users = ["a", "B", "日本", "x".repeat(300), "*", ...userIds(5)];
  const change = fc.record({
    instance: fc.constantFrom(0, 1),
    joined: fc.boolean(),
    userIds: fc.uniqueArray(fc.constantFrom(...users), { minLength: 1, maxLength: 6 }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(change, { minLength: 5, maxLength: 15 }), async (changes) => {
      const groupId = newGroupId();
      const [here, there] = instances;
      const members = new Set(["owner"]);
      const history = [[...members]];
      await here.open(groupId);
      for (const { instance, joined, userIds } of changes) {
        const groups = instances[instance] ?? here;
        const before = members.size;
        for (const userId of userIds) {
          if (joined) members.add(userId);
          else members.delete(userId);
        }
        if (members.size !== before) history.push([...members].sort());
        await (joined ? groups.add(groupId, userIds, roles.member) : groups.remove(groupId, userIds));
        expect(await there.find(groupId)).toMatchObject({ memberCount: members.size, version: history.length });
      }
      expect(await requireConsistent(there, groupId)).toEqual(history.at(-1));
      for (const [index, expected] of history.entries()) {
        expect(await here.memberIds(groupId, index + 1)).toEqual(expected);
      }
      for (const userId of users) {
        expect((await here.joinedIds(userId)).includes(groupId)).toBe(members.has(userId));
      }
    }),
    { ...fuzz(10), endOnFailure: true },
  );
});

test.each(["add", "remove"] as const)("a dismissal that comes between finding the group and %s wins", async (verb) => {
  const groupId = newGroupId();
  const [here] = instances;
  let dismissed: Promise<void> | undefined;
  const late = await openInstance({
    wrapGet: (get) =>
      readsOver(async (...request) => {
        dismissed ??= here.dismiss(groupId, { deleteMembers: false });
        await dismissed;
        return get.ask(...request);
      }, get.close),
  });
  await here.open(groupId, ["ann"]);
  const change = verb === "add" ? late.add(groupId, ["ben"], roles.member) : late.remove(groupId, ["ann"]);
  const thrown = await change.catch((error: unknown) => error);
  expect(toErrorFacts(thrown)).toMatchObject({ errCode: 1204 });
  expect(await here.memberIds(groupId)).toEqual(["ann", "owner"]);
  expect(await here.find(groupId)).toMatchObject({ status: "dismissed", version: 2, memberCount: 2 });
  expect(late.changes).toEqual([]);
});

describe("a change that ends in the middle", () => {
  test("is there in whole parts, and is completed by the same call again", async () => {
    const groupId = newGroupId();
    let parts = 0;
    const dying = await openInstance({
      onMembershipChange({ joined }) {
        if (joined && ++parts === 3) throw new Error("the process ends here");
      },
    });
    await dying.open(groupId);
    const members = userIds(4_000);
    await expect(dying.add(groupId, members, roles.member)).rejects.toThrow("the process ends here");
    const found = await requireConsistent(dying, groupId);
    expect(await dying.find(groupId)).toMatchObject({ version: 3 });
    expect(found.length).toBeGreaterThan(1_000);
    expect(found.length).toBeLessThan(4_001);
    const [here] = instances;
    here.changes.length = 0;
    await here.add(groupId, members, roles.member);
    expect(await here.memberIds(groupId)).toEqual(["owner", ...members].sort());
    expect(await here.find(groupId)).toMatchObject({ memberCount: 4_001 });
    // Also of those who were members already: the process that ended may not have told them.
    expect(here.changes.flatMap((change) => change.userIds).sort()).toEqual(members.toSorted());
  });

  test("within a part is not there at all", async () => {
    const groupId = newGroupId();
    const cut = await openInstance({
      timeoutMs: 400,
      wrapBroker: (broker) => withRequests(broker, async () => Promise.reject(new TimeoutError())),
    });
    const [here] = instances;
    const created = await here.open(groupId, ["ann"]);
    const thrown = await cut.add(groupId, ["ben", "cyd"], roles.member).catch((error: unknown) => error);
    expect(toErrorFacts(thrown)).toMatchObject({ errCode: 90004 });
    expect(await here.find(groupId)).toEqual(created);
    expect(await requireConsistent(here, groupId)).toEqual(["ann", "owner"]);
    expect(await here.joinedIds("ben")).not.toContain(groupId);
  });
});

test("a change that was stored but not acknowledged counts once, and succeeds", async () => {
  let lost = 0;
  const unlucky = await openInstance({
    // The first answer to each kind of change is lost on its way.
    wrapBroker: (broker) =>
      withRequests(broker, async (request) => {
        const answer = await request();
        if (lost++ % 2 === 0) throw new TimeoutError();
        return answer;
      }),
  });
  const groupId = newGroupId();
  const group = { groupId, groupName: "", ex: "", ownerUserId: "owner", creatorUserId: "imAdmin", members: [] };
  const [here] = instances;
  lost = 0;
  expect(await unlucky.create(group)).toMatchObject({ version: 1, memberCount: 1 });
  lost = 0;
  await unlucky.add(groupId, ["ann", "ben"], roles.member);
  lost = 0;
  await unlucky.remove(groupId, ["ann"]);
  expect(await here.find(groupId)).toMatchObject({ version: 3, memberCount: 2 });
  expect(await requireConsistent(here, groupId)).toEqual(["ben", "owner"]);
  lost = 0;
  await unlucky.dismiss(groupId, { deleteMembers: true });
  expect(await here.find(groupId)).toMatchObject({ status: "dismissed", memberCount: 0 });
});

test("changes survive a broker that is killed under them, whole", async () => {
  const own = await startBroker();
  try {
    const groups = await useGroupsOf(own);
    const groupId = newGroupId();
    await groups.open(groupId);
    const members = userIds(12_000);
    const adding = groups.add(groupId, members, roles.member);
    let kills = 0;
    for (const stored of [2_000, 6_000]) {
      while (groups.changes.flatMap(({ userIds }) => userIds).length < stored) await new Promise(setImmediate);
      const back = new Promise<void>((resolve) => groups.broker.onReconnect(resolve));
      process.kill(own.pid(), "SIGKILL");
      kills++;
      await back;
    }
    await adding;
    expect(kills).toBe(2);
    expect(await requireConsistent(groups, groupId)).toEqual(["owner", ...members].sort());
    // Every version is whole: it has as many members as were told to have come until then.
    let count = 0;
    for (const { version, userIds } of groups.changes) {
      count += userIds.length;
      expect(await groups.membersAt(groupId, version)).toHaveLength(count);
    }
    await groups.broker.close();
  } finally {
    await own.remove();
  }
});

test("a change costs one read and one batch, whose records are few", async () => {
  const groupId = newGroupId();
  const groups = await openInstance();
  await groups.open(groupId, userIds(5_000));
  const [{ reads }, { jsm }] = [groups, groups.broker];
  reads.length = 0;
  const before = (await jsm.streams.info("GROUPS")).state.last_seq;
  await groups.add(groupId, ["one more"], roles.member);
  expect(reads).toHaveLength(1);
  expect((await jsm.streams.info("GROUPS")).state.last_seq - before).toBe(3);
  const { state } = await jsm.streams.info("GROUPS", { subjects_filter: groupFilter(toToken(groupId)) });
  expect(Object.keys(state.subjects ?? {}).length).toBeLessThanOrEqual(1_001);
});

const useGroupsOf = (own: TestBroker) => useGroups(own)();

/** A connection on which `onRequest` decides what becomes of each request with an answer. */
function withRequests(broker: Broker, onRequest: (request: () => ReturnType<Ask>) => ReturnType<Ask>): Broker {
  return { ...broker, ask: (...question) => onRequest(() => broker.ask(...question)) };
}
