import { create } from "@bufbuild/protobuf";
import { beforeAll, describe, expect, test, vi } from "vitest";
import { failure, toErrorFacts } from "../../src/errors.ts";
import { NotificationSchema } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { DeliveryState, Durability } from "../../src/gen/mustreach/msg/v1/msg_pb.ts";
import type { Inbox } from "../../src/inbox/inbox.ts";
import { expand, type FanoutJob } from "../../src/sending/fan-out.ts";
import { createServerMsgId } from "../../src/sending/ids.ts";
import { deliverDue } from "../../src/sending/schedule.ts";
import { type SendDeps, send as sendOne } from "../../src/sending/send.ts";
import type { ValidSend } from "../../src/sending/validate.ts";
import { useBroker } from "../helpers/broker.ts";
import { noCollapse, type Tracking, useTracking } from "../helpers/tracking.ts";

const instances = useTracking(useBroker());
let tracking: Tracking;

beforeAll(async () => {
  tracking = await instances.open();
});

const { PENDING, DELIVERED, RECALLED } = DeliveryState;

let made = 0;
/** An id that no other test uses. */
const newId = (kind: string) => `${kind}-${++made}`;

async function sendToUser(change: Parameters<Tracking["accept"]>[1] = {}) {
  const userId = newId("user");
  const record = await tracking.accept(newId("order"), { recvUserId: userId, ...change });
  return { userId, record, id: record.clientMsgId };
}

async function sendToGroup(count: number, change: Parameters<Tracking["accept"]>[1] = {}) {
  const groupId = newId("group");
  const members = Array.from({ length: count }, (_, i) => `${groupId}/${String(i).padStart(5, "0")}`);
  instances.groups.set(`${groupId}@3`, members);
  const record = await tracking.accept(newId("order"), { recvGroupId: groupId, groupVersion: 3, ...change });
  return { members, record, id: record.clientMsgId };
}

const kindsOfAll = async (userIds: readonly string[]) =>
  new Set(await Promise.all(userIds.map(async (userId) => (await tracking.kindsOf(userId)).join())));

