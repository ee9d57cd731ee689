import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { jetstreamManager } from "@nats-io/jetstream";
import { beforeAll, describe, expect, test } from "vitest";
import { type DeviceSession, dataOf, isIncreasing, openSender, useDevices } from "../helpers/device.ts";
import { startExternalBroker } from "../helpers/external-broker.ts";
import { useForFile } from "../helpers/for-file.ts";
import { startTestServer, type TestServer, type TestSettings, testSecret, useServer } from "../helpers/server.ts";

const openDevice = useDevices();

const settings: TestSettings = { HEARTBEAT: "1s", PARTITIONS: "2" };

const permissions = { muted: { publish: { deny: ["live.*.*.member"] } } };
// What is promised of the disk is shown elsewhere.
const broker = useForFile(
  () => startExternalBroker({ syncInterval: "2m", permissions }),
  ({ remove }) => remove(),
);
/** Two instances of one service, on one broker. */
const one = useServer(() => ({ ...settings, NATS_URL: broker.url }));
const two = useServer(() => ({ ...settings, NATS_URL: broker.url }));
let admin: string;
beforeAll(async () => {
  admin = await one.adminToken();
});

/** Calls a REST path as an admin, or with a token. */
async function call(on: TestServer, path: string, body: object, token = admin) {
  return (await on.post(path, body, token)).json;
}

/** Calls a REST path that is to succeed, and returns its data. */
async function must(on: TestServer, path: string, body: object) {
  const json = await call(on, path, body);
  expect(json).toMatchObject({ errCode: 0, errMsg: "", errDlt: "" });
  return json.data ?? {};
}

const send = (on: TestServer, body: object) =>
  must(on, "/msg/send_business_notification", { sendUserID: "system", key: "test", ...body });

let tests = 0;
/** A group that no other test has, with an owner and members; users are named per test. */
async function newGroup(...names: string[]) {
  const suffix = ++tests;
  const id = (name: string) => `${name}-${suffix}`;
  const groupID = id("group");
  await must(one, "/group/create_group", {
    ownerUserID: id("owner"),
    memberUserIDs: names.map(id),
    groupInfo: { groupID, groupName: "Orders", groupType: 2 },
  });
  return {
    groupID,
    id,
    add: (on: TestServer, ...added: string[]) =>
      must(on, "/group/invite_user_to_group", { groupID, invitedUserIDs: added.map(id) }),
    remove: (on: TestServer, ...removed: string[]) =>
      must(on, "/group/kick_group", { groupID, kickedUserIDs: removed.map(id) }),
    send: (on: TestServer, data: string, more: object = {}) =>
      send(on, { recvGroupID: groupID, data, reliabilityLevel: 2, ...more }),
    push: (on: TestServer, data: string, more: object = {}) =>
      send(on, { recvGroupID: groupID, data, reliabilityLevel: 1, ...more }),
    /** Pushes to a user. What is pushed before through the same instance arrives before, or not at all. */
    pushTo: (on: TestServer, name: string, data: string) => send(on, { recvUserID: id(name), data }),
    async open(on: TestServer, name: string, deviceId = "phone"): Promise<DeviceSession> {
      return openDevice(on.url, await on.userToken(id(name)), deviceId).subscribe({ window: 1_000 });
    },
  };
}

type Group = Awaited<ReturnType<typeof newGroup>>;

/** OpenIM's fields of a group, and of a member, that nobody has said anything about. */
const noGroupProfile = {
  ...{ notification: "", introduction: "", faceURL: "" },
  ...{ needVerification: 0, lookMemberInfo: 0, applyMemberFriend: 0 },
  ...{ notificationUpdateTime: 0, notificationUserID: "" },
};
const noMemberProfile = {
  ...{ nickname: "", faceURL: "", appMangerLevel: 0, joinSource: 0, operatorUserID: "", ex: "" },
  ...{ muteEndTime: 0, inviterUserID: "" },
};

const numbers = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => String(from + i));

