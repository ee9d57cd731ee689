import type { MessageInitShape } from "@bufbuild/protobuf";
import { type Client, ConnectError, createClient, createRouterTransport } from "@connectrpc/connect";
import { beforeAll, describe, expect, test } from "vitest";
import { callerKey } from "../../src/auth/caller.ts";
import { toErrorFacts } from "../../src/errors.ts";
import { type GroupInfoSchema, GroupService } from "../../src/gen/mustreach/directory/v1/directory_pb.ts";
import { createGroupService } from "../../src/groups/service.ts";
import { useBroker } from "../helpers/broker.ts";
import { type GroupsInstance, useGroups, userIds } from "../helpers/groups.ts";

const openGroups = useGroups(useBroker({ syncInterval: "2m" }));
let groups: GroupsInstance;
/** Calls as an admin; the others are in {@link as}. */
let client: Client<typeof GroupService>;
beforeAll(async () => {
  groups = await openGroups();
  client = as("imAdmin");
});

/** A client whose caller a gate has found out. */
function as(userId: string): Client<typeof GroupService> {
  const caller = { userId, platformId: 5, isAdmin: userId === "imAdmin", issuedAtMs: 0, expiresAtMs: 0 };
  const service = createGroupService({ groups });
  return createClient(
    GroupService,
    createRouterTransport((router) => void router.service(GroupService, service), {
      router: { requestGate: (context) => void context.values.set(callerKey, caller) },
    }),
  );
}

/** What a test may say of a group. */
interface CreateBody {
  readonly ownerUserId?: string;
  readonly memberUserIds?: string[];
  readonly adminUserIds?: string[];
  readonly groupInfo?: MessageInitShape<typeof GroupInfoSchema>;
}

let made = 0;
const newId = (kind: string) => `${kind} ${++made}`;
/** A group that can be created. */
const body = (change: CreateBody = {}) => ({
  ownerUserId: "owner",
  memberUserIds: ["ann", "ben"],
  adminUserIds: ["ada"],
  groupInfo: { groupId: newId("group"), groupName: "Orders", ex: "{}", groupType: 2 },
  ...change,
});
const open = async (change: CreateBody = {}) => {
  const { groupInfo } = await client.createGroup(body(change));
  return groupInfo?.groupId ?? "";
};
const openDismissed = async () => {
  const groupId = await open();
  await client.dismissGroup({ groupId });
  return groupId;
};

async function factsOf(call: Promise<unknown>) {
  const thrown = await call.then(
    (answer) => answer,
    (error: unknown) => error,
  );
  expect(thrown).toBeInstanceOf(ConnectError);
  return toErrorFacts(thrown);
}

const x = (count: number) => "x".repeat(count);