describe("a recall", () => {
  test("takes an unacknowledged notification out of the inbox, and leaves an event that names it there", async () => {
    const { userId, record, id } = await sendToUser();
    await tracking.accept(newId("order"), { recvUserId: userId });
    expect(await tracking.recall(id)).toEqual({ withdrawn: 1, delivered: 0 });
    const [other, event, ...more] = await tracking.entriesOf(userId);
    expect(more).toEqual([]);
    expect(other?.kind).toBe("notification");
    expect(event).toMatchObject({
      kind: "recall",
      recall: { serverMsgId: record.serverMsgId, clientMsgId: id, sequence: BigInt(event?.sequence ?? 0) },
    });
    expect(event?.sequence).toBeGreaterThan(other?.sequence ?? Infinity);
    expect(await tracking.status(id)).toMatchObject({
      counts: { total: 1, recalled: 1 },
      recipients: [{ userId, state: RECALLED, devices: [] }],
    });
  });

  test("tells devices that had acknowledged it from those that had not, now and when all have gone on", async () => {
    const { userId, id } = await sendToUser();
    await tracking.acknowledge(userId, "web", 1);
    await tracking.acknowledgeNewest("phone", userId);
    expect(await tracking.recall(id)).toEqual({ withdrawn: 0, delivered: 1 });
    const expected = {
      counts: { total: 1, delivered: 1, recalled: 0 },
      recipients: [
        {
          state: DELIVERED,
          devices: [
            { deviceId: "phone", state: DELIVERED, acknowledgedTime: 0 },
            { deviceId: "web", state: RECALLED, acknowledgedTime: 0 },
          ],
        },
      ],
    };
    expect(await tracking.status(id)).toMatchObject(expected);
    // The event of the recall has a place of its own: acknowledging it is not acknowledging the notification.
    for (const device of ["phone", "web"]) await tracking.acknowledgeNewest(device, userId);
    expect(await tracking.status(id)).toMatchObject(expected);
    await tracking.acknowledgeNewest("a new tablet", userId);
    expect((await tracking.status(id)).recipients[0]?.devices[0]).toMatchObject({ state: RECALLED });
  });

  test("that is repeated is answered the same and changes nothing, also days later", async () => {
    const { userId, id } = await sendToUser();
    await tracking.acknowledgeNewest("phone", userId);
    const first = await tracking.recall(id);
    await tracking.acknowledgeNewest("web", userId);
    const entries = await tracking.entriesOf(userId);
    expect(await tracking.recall(id)).toEqual(first);
    vi.useFakeTimers({ toFake: ["Date"] });
    try {
      vi.setSystemTime(Date.now() + 3 * 86_400_000);
      expect(await tracking.recall(id)).toEqual(first);
    } finally {
      vi.useRealTimers();
    }
    expect(await tracking.entriesOf(userId)).toEqual(entries);
    expect(entries.map(({ kind }) => kind)).toEqual(["recall"]);
  });

  test("does not refuse what a device had got before, and acknowledges while it is being removed", async () => {
    // What was there before it, in both partitions.
    for (let others = 0; others < 8; others++) await sendToUser();
    const { userId, id } = await sendToUser();
    const other = await instances.open();
    const sequence = await other.inbox.newestSequence(userId);
    const taken: boolean[] = [];
    const remove: Inbox["remove"] = async (found) => {
      await tracking.inbox.remove(found);
      taken.push(await other.inbox.mayHold(userId, sequence));
    };
    await tracking.recall(id, { inbox: { remove } });
    expect(taken).toEqual([true]);
    expect(await other.inbox.mayHold(userId, sequence + 1_000)).toBe(false);
  });

  test("that several instances make at once is one recall", async () => {
    const other = await instances.open();
    const { members, id } = await sendToGroup(40);
    await tracking.acknowledgeNewest("phone", ...members.slice(0, 10));
    const results = await Promise.all([tracking, other, tracking, other].map((instance) => instance.recall(id)));
    expect(results).toEqual(Array.from({ length: 4 }, () => ({ withdrawn: 30, delivered: 10 })));
    expect(await kindsOfAll(members)).toEqual(new Set(["recall"]));
  });

  test("is marked before anything is looked for, so that who is still storing it stops", async () => {
    const { record, id } = await sendToUser();
    const marks: (number | undefined)[] = [];
    const find: Inbox["find"] = async (...asked) => {
      marks.push(await tracking.recalls.recalledAt(record.serverMsgId));
      return tracking.inbox.find(...asked);
    };
    await tracking.recall(id, { inbox: { find } });
    expect(marks).toEqual([expect.any(Number)]);
  });

  test("of what is not known is 1004, and marks nothing", async () => {
    const id = newId("unknown");
    expect(await tracking.recall(id).catch(toErrorFacts)).toMatchObject({ errCode: 1004 });
    expect(await tracking.recalls.recalledAt(createServerMsgId(0, id))).toBeUndefined();
  });
});

const lost = () => Promise.reject(failure("NetworkError", "the broker is away"));

describe("a recall that ends halfway is completed by the next", () => {
  test.each<[at: string, inbox: (own: { inbox: Inbox }) => Partial<Inbox>]>([
    ["before anything was removed", () => ({ remove: lost })],
    [
      "with some removed",
      ({ inbox }) => ({
        async remove(found) {
          await inbox.remove(new Map([...found].slice(0, 3)));
          await lost();
        },
      }),
    ],
    ["with all removed and nobody told", () => ({ writeMany: lost })],
    [
      "with some told",
      ({ inbox }) => ({
        async writeMany(userIds, ...rest) {
          await inbox.writeMany(userIds.slice(2, 5), ...rest);
          await lost();
        },
      }),
    ],
  ])("%s", async (_, own) => {
    const { members, id } = await sendToGroup(12);
    await tracking.acknowledgeNewest("phone", ...members.slice(0, 4));
    const outcome = tracking.recall(id, { inbox: own(tracking) });
    expect(await outcome.catch(toErrorFacts)).toMatchObject({ errCode: 90004 });
    const after = { total: 12, delivered: 4, recalled: 8 };
    expect((await tracking.status(id)).counts).toMatchObject(after);
    expect(await tracking.recall(id)).toEqual({ withdrawn: 8, delivered: 4 });
    expect(await kindsOfAll(members)).toEqual(new Set(["recall"]));
    expect((await tracking.status(id)).counts).toMatchObject(after);
  });
});