describe.concurrent("OpenIM's paths", () => {
  test("create_group answers the group under OpenIM's keys, times and counts as numbers", async () => {
    const { id } = await newGroup();
    const before = Date.now();
    const { json } = await one.post(
      "/group/create_group",
      {
        ownerUserID: id("ann"),
        memberUserIDs: [id("ben"), id("cem")],
        adminUserIDs: [id("ada")],
        groupInfo: {
          groupID: id("new"),
          groupName: "Orders",
          groupType: 2,
          ex: '{"a":1}',
          faceURL: "",
          notification: "",
        },
        sendMessage: false,
      },
      admin,
    );
    expect(json).toEqual({
      errCode: 0,
      errMsg: "",
      errDlt: "",
      data: {
        groupInfo: {
          ...noGroupProfile,
          groupID: id("new"),
          groupName: "Orders",
          ex: '{"a":1}',
          groupType: 2,
          ownerUserID: id("ann"),
          creatorUserID: "imAdmin",
          createTime: expect.any(Number),
          memberCount: 4,
          status: 0,
        },
      },
    });
    const { groupInfo } = json.data as { groupInfo: { createTime: number } };
    expect(groupInfo.createTime).toBeGreaterThanOrEqual(before);
    expect(groupInfo.createTime).toBeLessThanOrEqual(Date.now());
  });

  test("create_group makes an id when there is none", async () => {
    const { id } = await newGroup();
    const made = await Promise.all(
      [one, two].map((on) => must(on, "/group/create_group", { ownerUserID: id("ann"), groupInfo: { groupType: 2 } })),
    );
    const ids = made.map((data) => (data as { groupInfo: { groupID: string } }).groupInfo.groupID);
    expect(ids).toEqual([expect.stringMatching(/./), expect.stringMatching(/./)]);
    expect(ids[0]).not.toBe(ids[1]);
  });

  test("invite_user_to_group, kick_group and dismiss_group answer without data", async () => {
    const { groupID, id } = await newGroup("ann");
    const plain = '{"errCode":0,"errMsg":"","errDlt":""}';
    for (const [path, body] of [
      ["/group/invite_user_to_group", { groupID, invitedUserIDs: [id("ben")], reason: "hi" }],
      ["/group/kick_group", { groupID, kickedUserIDs: [id("ben")], reason: "bye" }],
      ["/group/dismiss_group", { groupID, deleteMember: false }],
    ] as const) {
      const response = await fetch(`${two.url}${path}`, {
        method: "POST",
        headers: { operationID: "test", token: admin },
        body: JSON.stringify(body),
      });
      expect(await response.text()).toBe(plain);
    }
  });

  test("get_group_member_list pages through the members, owner and admins first", async () => {
    const { id } = await newGroup();
    const groupID = id("large");
    const before = Date.now();
    await must(one, "/group/create_group", {
      ownerUserID: id("owner"),
      adminUserIDs: [id("admin")],
      memberUserIDs: numbers(1, 7).map(id),
      groupInfo: { groupID, groupType: 2 },
    });
    const page = (pageNumber: number, more: object = {}) =>
      must(two, "/group/get_group_member_list", { groupID, pagination: { pageNumber, showNumber: 4 }, ...more });
    const pages = [await page(1), await page(2), await page(3), await page(4)];
    expect(pages.map(({ total }) => total)).toEqual([9, 9, 9, 9]);
    const members = pages.map((data) => data.members as { userID: string; joinTime: number }[]);
    expect(members.map(({ length }) => length)).toEqual([4, 4, 1, 0]);
    const all = members.flat();
    const rest = { groupID, joinTime: expect.any(Number), ...noMemberProfile };
    expect(all.slice(0, 2)).toEqual([
      { ...rest, userID: id("owner"), roleLevel: 100 },
      { ...rest, userID: id("admin"), roleLevel: 60 },
    ]);
    for (const member of all.slice(2)) expect(member).toEqual({ ...rest, userID: expect.any(String), roleLevel: 20 });
    expect(new Set(all.map(({ userID }) => userID))).toEqual(new Set(["owner", "admin", ...numbers(1, 7)].map(id)));
    for (const { joinTime } of all) {
      expect(joinTime).toBeGreaterThanOrEqual(before);
      expect(joinTime).toBeLessThanOrEqual(Date.now());
    }
    const found = await page(1, { keyword: id("admin") });
    expect(found).toMatchObject({ total: 1, members: [{ userID: id("admin") }] });
    expect(await page(1, { filter: 1 })).toMatchObject({ total: 1, members: [{ userID: id("owner") }] });
  });

  test("get_joined_group_list lists a user's groups, without those that it left and that were dismissed", async () => {
    const { id } = await newGroup();
    const ids = ["a", "b", "c", "d", "e"].map(id);
    for (const groupID of ids) {
      await must(one, "/group/create_group", {
        ownerUserID: id("owner"),
        memberUserIDs: [id("ann")],
        groupInfo: { groupID, groupName: `of ${groupID}`, groupType: 2 },
      });
    }
    await must(two, "/group/kick_group", { groupID: ids[1], kickedUserIDs: [id("ann")] });
    await must(two, "/group/dismiss_group", { groupID: ids[3] });
    const page = (pageNumber: number) =>
      must(one, "/group/get_joined_group_list", {
        fromUserID: id("ann"),
        pagination: { pageNumber, showNumber: 2 },
      });
    const [first, second] = [await page(1), await page(2)];
    expect([first.total, second.total]).toEqual([3, 3]);
    const groups = [first.groups, second.groups].flat() as { groupID: string }[];
    expect(groups.map(({ groupID }) => groupID).toSorted()).toEqual([ids[0], ids[2], ids[4]]);
    expect(groups[0]).toEqual({
      ...noGroupProfile,
      groupID: ids[0],
      groupName: `of ${ids[0]}`,
      ex: "",
      groupType: 2,
      ownerUserID: id("owner"),
      creatorUserID: "imAdmin",
      createTime: expect.any(Number),
      memberCount: 2,
      status: 0,
    });
    const own = await one.userToken(id("ann"));
    expect(await call(one, "/group/get_joined_group_list", { fromUserID: id("ann") }, own)).toMatchObject({
      errCode: 0,
      data: { total: 3 },
    });
    expect(await call(one, "/group/get_joined_group_list", { fromUserID: id("owner") }, own)).toMatchObject({
      errCode: 1002,
    });
  });

  /** What is wrong, in a group with the members `ann` and `owner`. */
  const wrong: [what: string, errCode: number, path: string, body: (group: Group) => object][] = [
    ["a groupType that is not OpenIM's", 1001, "create_group", ({ id }) => creation(id("new"), id, { groupType: 0 })],
    ["no owner", 1001, "create_group", ({ id }) => ({ ...creation(id("new"), id), ownerUserID: "" })],
    ["no groupInfo", 1001, "create_group", ({ id }) => ({ ownerUserID: id("ann") })],
    [
      "a repeated member",
      1001,
      "create_group",
      ({ id }) => ({ ...creation(id("new"), id), memberUserIDs: ["b", "b"] }),
    ],
    ["an existing id", 1202, "create_group", ({ groupID, id }) => creation(groupID, id)],
    ["nobody to invite", 1001, "invite_user_to_group", ({ groupID }) => ({ groupID, invitedUserIDs: [] })],
    ["nobody to kick", 1001, "kick_group", ({ groupID }) => ({ groupID, kickedUserIDs: [] })],
    ["the owner to kick", 1001, "kick_group", ({ groupID, id }) => ({ groupID, kickedUserIDs: [id("owner")] })],
    ["a page before the first", 1001, "get_group_member_list", ({ groupID }) => paged(groupID, -1, 1)],
    ["too large a page", 1001, "get_group_member_list", ({ groupID }) => paged(groupID, 1, 5_001)],
    ["no user", 1001, "get_joined_group_list", () => ({})],
    ["an unknown group", 1004, "invite_user_to_group", () => ({ groupID: "nobody's", invitedUserIDs: ["a"] })],
    ["an unknown group", 1004, "kick_group", () => ({ groupID: "nobody's", kickedUserIDs: ["a"] })],
    ["an unknown group", 1004, "get_group_member_list", () => paged("nobody's", 1, 1)],
    ["an unknown group", 1004, "dismiss_group", () => ({ groupID: "nobody's" })],
  ];
  test.each(wrong)("with %s are answered with %i: %s", async (_, errCode, path, body) => {
    const group = await newGroup("ann");
    const json = await call(two, `/group/${path}`, body(group));
    expect(json).toEqual({ errCode, errMsg: expect.stringMatching(/./), errDlt: expect.stringMatching(/./) });
  });

  const ofGroup: [path: string, body: (group: Group) => object][] = [
    ["dismiss_group", ({ groupID }) => ({ groupID })],
    ["invite_user_to_group", ({ groupID, id }) => ({ groupID, invitedUserIDs: [id("ben")] })],
    ["kick_group", ({ groupID, id }) => ({ groupID, kickedUserIDs: [id("ann")] })],
    ["get_group_member_list", ({ groupID }) => paged(groupID, 1, 10)],
  ];
  test.each(ofGroup)("of a dismissed group are answered with 1204: %s", async (path, body) => {
    const group = await newGroup("ann");
    await must(one, "/group/dismiss_group", { groupID: group.groupID });
    expect(await call(two, `/group/${path}`, body(group))).toMatchObject({
      errCode: 1204,
      errMsg: "DismissedAlreadyError",
    });
  });

  test("keep the id of a dismissed group: 1202", async () => {
    const { groupID, id } = await newGroup();
    await must(one, "/group/dismiss_group", { groupID, deleteMember: true });
    expect(await call(two, "/group/create_group", creation(groupID, id))).toMatchObject({
      errCode: 1202,
      errMsg: "GroupIDExisted",
    });
  });

  const forAdmins = [...ofGroup, ["create_group", ({ id }: Group) => creation(id("new"), id)] as const];
  test.each(forAdmins)("are an admin's: a member's token is answered with 1002 by %s", async (path, body) => {
    const group = await newGroup("ann");
    const ofOwner = await one.userToken(group.id("owner"));
    const json = await call(one, `/group/${path}`, body(group), ofOwner);
    expect(json).toMatchObject({ errCode: 1002, errMsg: "NoPermissionError" });
    expect(await must(one, "/group/get_group_member_list", paged(group.groupID, 1, 10))).toMatchObject({ total: 2 });
  });

  test("make one group when it is created at the same moment through both instances", async () => {
    const { id } = await newGroup();
    const answers = await Promise.all(
      [one, two, one, two].map((on) => call(on, "/group/create_group", creation(id("new"), id))),
    );
    expect(answers.map(({ errCode }) => errCode).toSorted()).toEqual([0, 1202, 1202, 1202]);
  });
});