describe("CreateGroup", () => {
  test("answers the group with its owner, admins and members", async () => {
    const before = Date.now();
    const request = body();
    const { groupInfo } = await client.createGroup(request);
    expect(groupInfo).toMatchObject({
      ...request.groupInfo,
      ownerUserId: "owner",
      creatorUserId: "imAdmin",
      memberCount: 4,
      status: 0,
      groupType: 2,
    });
    expect(Number(groupInfo?.createTime)).toBeGreaterThanOrEqual(before);
    expect(Number(groupInfo?.createTime)).toBeLessThanOrEqual(Date.now());
    expect(await groups.memberIds(groupInfo?.groupId ?? "")).toEqual(["ada", "ann", "ben", "owner"]);
  });

  test("makes an id of ten digits when there is none, each time another", async () => {
    const groupIds = [await open({ groupInfo: { groupType: 2 } }), await open({ groupInfo: { groupType: 2 } })];
    expect(groupIds[0]).not.toBe(groupIds[1]);
    for (const groupId of groupIds) {
      expect(groupId).toMatch(/^\d{10}$/);
      expect(await groups.find(groupId)).toMatchObject({ groupId, groupName: "", memberCount: 4 });
    }
  });

  test("takes everything up to its limits", async () => {
    const groupInfo = { groupId: x(1_024), groupName: x(1_024), ex: x(16_384), groupType: 2 };
    const answer = await client.createGroup({ ownerUserId: `${x(1_022)}é`, groupInfo });
    expect(answer.groupInfo).toMatchObject({ ...groupInfo, ownerUserId: `${x(1_022)}é`, memberCount: 1 });
  });

  const info = { groupName: "", groupType: 2 };
  test.each<[what: string, change: CreateBody, field: string]>([
    ["no owner", { ownerUserId: "" }, "ownerUserID"],
    ["an owner with a control character", { ownerUserId: "a\n" }, "ownerUserID"],
    ["an owner that is too long", { ownerUserId: x(1_025) }, "ownerUserID"],
    ["a member that is empty", { memberUserIds: ["ann", ""] }, "memberUserIDs"],
    ["an admin that is too long", { adminUserIds: [x(1_025)] }, "adminUserIDs"],
    ["a member named twice", { memberUserIds: ["ann", "ann"] }, "twice"],
    ["an admin named twice", { adminUserIds: ["ada", "ada"] }, "twice"],
    ["an admin among the members", { memberUserIds: ["ada"] }, "twice"],
    ["the owner among the members", { memberUserIds: ["owner"] }, "owner"],
    ["the owner among the admins", { adminUserIds: ["owner"] }, "owner"],
    ["100,001 members", { memberUserIds: userIds(100_000) }, "100000"],
    ["a group id that is too long", { groupInfo: { ...info, groupId: x(1_025) } }, "groupID"],
    ["a group id with a control character", { groupInfo: { ...info, groupId: "a\u0000" } }, "groupID"],
    ["a name that is too long", { groupInfo: { ...info, groupName: `${x(1_023)}é` } }, "groupName"],
    ["an ex that is too long", { groupInfo: { ...info, ex: x(16_385) } }, "ex must"],
    ["no group type", { groupInfo: { groupName: "" } }, "groupType"],
    ["another group type", { groupInfo: { groupType: 1 } }, "groupType"],
  ])("refuses %s with 1001, also to who is no admin", async (_, change, field) => {
    for (const caller of [client, as("ann")]) {
      const facts = await factsOf(caller.createGroup(body(change)));
      expect(facts).toMatchObject({ errCode: 1001, errDlt: expect.stringContaining(field) });
    }
  });

  test("refuses a body without a group with 1001", async () => {
    const facts = await factsOf(client.createGroup({ ownerUserId: "owner", memberUserIds: ["ann"] }));
    expect(facts).toMatchObject({ errCode: 1001, errDlt: expect.stringContaining("groupInfo") });
  });

  test("is for admins", async () => {
    const request = body();
    expect(await factsOf(as("owner").createGroup(request))).toMatchObject({ errCode: 1002 });
    expect(await groups.find(request.groupInfo?.groupId ?? "")).toBeUndefined();
  });

  test("refuses an id that exists with 1202, also dismissed, and changes nothing", async () => {
    for (const groupId of [await open(), await openDismissed()]) {
      const before = await groups.find(groupId);
      const again = body({ ownerUserId: "eve", groupInfo: { groupId, groupType: 2 } });
      expect(await factsOf(client.createGroup(again))).toMatchObject({ errCode: 1202, errMsg: "GroupIDExisted" });
      expect(await groups.find(groupId)).toEqual(before);
    }
  });
});

describe("DismissGroup", () => {
  test.each([
    [false, 4],
    [true, 0],
  ])("ends a group (deleteMember: %s leaves %d members)", async (deleteMember, memberCount) => {
    const groupId = await open();
    await client.dismissGroup({ groupId, deleteMember });
    expect(await groups.find(groupId)).toMatchObject({ status: "dismissed", memberCount });
    expect(await groups.joinedIds("ann")).not.toContain(groupId);
  });

  test("is for admins", async () => {
    const groupId = await open();
    expect(await factsOf(as("owner").dismissGroup({ groupId }))).toMatchObject({ errCode: 1002 });
    expect(await groups.find(groupId)).toMatchObject({ status: "active" });
  });
});