describe("a recall of a group send", () => {
  test("reaches every member once and nobody else, a part of the group at a time", async () => {
    const { members, id } = await sendToGroup(1_200);
    const stranger = await sendToUser();
    const late = members.filter((_, i) => i % 30 === 0);
    await tracking.acknowledgeNewest("phone", ...late);
    const sizes: number[] = [];
    const find: Inbox["find"] = (userIds, serverMsgId) => {
      sizes.push(userIds.length);
      return tracking.inbox.find(userIds, serverMsgId);
    };
    expect(await tracking.recall(id, { inbox: { find } })).toEqual({ withdrawn: 1_160, delivered: 40 });
    expect(sizes).toEqual([500, 500, 200]);
    expect(await kindsOfAll(members)).toEqual(new Set(["recall"]));
    expect(await tracking.kindsOf(stranger.userId)).toEqual(["notification"]);
    expect((await tracking.status(id)).counts).toMatchObject({ total: 1_200, delivered: 40, recalled: 1_160 });
    const delivered = await tracking.status(id, { state: DELIVERED });
    expect(delivered.recipients.map(({ userId }) => userId)).toEqual(late);
  });

  test("is completed by the next when it ends before all were removed at once", async () => {
    const { members, id } = await sendToGroup(120);
    await tracking.acknowledgeNewest("phone", ...members.slice(0, 4));
    const outcome = tracking.recall(id, { removeEverywhere: lost });
    expect(await outcome.catch(toErrorFacts)).toMatchObject({ errCode: 90004 });
    expect((await tracking.status(id)).counts).toMatchObject({ total: 120, delivered: 4, recalled: 116 });
    expect(await tracking.recall(id)).toEqual({ withdrawn: 116, delivered: 4 });
    expect(await kindsOfAll(members)).toEqual(new Set(["recall"]));
  });

  test("removes nothing but this notification, of large groups too", async () => {
    const { members, id } = await sendToGroup(60);
    const [first = ""] = members;
    const like = [`${id} `, id.toUpperCase(), `${id}~r`];
    for (const clientMsgId of like) await tracking.accept(clientMsgId, { recvUserId: first });
    await tracking.recall(id);
    const entries = await tracking.entriesOf(first);
    expect(entries.flatMap((entry) => (entry.kind === "notification" ? entry.notification.clientMsgId : []))).toEqual(
      like,
    );
  });

  test("that is being expanded tells all who may get it", async () => {
    const { members, record, id } = await sendToGroup(6, { storedFor: [] });
    await tracking.write(record, members.slice(0, 2));
    expect(await tracking.recall(id)).toEqual({ withdrawn: 6, delivered: 0 });
    expect(await kindsOfAll(members)).toEqual(new Set(["recall"]));
    expect((await tracking.status(id)).counts).toMatchObject({ total: 6, recalled: 6 });
  });

  test.each([6, 60])("withdraws from %i what is stored while it runs", async (count) => {
    const { members, record, id } = await sendToGroup(count, { storedFor: [] });
    await tracking.write(record, members.slice(0, 2));
    await tracking.acknowledgeNewest("phone", ...members.slice(0, 1));
    const find: Inbox["find"] = async (...asked) => {
      const found = await tracking.inbox.find(...asked);
      await tracking.write(record, members.slice(1));
      await tracking.acknowledgeNewest("phone", ...members.slice(3, 4));
      return found;
    };
    expect(await tracking.recall(id, { inbox: { find } })).toEqual({ withdrawn: count - 2, delivered: 2 });
    expect(await kindsOfAll(members)).toEqual(new Set(["recall"]));
    const { recipients } = await tracking.status(id, { state: DELIVERED });
    expect(recipients.map(({ userId }) => userId)).toEqual([members[0], members[3]]);
  });

  test("that another completes after it has looked is the same recall", async () => {
    const { members, id } = await sendToGroup(6);
    await tracking.acknowledgeNewest("phone", ...members.slice(0, 2));
    const remove: Inbox["remove"] = async (found) => {
      await tracking.recall(id);
      await tracking.inbox.remove(found);
    };
    const late = { find: async () => new Map<string, number>(), remove };
    expect(await tracking.recall(id, { inbox: late })).toEqual({ withdrawn: 4, delivered: 2 });
    expect(await kindsOfAll(members)).toEqual(new Set(["recall"]));
  });
});