function creation(groupID: string, id: (name: string) => string, info: object = {}) {
  return { ownerUserID: id("ann"), memberUserIDs: [id("ben")], groupInfo: { groupID, groupType: 2, ...info } };
}

function paged(groupID: string, pageNumber: number, showNumber: number) {
  return { groupID, pagination: { pageNumber, showNumber } };
}

describe.concurrent("an online push to a group", () => {
  test("reaches every session of its members on both instances once, and nobody else's", async () => {
    const group = await newGroup("ann", "ben");
    const members = [
      await group.open(one, "owner"),
      await group.open(one, "ann"),
      await group.open(two, "ann", "tablet"),
      await group.open(two, "ben"),
    ];
    const strangers = [await group.open(one, "eve"), await group.open(two, "eve", "tablet")];
    await group.push(one, "from one");
    await group.push(two, "from two");
    for (const on of [one, two]) {
      for (const name of ["owner", "ann", "ben", "eve"]) await group.pushTo(on, name, on === one ? "end 1" : "end 2");
    }
    for (const session of members) {
      const taken = await session.take(4);
      expect(dataOf(taken).toSorted()).toEqual(["end 1", "end 2", "from one", "from two"]);
      expect(taken.find(({ data }) => data === "from one")).toMatchObject({
        recvGroupId: group.groupID,
        recvUserId: "",
        reliabilityLevel: 1,
        sequence: 0n,
      });
    }
    for (const session of strangers) expect(dataOf(await session.take(2)).toSorted()).toEqual(["end 1", "end 2"]);
  });

  test("does not reach who was removed before it, also where nobody hears of that", async () => {
    // What it says of members is lost, as when it is cut off from the broker then.
    const muted = await startTestServer({ ...settings, NATS_URL: broker.url.replace("//", "//muted:muted@") });
    try {
      const group = await newGroup("ann", "ben");
      const [ann, ben] = [await group.open(one, "ann"), await group.open(one, "ben")];
      await group.push(two, "to both");
      await group.remove(muted, "ann");
      await group.push(two, "to ben");
      expect(dataOf(await ben.take(2))).toEqual(["to both", "to ben"]);
      await group.pushTo(two, "ann", "end");
      expect(dataOf(await ann.take(2))).toEqual(["to both", "end"]);
    } finally {
      await muted.stop();
    }
  });

  test("is not stored for a member who connects later", async () => {
    const group = await newGroup("ann");
    const online = await group.open(one, "owner");
    await group.push(two, "pushed");
    expect(dataOf(await online.take(1))).toEqual(["pushed"]);
    const late = await group.open(one, "ann");
    expect(late.ready.pending).toBe(0n);
    expect(await late.takeUntilIdle()).toEqual([]);
  });

  test("arrives in the order in which it was sent", async () => {
    const group = await newGroup("ann");
    const sessions = [await group.open(one, "ann"), await group.open(two, "ann", "tablet")];
    for (const data of numbers(1, 20)) await group.push(two, data);
    for (const session of sessions) expect(dataOf(await session.take(20))).toEqual(numbers(1, 20));
  });

  test("is published once for one clientMsgID", async () => {
    const group = await newGroup("ann");
    const session = await group.open(one, "ann");
    const more = { clientMsgID: `push-to-${group.groupID}` };
    const first = await group.push(one, "once", more);
    expect(await group.push(two, "once", more)).toEqual(first);
    for (const [on, data] of [
      [one, "end 1"],
      [two, "end 2"],
    ] as const) {
      await group.pushTo(on, "ann", data);
    }
    expect(dataOf(await session.take(3)).toSorted()).toEqual(["end 1", "end 2", "once"]);
  });

  describe.each([
    ["the same instance", () => [one, one] as const],
    ["the other instance", () => [one, two] as const],
    ["the other instance, turned round", () => [two, one] as const],
  ])("after a change of members through %s", (_, instances) => {
    test("reaches who was added, on sessions that are open on both", async () => {
      const [changeOn, pushOn] = instances();
      const group = await newGroup();
      const sessions = [await group.open(one, "dan"), await group.open(two, "dan", "tablet")];
      await group.add(changeOn, "dan");
      await untilSeen(group, pushOn, sessions, true);
    });

    test("no longer reaches who was removed, on sessions that are open on both", async () => {
      const [changeOn, pushOn] = instances();
      const group = await newGroup("dan", "ann");
      const sessions = [await group.open(one, "dan"), await group.open(two, "dan", "tablet")];
      const staying = await group.open(two, "ann");
      await untilSeen(group, pushOn, sessions, true);
      await group.remove(changeOn, "dan");
      await untilSeen(group, pushOn, sessions, false);
      await group.push(pushOn, "last");
      const seen: string[] = [];
      while (!seen.includes("last")) seen.push(...dataOf(await staying.take(1)));
    });
  });

  test("no longer reaches anybody when the group was dismissed", async () => {
    const group = await newGroup("ann");
    const session = await group.open(two, "ann");
    await must(one, "/group/dismiss_group", { groupID: group.groupID });
    for (const on of [one, two]) {
      const body = { sendUserID: "system", recvGroupID: group.groupID, key: "test", data: "late" };
      expect(await call(on, "/msg/send_business_notification", body)).toMatchObject({ errCode: 1204 });
      await group.pushTo(on, "ann", on === one ? "end 1" : "end 2");
    }
    expect(dataOf(await session.take(2)).toSorted()).toEqual(["end 1", "end 2"]);
  });
});