describe("AddMembers and RemoveMembers", () => {
  test("change who is a member, and pass over who is already or is not", async () => {
    const groupId = await open();
    await client.addMembers({ groupId, invitedUserIds: ["cyd", "ann", "owner"], reason: "new" });
    await client.removeMembers({ groupId, kickedUserIds: ["ben", "ada", "nobody"], reason: "gone" });
    expect(await groups.memberIds(groupId)).toEqual(["ann", "cyd", "owner"]);
    expect((await client.listMembers({ groupId, filter: 3 })).members.map(({ userId }) => userId)).toEqual([
      "ann",
      "cyd",
    ]);
    expect(await groups.joinedIds("cyd")).toContain(groupId);
    expect(await groups.joinedIds("ben")).not.toContain(groupId);
  });

  test("do not remove the owner: 1001, and nobody is removed", async () => {
    const groupId = await open();
    expect(await factsOf(client.removeMembers({ groupId, kickedUserIds: ["ann", "owner"] }))).toMatchObject({
      errCode: 1001,
      errDlt: expect.stringContaining("owner"),
    });
    expect(await groups.memberIds(groupId)).toEqual(["ada", "ann", "ben", "owner"]);
  });

  test.each<[what: string, userIds: string[], says: string]>([
    ["nobody", [], "a user"],
    ["an empty user id", ["ann", ""], "1 to 1024 bytes"],
    ["a user id that is too long", [x(1_025)], "1 to 1024 bytes"],
    ["a user twice", ["cyd", "cyd"], "twice"],
    ["100,001 users", userIds(100_001), "100000"],
  ])("refuse %s with 1001, also to who is no admin", async (_, users, says) => {
    const groupId = await open();
    for (const caller of [client, as("owner")]) {
      for (const [field, call] of [
        ["invitedUserIDs", caller.addMembers({ groupId, invitedUserIds: users })],
        ["kickedUserIDs", caller.removeMembers({ groupId, kickedUserIds: users })],
      ] as const) {
        const facts = await factsOf(call);
        expect(facts).toMatchObject({ errCode: 1001, errDlt: expect.stringContaining(says) });
        expect(facts.errDlt).toContain(field);
      }
    }
    expect(await groups.find(groupId)).toMatchObject({ version: 1 });
  });

  test("are for admins", async () => {
    const groupId = await open();
    expect(await factsOf(as("owner").addMembers({ groupId, invitedUserIds: ["eve"] }))).toMatchObject({
      errCode: 1002,
    });
    expect(await factsOf(as("ann").removeMembers({ groupId, kickedUserIds: ["ann"] }))).toMatchObject({
      errCode: 1002,
    });
    expect(await groups.find(groupId)).toMatchObject({ version: 1 });
  });
});

describe("ListMembers", () => {
  let groupId: string;
  beforeAll(async () => {
    groupId = await open({ adminUserIds: ["zed", "ada"], memberUserIds: ["mia", "Ann"], ownerUserId: "olga" });
    await client.addMembers({ groupId, invitedUserIds: ["abe"] });
  });
  const all = ["olga", "ada", "zed", "Ann", "mia", "abe"];

  test("lists the owner, admins and members, each by when they joined and then by id", async () => {
    const { total, members } = await client.listMembers({ groupId });
    expect(total).toBe(6);
    expect(members.map(({ userId }) => userId)).toEqual(all);
    expect(members.map(({ roleLevel }) => roleLevel)).toEqual([100, 60, 60, 20, 20, 20]);
    for (const member of members) expect(member.groupId).toBe(groupId);
    const joinTimes = members.map(({ joinTime }) => Number(joinTime));
    expect(joinTimes[0]).toBe((await groups.find(groupId))?.createTime);
    expect(joinTimes[5]).toBeGreaterThanOrEqual(Number(joinTimes[0]));
  });

  test.each([
    [0, all],
    [1, ["olga"]],
    [2, ["ada", "zed"]],
    [3, ["Ann", "mia", "abe"]],
    [4, ["ada", "zed", "Ann", "mia", "abe"]],
    [5, ["olga", "ada", "zed"]],
  ])("with filter %d lists %j", async (filter, expected) => {
    const { total, members } = await client.listMembers({ groupId, filter });
    expect(members.map(({ userId }) => userId)).toEqual(expected);
    expect(total).toBe(expected.length);
  });

  test.each([
    ["a", 0, ["olga", "ada", "mia", "abe"]],
    ["ad", 2, ["ada"]],
    ["nothing", 0, []],
  ])("with keyword %j and filter %d lists %j", async (keyword, filter, expected) => {
    const { total, members } = await client.listMembers({ groupId, filter, keyword });
    expect(members.map(({ userId }) => userId)).toEqual(expected);
    expect(total).toBe(expected.length);
  });

  test("lists page by page, with the total on each", async () => {
    for (const [pageNumber, expected] of [all.slice(0, 4), all.slice(4), []].entries()) {
      const { total, members } = await client.listMembers({
        groupId,
        pagination: { pageNumber: pageNumber + 1, showNumber: 4 },
      });
      expect(members.map(({ userId }) => userId)).toEqual(expected);
      expect(total).toBe(6);
    }
  });

  test.each([
    [{ filter: 6 }, "filter"],
    [{ filter: -1 }, "filter"],
    [{ pagination: { showNumber: 5_001 } }, "showNumber"],
    [{ pagination: { pageNumber: -1 } }, "pageNumber"],
  ])("refuses %j with 1001, also to who is no admin", async (change, field) => {
    for (const caller of [client, as("olga")]) {
      const facts = await factsOf(caller.listMembers({ groupId, ...change }));
      expect(facts).toMatchObject({ errCode: 1001, errDlt: expect.stringContaining(field) });
    }
  });

  test("is for admins", async () => {
    expect(await factsOf(as("olga").listMembers({ groupId }))).toMatchObject({ errCode: 1002 });
  });
});