describe("a recall of a scheduled send", () => {
  test("cancels it: nobody is told of what nobody got", async () => {
    const deliverAtMs = Date.now() + 60_000;
    const { members, record, id } = await sendToGroup(5, { deliverAtMs, storedFor: [] });
    const cancelled: string[] = [];
    const cancelScheduled = async (serverMsgId: string) => cancelled.push(serverMsgId) === 1;
    for (let times = 0; times < 2; times++) {
      expect(await tracking.recall(id, { cancelScheduled })).toEqual({ withdrawn: 5, delivered: 0 });
    }
    expect(cancelled).toEqual([record.serverMsgId, record.serverMsgId]);
    expect(await kindsOfAll(members)).toEqual(new Set([""]));
    expect((await tracking.status(id)).counts).toMatchObject({ total: 5, recalled: 5, scheduled: 0 });
  });

  test("that was delivered meanwhile is that of any other", async () => {
    const { userId, id } = await sendToUser({ deliverAtMs: Date.now() - 1_000 });
    await tracking.acknowledgeNewest("phone", userId);
    expect(await tracking.recall(id)).toEqual({ withdrawn: 0, delivered: 1 });
    expect(await tracking.kindsOf(userId)).toEqual(["recall"]);
  });

  test("of a send at once asks no schedule", async () => {
    const { id } = await sendToUser();
    const cancelScheduled = vi.fn(async () => false);
    await tracking.recall(id, { cancelScheduled });
    expect(cancelScheduled).not.toHaveBeenCalled();
  });
});

/** Sends with an instance that the recall meets at the worst moment, and what the recall was answered. */
async function sendAndRecall(request: Partial<ValidSend>) {
  const other = await instances.open();
  const clientMsgId = newId("order");
  const answers: unknown[] = [];
  const recallNow = async () => void answers.push(await tracking.recall(clientMsgId));
  const notWanted = async () => {
    throw new Error("not wanted");
  };
  const jobs: FanoutJob[] = [];
  const send = (request: ValidSend, operationId: string) => sendOne(deps, request, operationId);
  const deps: SendDeps = {
    sends: other.sends,
    recalls: other.recalls,
    inbox: {
      placing: () => {
        throw new Error("not wanted");
      },
      // Elsewhere, so that the record is stored first, and the notification is not when the recall comes.
      prepare: (...given) => ({ ...other.inbox.prepare(...given), stream: "ELSEWHERE" }),
      async write(...given) {
        await recallNow();
        return other.inbox.write(...given);
      },
    },
    fanout: {
      async publish(job) {
        await recallNow();
        jobs.push(job);
      },
    },
    chat: { append: notWanted },
    collapsing: noCollapse,
    live: { push: notWanted, pushGroup: notWanted },
    later: notWanted,
    groupVersion: async () => 3,
    echo: undefined,
    durability: () => Durability.FSYNCED,
  };
  const valid: ValidSend = {
    sendUserId: "system",
    recvUserId: "",
    recvGroupId: "",
    recvUserIds: [],
    key: "k",
    data: "data",
    sendMsg: false,
    mustReach: true,
    clientMsgId,
    ttlMs: 0,
    sendAtMs: 0,
    escalateAfterMs: undefined,
    report: false,
    isReported: false,
    isUserScoped: false,
    recvDeviceId: "",
    exceptDeviceId: "",
    collapseKey: "",
    ...request,
  };
  expect(await send(valid, "test")).toMatchObject({ clientMsgId });
  return { other, clientMsgId, answers, jobs };
}