/** Pushes to a group until all sessions of `dan` see it, or none does, and it stays so. */
async function untilSeen(group: Group, on: TestServer, sessions: readonly DeviceSession[], isSeen: boolean) {
  const probe = async (data: string) => {
    await group.push(on, data);
    await group.pushTo(on, "dan", `end of ${data}`);
    const seen = sessions.map(async (session) => {
      const [first] = await session.take(1);
      if (first?.data !== data) return false;
      await session.take(1);
      return true;
    });
    return Promise.all(seen);
  };
  const wanted = sessions.map(() => isSeen);
  for (let n = 1; ; n++) {
    if ((await probe(`push ${n}`)).some((seen) => seen !== isSeen)) continue;
    for (const more of numbers(1, 3)) expect(await probe(`push ${n}.${more}`)).toEqual(wanted);
    return;
  }
}

describe.concurrent("a must-reach notification to a group", () => {
  test("reaches every member exactly once, also those who are offline, and nobody else", async () => {
    const names = numbers(1, 12);
    const group = await newGroup(...names);
    const online = [
      await group.open(one, "1", "online"),
      await group.open(two, "1", "online too"),
      await group.open(two, "2", "online"),
      await group.open(one, "owner", "online"),
    ];
    const stranger = await group.open(one, "eve");
    const response = await group.send(two, "first");
    await group.send(one, "second");
    const expectBoth = async (session: DeviceSession) => {
      const taken = await session.take(2);
      expect(dataOf(taken)).toEqual(["first", "second"]);
      expect(isIncreasing(taken)).toBe(true);
      expect(taken[0]).toMatchObject({
        serverMsgId: response.serverMsgID,
        clientMsgId: response.clientMsgID,
        sendTime: BigInt(Number(response.sendTime)),
        sendUserId: "system",
        recvUserId: "",
        recvGroupId: group.groupID,
        key: "test",
        reliabilityLevel: 2,
      });
      expect(taken[0]?.sequence).toBeGreaterThan(0n);
    };
    await Promise.all(online.map(expectBoth));
    const offline = await Promise.all(
      ["owner", ...names].map((name, i) => group.open(i % 2 === 0 ? one : two, name, "late")),
    );
    await Promise.all(offline.map(expectBoth));
    expect(await untilIdle(...online, ...offline, stranger)).toEqual([]);
  });

  test("is acknowledged by each device for itself", async () => {
    const group = await newGroup("ann");
    await group.send(one, "first");
    await group.send(one, "second");
    const phone = openDevice(one.url, await one.userToken(group.id("ann")));
    const taken = await (await phone.subscribe()).take(2);
    await phone.ack(taken[0]?.sequence ?? 0n);
    phone.kill();
    expect(dataOf(await (await group.open(one, "ann")).takeUntilIdle())).toEqual(["second"]);
    expect(dataOf(await (await group.open(two, "ann", "tablet")).takeUntilIdle())).toEqual(["first", "second"]);
  });

  test("arrives in the order in which it was sent, through whichever instance", async () => {
    const group = await newGroup("ann", "ben");
    const online = await group.open(one, "ann");
    for (const data of numbers(1, 20)) await group.send(Number(data) % 2 === 0 ? one : two, data);
    expect(dataOf(await online.take(20))).toEqual(numbers(1, 20));
    const late = await group.open(two, "ben");
    const taken = await late.take(20);
    expect(dataOf(taken)).toEqual(numbers(1, 20));
    expect(isIncreasing(taken)).toBe(true);
  });

  test("is in one increasing order with those to the user and to other groups, the same for all devices", async () => {
    const group = await newGroup("ann");
    const other = await newGroup();
    await must(one, "/group/invite_user_to_group", { groupID: other.groupID, invitedUserIDs: [group.id("ann")] });
    const online = [await group.open(one, "ann"), await group.open(two, "ann", "tablet")];
    const sendTo = openSender(one.url, admin);
    const each = 8;
    const inTurn = async (send: (data: string) => Promise<unknown>, prefix: string) => {
      for (const n of numbers(1, each)) await send(`${prefix} ${n}`);
    };
    await Promise.all([
      inTurn((data) => sendTo({ to: group.id("ann"), data }), "user"),
      inTurn((data) => group.send(two, data), "group"),
      inTurn((data) => other.send(one, data), "other"),
    ]);
    const taken = await Promise.all(online.map((session) => session.take(3 * each)));
    taken.push(await (await group.open(one, "ann", "late")).take(3 * each));
    for (const ofDevice of taken) {
      expect(isIncreasing(ofDevice)).toBe(true);
      expect(ofDevice.map(({ sequence, data }) => [sequence, data])).toEqual(
        taken[0]?.map(({ sequence, data }) => [sequence, data]),
      );
      for (const prefix of ["user", "group", "other"]) {
        const ofSender = dataOf(ofDevice).filter((data) => data.startsWith(prefix));
        expect(ofSender).toEqual(numbers(1, each).map((n) => `${prefix} ${n}`));
      }
    }
  });

  test("is one notification when it is accepted several times under one clientMsgID", async () => {
    const group = await newGroup("ann");
    const clientMsgID = `order-77-of-${group.groupID}`;
    const more = { clientMsgID };
    const responses = await Promise.all([one, two, one, two].map((on) => group.send(on, "once", more)));
    for (const response of responses) expect(response).toEqual(responses[0]);
    const online = await group.open(one, "owner");
    expect(dataOf(await online.take(1))).toEqual(["once"]);
    // The members have it by now; one who came since is not among them.
    await group.add(one, "ben");
    expect(await group.send(two, "once", more)).toEqual(responses[0]);
    await group.send(two, "end");
    expect(dataOf(await online.take(1))).toEqual(["end"]);
    expect(dataOf(await (await group.open(one, "ann")).take(2))).toEqual(["once", "end"]);
    expect(dataOf(await (await group.open(one, "ben")).take(1))).toEqual(["end"]);
    const other = { sendUserID: "system", recvGroupID: group.groupID, key: "test", data: "other", reliabilityLevel: 2 };
    expect(await call(one, "/msg/send_business_notification", { ...other, clientMsgID })).toMatchObject({
      errCode: 1003,
    });
  });

  test("that was accepted before the group was dismissed is answered the same again", async () => {
    const group = await newGroup("ann");
    const more = { clientMsgID: `before-the-end-of-${group.groupID}` };
    const response = await group.send(one, "once", more);
    await must(one, "/group/dismiss_group", { groupID: group.groupID });
    expect(await group.send(two, "once", more)).toEqual(response);
  });

  test("is told to a member by a gap when its ttlSeconds are over", async () => {
    const group = await newGroup("ann");
    const { sendTime } = await group.send(one, "brief", { ttlSeconds: 1 });
    await group.send(one, "end");
    await until(Number(sendTime) + 1_001);
    const late = await group.open(two, "ann");
    let event = await late.next();
    while (event?.case === "heartbeat") event = await late.next();
    expect(event?.case).toBe("gap");
    expect(dataOf(await late.take(1))).toEqual(["end"]);
  });

  test.each([1, 2])(
    "to a group that is not there is refused at level %i: 1004 unknown, 1204 dismissed",
    async (level) => {
      const group = await newGroup("ann");
      await must(two, "/group/dismiss_group", { groupID: group.groupID });
      for (const on of [one, two]) {
        const sendTo = (recvGroupID: string) =>
          call(on, "/msg/send_business_notification", {
            sendUserID: "system",
            recvGroupID,
            key: "test",
            data: "",
            reliabilityLevel: level,
          });
        expect(await sendTo(group.id("nobody's"))).toMatchObject({ errCode: 1004, errMsg: "RecordNotFoundError" });
        expect(await sendTo(group.groupID)).toMatchObject({ errCode: 1204, errMsg: "DismissedAlreadyError" });
      }
      expect((await group.open(one, "ann")).ready.pending).toBe(0n);
    },
  );
});

