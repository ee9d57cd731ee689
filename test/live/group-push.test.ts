import { pino } from "pino";
import { expect, test, vi } from "vitest";
import type { Standing, StandingQuery } from "../../src/groups/reads.ts";
import { createGroupPush } from "../../src/live/group-push.ts";

/** A group as it is stored: from which version who is a member. */
type Stored = Readonly<Record<string, number>>;

/**
 * Groups whose pushes are told by hand, lists of a user's groups that are read whenever they are let, and what is stored of
 * members.
 */
function open(stored: { version: number; members: Stored } = { version: 1, members: {} }) {
  const listening = new Map<string, (notification: Uint8Array, version: number | undefined) => void>();
  const reads: ((groupIds: readonly string[]) => void)[] = [];
  const asked: StandingQuery[] = [];
  const answers: ((standing: Standing) => void)[] = [];
  const fails: ((error: Error) => void)[] = [];
  const push = createGroupPush({
    live: {
      subscribeGroup(groupId, onPush) {
        listening.set(groupId, onPush);
        return { stop: () => void listening.delete(groupId) };
      },
    },
    joined: () => new Promise((resolve) => reads.push(resolve)),
    readStanding(_, query) {
      asked.push(query);
      return new Promise((resolve, reject) => {
        answers.push(resolve);
        fails.push(reject);
      });
    },
    log: pino({ level: "silent" }),
  });
  const join = (userId: string) => {
    const got: string[] = [];
    const membership = push.join(userId, {
      push: ({ frame }) => void got.push(Buffer.from(frame).toString("latin1").slice(-1)),
    });
    /** Tells the user of something, as a push of its own is. */
    const tellAlone = (name: string) => {
      if (membership.isHolding()) membership.follow(() => got.push(name));
      else got.push(name);
    };
    return { ...{ membership, got, tellAlone }, signal: membership.change.bind(membership) };
  };
  return {
    ...{ reads, asked, join },
    listening: () => [...listening.keys()].sort(),
    tell: (name: string, version?: number) => listening.get("crew")?.(Buffer.from(name), version),
    /** What is stored is read, as it is now. */
    async answer() {
      const { version, members } = stored;
      const query = asked.shift();
      const users = query !== undefined && "userIds" in query ? query.userIds : ["ann", "ben", "cleo"];
      const since = new Map(users.map((userId) => [userId, members[userId]]));
      fails.shift();
      answers.shift()?.({ version, sequence: 10 * version, since });
      await new Promise((resolve) => setImmediate(resolve));
      return query;
    },
    async fail() {
      asked.shift();
      answers.shift();
      fails.shift()?.(new Error("the broker is away"));
      await new Promise((resolve) => setImmediate(resolve));
    },
    stored,
  };
}

test("two reads of a user's groups may end at the same moment", async () => {
  const { join, reads, listening } = open();
  const { membership } = join("ann");
  const both = Promise.all([membership.refresh(), membership.refresh()]);
  for (const read of reads) read(["crew"]);
  await both;
  expect(listening()).toEqual(["crew"]);
});

test("what changes while the groups are read is newer than what is read, for each who reads", async () => {
  const { join, reads, listening } = open();
  const { membership } = join("ann");
  const both = Promise.all([membership.refresh(), membership.refresh()]);
  membership.change({ groupId: "left", joined: false, version: 2 });
  membership.change({ groupId: "joined", joined: true, version: 1 });
  for (const read of reads) read(["left", "crew"]);
  await both;
  expect(listening()).toEqual(["crew", "joined"]);
  const later = membership.refresh();
  reads.at(-1)?.(["crew"]);
  await later;
  expect(listening()).toEqual(["crew"]);
});

/** Ann and Ben, whose groups have been read, and a push that was passed on to both. */
async function opened() {
  const group = open({ version: 3, members: { ann: 1, ben: 3 } });
  const [ann, ben] = [group.join("ann"), group.join("ben")];
  const refreshing = Promise.all([ann.membership.refresh(), ben.membership.refresh()]);
  for (const read of group.reads.splice(0)) read(["crew"]);
  await refreshing;
  group.tell("a", 3);
  expect(await group.answer()).toEqual({ minVersion: 3, userIds: ["ann", "ben"] });
  expect([ann.got, ben.got]).toEqual([["a"], ["a"]]);
  return { ...group, ann, ben };
}

test("of a version that is known, a push reaches at once, and nothing is read", async () => {
  const { ann, ben, asked, tell } = await opened();
  tell("b", 3);
  tell("c", 3);
  expect([ann.got, ben.got]).toEqual([
    ["a", "b", "c"],
    ["a", "b", "c"],
  ]);
  expect(asked).toEqual([]);
});

test("who has left gets nothing that was sent after it, also where nobody has told of it", async () => {
  const { ann, ben, asked, answer, tell, stored, listening } = await opened();
  Object.assign(stored, { version: 4, members: { ben: 3 } });
  tell("b", 4);
  // In their order: what is of an older version waits as well.
  tell("c", 3);
  expect(asked).toHaveLength(1);
  expect(await answer()).toEqual({ minVersion: 4, after: 30 });
  expect([ann.got, ben.got]).toEqual([["a"], ["a", "b", "c"]]);
  tell("d", 4);
  expect([ann.got, ben.got]).toEqual([["a"], ["a", "b", "c", "d"]]);
  expect(listening()).toEqual(["crew"]);
});