describe("a recall that meets its send under way on another instance", () => {
  test("leaves nothing of a send to a user, and nothing comes later", async () => {
    const userId = newId("user");
    const { answers, other, clientMsgId } = await sendAndRecall({ recvUserId: userId });
    expect(answers).toEqual([{ withdrawn: 1, delivered: 0 }]);
    expect(await other.kindsOf(userId)).toEqual([]);
    expect((await tracking.status(clientMsgId)).counts).toMatchObject({ total: 1, recalled: 1 });
    expect(await tracking.recall(clientMsgId)).toEqual({ withdrawn: 1, delivered: 0 });
    expect(await other.kindsOf(userId)).toEqual([]);
  });

  test("leaves nothing of a write that is repeated since its answer was lost", async () => {
    const { userId, record, id } = await sendToUser();
    expect(await tracking.recall(id)).toEqual({ withdrawn: 1, delivered: 0 });
    const other = await instances.open();
    await other.write(record, [userId]);
    expect(await other.kindsOf(userId)).toEqual(["recall"]);
  });

  test("leaves nothing of a write that is late, and so goes to another day", async () => {
    const { userId, record, id } = await sendToUser({ storedFor: [], sendTime: Date.now() - 3 * 86_400_000 });
    expect(await tracking.recall(id)).toEqual({ withdrawn: 1, delivered: 0 });
    const other = await instances.open();
    await other.write(record, [userId]);
    expect(await other.kindsOf(userId)).toEqual([]);
  });

  test("leaves nothing of a send to a group that was not queued yet", async () => {
    const recvGroupId = newId("group");
    const members = Array.from({ length: 70 }, (_, i) => `${recvGroupId}/${i}`);
    instances.groups.set(`${recvGroupId}@3`, members);
    const { answers, jobs, other } = await sendAndRecall({ recvGroupId });
    expect(answers).toEqual([{ withdrawn: 70, delivered: 0 }]);
    expect(jobs).toHaveLength(1);
    for (const job of jobs) {
      // A replica that lags behind has not heard of the recall.
      const recalls = { recalledAt: async () => undefined };
      const membersAt = async () => members;
      const deps = { ...other, recalls, membersAt, collapsing: noCollapse, recallAgain: async () => {} };
      await expand(deps, job, new AbortController().signal);
    }
    expect(await kindsOfAll(members)).toEqual(new Set([""]));
  });

  test("leaves nothing of a send to a group whose worker looked before it, and writes after it", async () => {
    const { members, record, id } = await sendToGroup(70, { storedFor: [] });
    const other = await instances.open();
    const answers: unknown[] = [];
    const notification = create(NotificationSchema, {
      serverMsgId: record.serverMsgId,
      clientMsgId: id,
      sendTime: BigInt(record.sendTime),
    });
    const writeMany: Inbox["writeMany"] = async (userIds, ...rest) => {
      await other.inbox.writeMany(userIds.slice(0, 60), ...rest);
      if (answers.length === 0) answers.push(await tracking.recall(id));
      await other.inbox.writeMany(userIds, ...rest);
    };
    const again: string[] = [];
    const deps = {
      inbox: { writeMany },
      recalls: other.recalls,
      membersAt: async () => members,
      collapsing: noCollapse,
      recallAgain: async (serverMsgId: string) => void again.push(serverMsgId),
    };
    const job = { groupId: record.recvGroupId, groupVersion: 3, recvUserIds: [], operationId: "test" };
    await expand(deps, { ...job, items: [{ kind: "notification", notification }] }, new AbortController().signal);
    expect(answers).toEqual([{ withdrawn: 70, delivered: 0 }]);
    expect(await kindsOfAll(members)).toEqual(new Set(["recall"]));
    expect(again).toEqual([record.serverMsgId]);
  });

  test("leaves nothing of a scheduled send that is just being delivered", async () => {
    const { userId, record, id } = await sendToUser({ storedFor: [], deliverAtMs: Date.now() - 10 });
    const other = await instances.open();
    const answers: unknown[] = [];
    const write = async () => {
      answers.push(await tracking.recall(id));
      await other.write(record, [userId]);
      return 0;
    };
    const notWanted = async () => {
      throw new Error("not wanted");
    };
    const deps = {
      sends: other.sends,
      recalls: other.recalls,
      inbox: { ...other.inbox, write },
      fanout: { publish: notWanted },
      chat: { append: notWanted },
      collapsing: noCollapse,
      live: { push: async () => {} },
      echo: undefined,
    };
    const delivery = { record, notification: create(NotificationSchema), sendMsg: false, operationId: "test" };
    await deliverDue(deps, { ...delivery, escalateAfterMs: undefined });
    expect(answers).toEqual([{ withdrawn: 1, delivered: 0 }]);
    expect(await other.kindsOf(userId)).toEqual([]);
  });

  test("leaves nothing of a scheduled send that was cancelled, and is delivered all the same", async () => {
    const { userId, record, id } = await sendToUser({ storedFor: [], deliverAtMs: Date.now() + 60_000 });
    await tracking.recall(id, { cancelScheduled: async () => true });
    const other = await instances.open();
    await other.write(record, [userId]);
    expect(await other.kindsOf(userId)).toEqual([]);
  });
});

test("a recall of what no inbox holds tells nobody", async () => {
  const { userId, id } = await sendToUser({ storedFor: [] });
  await tracking.acknowledge(userId, "phone", 1_000_000);
  expect((await tracking.status(id)).recipients[0]).toMatchObject({ state: PENDING });
  expect(await tracking.recall(id)).toEqual({ withdrawn: 1, delivered: 0 });
  expect(await tracking.kindsOf(userId)).toEqual([]);
  expect((await tracking.status(id)).recipients[0]).toMatchObject({
    state: RECALLED,
    devices: [{ deviceId: "phone", state: RECALLED }],
  });
});