describe("while nobody expands group sends", () => {
  /** Stops the expansion on all instances, when nothing is under way. */
  async function holdFanout() {
    const { consumers, streams } = await jetstreamManager(await broker.connect());
    const lanes = (await consumers.list("FANOUT").next()).map(({ name }) => name);
    expect(lanes.length).toBeGreaterThan(0);
    const stored = async (stream: string, filter: string) => {
      const { state } = await streams.info(stream, { subjects_filter: filter });
      return Object.keys(state.subjects ?? {}).length;
    };
    const waiting = () => stored("FANOUT", ">");
    const pause = (ms: number) =>
      Promise.all(lanes.map((lane) => consumers.pause("FANOUT", lane, new Date(Date.now() + ms))));
    await expect.poll(waiting).toBe(0);
    await pause(60_000);
    return {
      // The broker looks for waiting messages when a pause is over, not when it is cut short.
      release: () => pause(500),
      waiting,
      async inInboxes() {
        return (await stored("INBOX_0", "inbox.>")) + (await stored("INBOX_1", "inbox.>"));
      },
    };
  }

  test("one is answered all the same, and at once, whatever the members, and reaches them when it goes on", async () => {
    const names = numbers(1, 20);
    const group = await newGroup(...names);
    const online = await group.open(one, "1", "online");
    const fanout = await holdFanout();
    const before = await fanout.inInboxes();
    const { clientMsgID } = await group.send(one, "held");
    expect(await fanout.waiting()).toBe(1);
    expect(await fanout.inInboxes()).toBe(before);
    expect(await must(two, "/msg/get_delivery_status", { clientMsgID })).toMatchObject({
      counts: { total: 21, pending: 21, delivered: 0 },
    });
    await fanout.release();
    expect(dataOf(await online.take(1))).toEqual(["held"]);
    const late = await Promise.all(names.slice(0, 5).map((name) => group.open(two, name, "late")));
    for (const session of late) expect(dataOf(await session.take(1))).toEqual(["held"]);
    await expect.poll(() => fanout.waiting()).toBe(0);
    expect(await fanout.inInboxes()).toBe(before + 21);
  });

  test("one goes to those who were members when it was sent, whoever left or came right after the reply", async () => {
    const group = await newGroup("ann", "ben");
    const fanout = await holdFanout();
    await group.send(one, "first");
    await group.remove(one, "ben");
    await group.add(two, "dan");
    await group.send(two, "second");
    await group.add(one, "ben");
    await group.remove(two, "dan");
    await group.send(one, "third");
    await fanout.release();
    const ann = await group.open(one, "ann");
    expect(dataOf(await ann.take(3))).toEqual(["first", "second", "third"]);
    await expect.poll(() => fanout.waiting()).toBe(0);
    const others = await Promise.all([group.open(one, "ben"), group.open(two, "dan"), group.open(two, "owner")]);
    const taken = await Promise.all(others.map(async (session) => dataOf(await session.takeUntilIdle())));
    expect(taken).toEqual([["first", "third"], ["second"], ["first", "second", "third"]]);
  });

  test("one reaches its members although the group is dismissed right after the reply", async () => {
    const group = await newGroup("ann", "ben");
    const fanout = await holdFanout();
    await group.send(two, "before the end");
    await must(one, "/group/dismiss_group", { groupID: group.groupID, deleteMember: true });
    await fanout.release();
    for (const name of ["ann", "ben", "owner"]) {
      expect(dataOf(await (await group.open(one, name)).take(1))).toEqual(["before the end"]);
    }
  });

  test("repeats of one that waits are one", async () => {
    const group = await newGroup("ann");
    const fanout = await holdFanout();
    const more = { clientMsgID: `held-${group.groupID}` };
    const response = await group.send(one, "once", more);
    for (const on of [one, two]) expect(await group.send(on, "once", more)).toEqual(response);
    expect(await fanout.waiting()).toBe(1);
    await fanout.release();
    await group.send(one, "end");
    expect(dataOf(await (await group.open(two, "ann")).take(2))).toEqual(["once", "end"]);
  });
});