test("who has joined gets what was sent from then on, and only that", async () => {
  const { join, ann, answer, tell, stored } = await opened();
  Object.assign(stored, { version: 4, members: { ann: 1, ben: 3, cleo: 4 } });
  const cleo = join("cleo");
  cleo.signal({ groupId: "crew", joined: true, version: 4 });
  tell("b", 3);
  tell("c", 4);
  expect(await answer()).toEqual({ minVersion: 4, after: 30 });
  expect([ann.got, cleo.got]).toEqual([["a", "b", "c"], ["c"]]);
});

test("what waits keeps its place among the user's other pushes", async () => {
  const { ann, ben, answer, tell, stored } = await opened();
  Object.assign(stored, { version: 4, members: { ben: 3 } });
  tell("b", 4);
  for (const user of [ann, ben]) user.tellAlone("c");
  tell("d", 4);
  for (const user of [ann, ben]) user.tellAlone("e");
  expect([ann.got, ben.got]).toEqual([["a"], ["a"]]);
  await answer();
  for (const user of [ann, ben]) user.tellAlone("f");
  expect(ann.got).toEqual(["a", "c", "e", "f"]);
  expect(ben.got).toEqual(["a", "b", "c", "d", "e", "f"]);
});

test("at most 256 follow what waits: the oldest make room", async () => {
  const { ann, answer, tell, stored } = await opened();
  Object.assign(stored, { version: 4, members: {} });
  tell("b", 4);
  for (let i = 0; i < 257; i++) ann.tellAlone(i === 0 ? "c" : "d");
  await answer();
  expect(ann.got).toEqual(["a", ...Array(256).fill("d")]);
});

test("of who is said to have joined with a version that is known, it is looked up", async () => {
  const { join, answer, tell } = await opened();
  const cleo = join("cleo");
  // It has left again since, and that was told before.
  cleo.signal({ groupId: "crew", joined: true, version: 2 });
  tell("b", 3);
  expect(await answer()).toEqual({ minVersion: 3, userIds: ["cleo"] });
  expect(cleo.got).toEqual([]);
});

test("after the groups were read again, nothing of what was known holds", async () => {
  const { ann, ben, reads, answer, tell, stored } = await opened();
  // A backup was restored, in which Ben is none.
  Object.assign(stored, { version: 2, members: { ann: 1 } });
  const refreshing = Promise.all([ann.membership.refresh(), ben.membership.refresh()]);
  for (const read of reads.splice(0)) read(["crew"]);
  await refreshing;
  tell("b", 2);
  expect(await answer()).toEqual({ minVersion: 2, userIds: ["ann", "ben"] });
  expect([ann.got, ben.got]).toEqual([["a", "b"], ["a"]]);
});

test("news that come while it is read are newer", async () => {
  const { ann, join, answer, tell, stored } = await opened();
  Object.assign(stored, { version: 4, members: { ann: 1, ben: 3 } });
  tell("b", 4);
  const cleo = join("cleo");
  cleo.signal({ groupId: "crew", joined: true, version: 5 });
  ann.signal({ groupId: "crew", joined: false, version: 6 });
  await answer();
  Object.assign(stored, { version: 6, members: { ben: 3, cleo: 5 } });
  tell("c", 6);
  await answer();
  expect([ann.got, cleo.got]).toEqual([["a"], ["c"]]);
});

test("without a version, as from an instance of 0.1, a push reaches all who are taken for members", async () => {
  const { ann, ben, tell, asked } = await opened();
  tell("b");
  expect([ann.got, ben.got]).toEqual([
    ["a", "b"],
    ["a", "b"],
  ]);
  expect(asked).toEqual([]);
});

test("what waits for a read is lost when it fails, and what comes after it is not", async () => {
  const { ann, answer, fail, tell } = await opened();
  tell("b", 4);
  await fail();
  tell("c", 3);
  await vi.waitFor(() => expect(ann.got).toEqual(["a", "c"]));
  expect(await answer()).toBeUndefined();
});

test("at most 256 wait for a read: the oldest make room", async () => {
  const { ann, answer, tell, stored } = await opened();
  Object.assign(stored, { version: 4 });
  for (let i = 0; i < 257; i++) tell(i === 0 ? "b" : "c", 4);
  await answer();
  expect(ann.got).toEqual(["a", ...Array(256).fill("c")]);
});

test("at most 4 MiB wait for a read", async () => {
  const { ann, answer, tell, stored } = await opened();
  Object.assign(stored, { version: 4 });
  for (const name of ["b", "c", "d", "e", "f"]) tell("x".repeat(1_000_000) + name, 4);
  await answer();
  expect(ann.got).toEqual(["a", "c", "d", "e", "f"]);
});