describe("ListGroups", () => {
  test("lists a user's groups by id, page by page, without dismissed ones", async () => {
    const userId = newId("user");
    const groupIds = ["c", "a", "B", "日本", "b"].map((name) => `${name} ${userId}`);
    for (const groupId of groupIds) await open({ memberUserIds: [userId], groupInfo: { groupId, groupType: 2 } });
    await client.dismissGroup({ groupId: `b ${userId}` });
    const expected = ["B", "a", "c", "日本"].map((name) => `${name} ${userId}`);
    for (const caller of [client, as(userId)]) {
      const { total, groups: found } = await caller.listGroups({ fromUserId: userId });
      expect(total).toBe(4);
      expect(found.map(({ groupId }) => groupId)).toEqual(expected);
      expect(found[0]).toMatchObject({ ownerUserId: "owner", memberCount: 3, groupType: 2, status: 0 });
    }
    const second = await client.listGroups({ fromUserId: userId, pagination: { pageNumber: 2, showNumber: 3 } });
    expect(second.groups.map(({ groupId }) => groupId)).toEqual(expected.slice(3));
    expect(second.total).toBe(4);
  });

  test("of a user in no group is empty", async () => {
    expect(await client.listGroups({ fromUserId: newId("user") })).toMatchObject({ total: 0, groups: [] });
  });

  test("is for admins and the user", async () => {
    expect(await factsOf(as("eve").listGroups({ fromUserId: "ann" }))).toMatchObject({ errCode: 1002 });
  });

  test.each([
    [{ fromUserId: "" }, "fromUserID"],
    [{ fromUserId: "ann", pagination: { showNumber: -1 } }, "showNumber"],
  ])("refuses %j with 1001, also to who may not", async (request, field) => {
    for (const caller of [client, as("eve")]) {
      const facts = await factsOf(caller.listGroups(request));
      expect(facts).toMatchObject({ errCode: 1001, errDlt: expect.stringContaining(field) });
    }
  });
});

describe.each<[rpc: string, call: (groupId: string) => Promise<unknown>]>([
  ["DismissGroup", (groupId) => client.dismissGroup({ groupId })],
  ["AddMembers", (groupId) => client.addMembers({ groupId, invitedUserIds: ["ann"] })],
  ["RemoveMembers", (groupId) => client.removeMembers({ groupId, kickedUserIds: ["ann"] })],
  ["ListMembers", (groupId) => client.listMembers({ groupId })],
])("%s", (_, call) => {
  test("of an unknown group is 1004", async () => {
    expect(await factsOf(call(newId("unknown")))).toMatchObject({ errCode: 1004, errMsg: "RecordNotFoundError" });
  });

  test("of a dismissed group is 1204", async () => {
    const groupId = await openDismissed();
    expect(await factsOf(call(groupId))).toMatchObject({ errCode: 1204, errMsg: "DismissedAlreadyError" });
  });

  test.each(["", "a\u0007", x(1_025)])("with group id %j is 1001", async (groupId) => {
    expect(await factsOf(call(groupId))).toMatchObject({ errCode: 1001, errDlt: expect.stringContaining("groupID") });
  });
});