describe.concurrent("the sender's own devices", () => {
  test.each([1, 2])(
    "that are connected see a notification to a user at level %i, and are not owed it",
    async (level) => {
      const { id, open } = await newGroup();
      const phone = await open(one, "sender");
      const tablet = await open(two, "sender", "tablet");
      const receiver = await open(two, "ann");
      const { serverMsgID } = await send(one, {
        sendUserID: id("sender"),
        recvUserID: id("ann"),
        data: "hello",
        reliabilityLevel: level,
      });
      for (const session of [phone, tablet]) {
        expect(await session.take(1)).toMatchObject([
          { serverMsgId: serverMsgID, recvUserId: id("ann"), data: "hello", sequence: 0n },
        ]);
      }
      expect(await receiver.take(1)).toMatchObject([{ serverMsgId: serverMsgID }]);
      expect(await untilIdle(phone, tablet, receiver)).toEqual([]);
      const late = await open(one, "sender", "late");
      expect(late.ready.pending).toBe(0n);
    },
  );

  test.each([1, 2])("see a notification to themselves once, at level %i", async (level) => {
    const { id, open } = await newGroup();
    const session = await open(one, "sender");
    await send(two, {
      sendUserID: id("sender"),
      recvUserID: id("sender"),
      data: "to myself",
      reliabilityLevel: level,
    });
    expect(dataOf(await session.take(1))).toEqual(["to myself"]);
    expect(await session.takeUntilIdle()).toEqual([]);
  });

  test("see it once when it is sent again under its clientMsgID", async () => {
    const { id, open } = await newGroup();
    const session = await open(one, "sender");
    const request = {
      sendUserID: id("sender"),
      recvUserID: id("ann"),
      data: "hello",
      reliabilityLevel: 2,
      clientMsgID: id("hello"),
    };
    await send(one, request);
    await send(two, request);
    expect(dataOf(await session.take(1))).toEqual(["hello"]);
    expect(await session.takeUntilIdle()).toEqual([]);
  });

  test("see what they send to a group as its members only", async () => {
    const group = await newGroup("sender");
    const member = await group.open(one, "sender");
    const stranger = await group.open(one, "stranger");
    for (const name of ["sender", "stranger"]) {
      await group.push(one, `pushed by ${name}`, { sendUserID: group.id(name) });
      await group.send(one, `stored by ${name}`, { sendUserID: group.id(name) });
    }
    const all = ["pushed by sender", "pushed by stranger", "stored by sender", "stored by stranger"];
    expect(dataOf(await member.take(4)).toSorted()).toEqual(all);
    expect(await untilIdle(member, stranger)).toEqual([]);
  });

  test("see nothing with MUSTREACH_SENDER_SYNC=false, at both levels", async () => {
    const quiet = await startTestServer({ ...settings, NATS_URL: broker.url, SENDER_SYNC: "false" });
    try {
      const { id, open } = await newGroup();
      const sessions = [await open(quiet, "sender"), await open(one, "sender", "tablet")];
      const receiver = await open(one, "ann");
      for (const reliabilityLevel of [1, 2]) {
        await send(quiet, { sendUserID: id("sender"), recvUserID: id("ann"), data: "hello", reliabilityLevel });
      }
      expect(dataOf(await receiver.take(2))).toEqual(["hello", "hello"]);
      expect(await untilIdle(...sessions)).toEqual([]);
    } finally {
      await quiet.stop();
    }
  });
});

test.concurrent("the command line keeps groups: create, add, remove and list", async () => {
  const { id, open } = await newGroup();
  const groupID = id("cli");
  const group = (...args: string[]) => run("group", ...args, "--url", two.url);

  const created = await group("create", groupID, id("ann"), id("ben"), "--owner", id("owner"), "--name", "Orders");
  expect(created).toMatchObject({ exitCode: 0, stderr: "" });
  expect(JSON.parse(created.stdout)).toEqual({ groupID, memberCount: 3 });
  const session = await open(one, "dan");
  const [again, added] = await Promise.all([group("create", groupID), group("add", groupID, id("dan"), id("eve"))]);
  expect(again).toEqual({ exitCode: 1, stdout: "", stderr: expect.stringMatching(/^1202 GroupIDExisted: ./) });
  expect(added).toEqual({ exitCode: 0, stdout: "", stderr: "" });
  expect(await group("remove", groupID, id("ben"), id("eve"))).toEqual({ exitCode: 0, stdout: "", stderr: "" });
  await send(two, { recvGroupID: groupID, data: "welcome", reliabilityLevel: 2 });
  expect(dataOf(await session.take(1))).toEqual(["welcome"]);

  const [members, groups] = await Promise.all([group("list", "--group", groupID), group("list", "--user", id("dan"))]);
  expect(toLines(members.stdout)).toEqual([
    { userID: id("owner"), roleLevel: 100, joinTime: expect.any(Number) },
    { userID: id("ann"), roleLevel: 20, joinTime: expect.any(Number) },
    { userID: id("dan"), roleLevel: 20, joinTime: expect.any(Number) },
  ]);
  expect(toLines(groups.stdout)).toEqual([{ groupID, groupName: "Orders", memberCount: 3 }]);
});

/** Runs the command line in a process of its own, with the secret of the services. */
async function run(...args: string[]): Promise<{ exitCode: number; stdout: string; stderr: string }> {
  const main = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));
  const env = { ...process.env, MUSTREACH_TOKEN_SECRET: testSecret };
  return new Promise((resolve, reject) => {
    execFile(process.execPath, [main, ...args], { env }, (error, stdout, stderr) => {
      const exitCode = error === null ? 0 : error.code;
      if (typeof exitCode === "number") resolve({ exitCode, stdout, stderr });
      else reject(error);
    });
  });
}

function toLines(output: string): Record<string, unknown>[] {
  return output
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
}

/** What sessions get until the service has nothing more to say. */
async function untilIdle(...sessions: readonly DeviceSession[]): Promise<string[]> {
  return dataOf((await Promise.all(sessions.map((session) => session.takeUntilIdle()))).flat());
}

async function until(timeMs: number): Promise<void> {
  while (Date.now() < timeMs) await new Promise((resolve) => setTimeout(resolve, timeMs - Date.now()));
}
