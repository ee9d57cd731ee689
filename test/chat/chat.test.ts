import { setTimeout as delay } from "node:timers/promises";
import { create } from "@bufbuild/protobuf";
import { headers as newHeaders } from "@nats-io/transport-node";
import { pino } from "pino";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Broker, connectBroker } from "../../src/broker/connect.ts";
import { declare } from "../../src/broker/declare.ts";
import { createDirectGet } from "../../src/broker/reads/create-direct-get.ts";
import { readsOver } from "../../src/broker/reads/direct-get.ts";
import { type Chat, type ChatOptions, createChat } from "../../src/chat/chat.ts";
import { type ChatCopy, storeCopies } from "../../src/chat/copies.ts";
import { chatSpecs } from "../../src/chat/layout.ts";
import type { Parties } from "../../src/chat/records.ts";
import { failure, toErrorFacts } from "../../src/errors.ts";
import { type Message, NotificationSchema } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { startBroker, type TestBroker, useBroker } from "../helpers/broker.ts";

type Instance = Chat & { readonly broker: Broker };

/** One instance's connection and chat. */
async function openInstance(server: TestBroker, options: Partial<ChatOptions> = {}): Promise<Instance> {
  const { url, dial } = server;
  const log = pino({ level: "silent" });
  const broker = await connectBroker({ servers: [url], dial, requestTimeoutMs: 5_000, log });
  const get = createDirectGet(broker, { timeoutMs: 5_000 });
  await declare(broker, chatSpecs, 1);
  return { ...createChat(broker, get, { timeoutMs: 10_000, ...options }), broker };
}

let made = 0;
/** An id that no other test uses. */
const newId = (kind: string) => `${kind}-${++made}`;

const pair = (a: string, b: string): { userIds: [string, string] } => ({ userIds: a <= b ? [a, b] : [b, a] });

/** A copy of a new notification. */
function copyOf(parties: Parties, sendUserId: string, data = ""): ChatCopy {
  return {
    conversationId: "groupId" in parties ? `sg_${parties.groupId}` : `si_${parties.userIds.join("_")}`,
    parties,
    notification: create(NotificationSchema, {
      serverMsgId: newId("server"),
      clientMsgId: newId("client"),
      sendTime: BigInt(1_700_000_000_000 + made),
      sendUserId,
      key: "order.paid",
      data,
      sequence: 99n,
    }),
  };
}

const placeOf = (message: Message) => Number(message.conversationSequence);
const upTo = (count: number) => Array.from({ length: count }, (_, n) => n + 1);
const everything = { begin: 1, end: Number.MAX_SAFE_INTEGER, limit: 1_000 };

async function pull(chat: Chat, parties: Parties, range: Partial<typeof everything> = {}) {
  const conversation = await chat.find([parties]);
  if (conversation === undefined) throw new Error("the conversation holds no copies");
  const { messages, isEnd } = await chat.pull(conversation, { ...everything, ...range });
  return { messages, places: messages.map(placeOf), isEnd };
}

async function view(chat: Chat, userId: string, parties: Parties) {
  const groupIds = "groupId" in parties ? [parties.groupId] : [];
  const conversations = await chat.conversationsOf(userId, groupIds);
  const { conversationId } = copyOf(parties, "any");
  return conversations.find((conversation) => conversation.conversationId === conversationId);
}

describe("on one broker", () => {
  const server = useBroker();
  let here: Instance;
  let there: Instance;
  beforeAll(async () => {
    [here, there] = await Promise.all([openInstance(server), openInstance(server)]);
  });
  afterAll(() => Promise.all([here.broker.close(), there.broker.close()]));

  test("200 appends to one conversation at the same time, from two instances, get the places 1 to 200, each once", async () => {
    const parties = { groupId: newId("group") };
    const copies = upTo(200).map((n) => copyOf(parties, `user ${n % 7}`, `data ${n}`));
    const appended = await Promise.all(copies.map((copy, n) => (n % 2 === 0 ? here : there).append(copy)));
    expect(appended.map(placeOf).sort((a, b) => a - b)).toEqual(upTo(200));
    const { messages, places, isEnd } = await pull(here, parties);
    expect(places).toEqual(upTo(200));
    expect(isEnd).toBe(true);
    const byPlace = [...appended].sort((a, b) => placeOf(a) - placeOf(b));
    expect(messages).toEqual(byPlace);
    expect(new Set(messages.map(({ notification }) => notification?.data)).size).toBe(200);
  });

  test("five instances that append to the same twelve conversations lose nothing and leave no place out", async () => {
    const others = await Promise.all(upTo(3).map(() => openInstance(server)));
    const instances = [here, there, ...others];
    const all: Parties[] = upTo(12).map((n) => (n % 2 === 0 ? { groupId: newId("g") } : pair(newId("a"), newId("b"))));
    const appends = instances.flatMap((instance) =>
      upTo(120).map((n) => instance.append(copyOf(all[n % all.length] ?? { groupId: "none" }, "a"))),
    );
    await Promise.all(appends);
    for (const parties of all) expect((await pull(here, parties)).places).toEqual(upTo(50));
    await Promise.all(others.map(({ broker }) => broker.close()));
  });

  test("the copy is the notification with its place in the conversation, and without one in an inbox", async () => {
    const parties = pair(newId("a"), newId("b"));
    const copy = copyOf(parties, parties.userIds[0], "héllo 日本");
    const message = await here.append(copy);
    expect(message).toMatchObject({ conversationId: copy.conversationId, conversationSequence: 1n });
    expect(message.notification).toEqual({ ...copy.notification, sequence: 0n });
    expect(copy.notification.sequence).toBe(99n);
    expect((await pull(there, parties)).messages).toEqual([message]);
  });

  test("a notification that is appended again gets its first copy, wherever and however often", async () => {
    const parties = pair(newId("a"), newId("b"));
    const copy = copyOf(parties, parties.userIds[0], "first");
    const first = await here.append(copy);
    await here.append(copyOf(parties, parties.userIds[1]));
    const again = { ...copy, notification: create(NotificationSchema, { ...copy.notification, data: "second" }) };
    const repeats = await Promise.all(upTo(20).map((n) => (n % 2 === 0 ? here : there).append(again)));
    for (const repeat of repeats) expect(repeat).toEqual(first);
    const fresh = copyOf(parties, parties.userIds[1]);
    const racers = await Promise.all(upTo(20).map((n) => (n % 2 === 0 ? here : there).append(fresh)));
    expect(racers.map(placeOf)).toEqual(upTo(20).map(() => 3));
    expect((await pull(here, parties)).places).toEqual([1, 2, 3]);
    expect(await view(here, parties.userIds[0], parties)).toMatchObject({ maxSeq: 3, hasReadSeq: 1, unreadCount: 2 });
  });

  describe("of 3,000 copies", () => {
    const parties = { groupId: "3,000" };
    beforeAll(async () => {
      await Promise.all(upTo(3_000).map((n) => here.append(copyOf(parties, "a", String(n)))));
    });

    test.each<[begin: number, end: number, limit: number, first: number, last: number, isEnd: boolean]>([
      [1, Number.MAX_SAFE_INTEGER, 1_000, 1, 1_000, false],
      [1, 3_000, 100, 1, 100, false],
      [2_001, Number.MAX_SAFE_INTEGER, 1_000, 2_001, 3_000, true],
      [2_001, 2_999, 1_000, 2_001, 2_999, true],
      [2_001, 3_000, 999, 2_001, 2_999, false],
      [2_001, 3_001, 1_000, 2_001, 3_000, true],
      [500, 1_499, 1_000, 500, 1_499, true],
      [3_000, 3_000, 1, 3_000, 3_000, true],
      [2_999, 3_000, 1, 2_999, 2_999, false],
      [1, 1, 1_000, 1, 1, true],
    ])(
      "the range %i to %i, at most %i, is %i to %i, and its end: %j",
      async (begin, end, limit, first, last, isEnd) => {
        const page = await pull(there, parties, { begin, end, limit });
        expect(page.places).toEqual(upTo(last).slice(first - 1));
        expect(page.isEnd).toBe(isEnd);
      },
    );

    test.each<[begin: number, end: number]>([
      [3_001, Number.MAX_SAFE_INTEGER],
      [11, 10],
      [Number.MAX_SAFE_INTEGER, 1],
    ])("the range %i to %i is empty and at its end", async (begin, end) => {
      expect(await pull(there, parties, { begin, end })).toMatchObject({ messages: [], isEnd: true });
    });

    test("pages that begin where the last one ended hold each copy once", async () => {
      const places: number[] = [];
      for (;;) {
        const page = await pull(there, parties, { begin: places.length + 1, limit: 700 });
        places.push(...page.places);
        if (page.isEnd) break;
      }
      expect(places).toEqual(upTo(3_000));
    });
  });

  test("a page of large copies ends early, and says that it is not the end", async () => {
    const parties = { groupId: newId("group") };
    await Promise.all(upTo(8).map(() => here.append(copyOf(parties, "a", "x".repeat(250_000)))));
    const first = await pull(there, parties);
    expect(first.places).toEqual([1, 2, 3, 4, 5]);
    expect(first.isEnd).toBe(false);
    const second = await pull(there, parties, { begin: 6 });
    expect(second.places).toEqual([6, 7, 8]);
    expect(second.isEnd).toBe(true);
  });

  test.each([
    ["*", ">"],
    ["a.b", "a.*"],
    ["日本", "日本語"],
    ["_", "__"],
    ["~", "a~b"],
    ["x".repeat(300), `${"x".repeat(299)}y`],
    ["𝒳".repeat(100), "\u{fffd}"],
    ["same", "same"],
    ["with space", 'quote"\\'],
  ])("the conversation of %j and %j is nobody else's", async (a, b) => {
    const parties: Parties = { userIds: [a, b] };
    const group = { groupId: a };
    const [message] = await Promise.all([here.append(copyOf(parties, a)), here.append(copyOf(group, a))]);
    expect((await pull(there, parties)).messages).toEqual([message]);
    expect(
      await there.find([{ userIds: [b, `${a}-`] }, { groupId: `${a}-` }, { groupId: `${a}~${b}` }]),
    ).toBeUndefined();
    expect(await there.find([parties])).toMatchObject({ parties, maxSeq: 1 });
    for (const userId of [a, b]) expect(await there.conversationsOf(userId, [])).toHaveLength(1);
    expect(await there.conversationsOf(`${a}-`, [])).toEqual([]);
    expect(await there.conversationsOf(a, [a])).toHaveLength(2);
  });

  test("two pairs of users whose conversations have the same id do not share one", async () => {
    const x = newId("x");
    const [one, other]: [Parties, Parties] = [{ userIds: [x, "b_c"] }, { userIds: [`${x}_b`, "c"] }];
    const [mine, yours] = [copyOf(one, x, "mine"), copyOf(other, "c", "yours")];
    expect(mine.conversationId).toBe(yours.conversationId);
    const appended = await Promise.all([here.append(mine), here.append(yours)]);
    expect(appended.map(placeOf)).toEqual([1, 1]);
    expect((await pull(there, one)).messages).toEqual([appended[0]]);
    expect((await pull(there, other)).messages).toEqual([appended[1]]);
    expect(await view(there, "b_c", one)).toMatchObject({ unreadCount: 1 });
    expect(await view(there, "c", other)).toMatchObject({ unreadCount: 0 });
  });

  describe("unread", () => {
    test("is what follows the place read, or the own newest copy, at every step of a long conversation", async () => {
      const parties = pair(newId("a"), newId("b"));
      const [a, b] = parties.userIds;
      const senders: string[] = [];
      const read = new Map([
        [a, 0],
        [b, 0],
      ]);
      // A fixed sequence without a short period.
      let seed = 7;
      const next = (below: number) => {
        seed = (seed * 16_807) % 2_147_483_647;
        return seed % below;
      };
      for (let step = 0; step < 150; step++) {
        const userId = next(2) === 0 ? a : b;
        const instance = next(2) === 0 ? here : there;
        if (senders.length === 0 || next(3) > 0) {
          senders.push(userId);
          read.set(userId, senders.length);
          await instance.append(copyOf(parties, userId));
        } else {
          const place = 1 + next(senders.length);
          await instance.markRead(userId, parties, place);
          read.set(userId, Math.max(read.get(userId) ?? 0, place));
        }
        for (const [user, hasReadSeq] of read) {
          expect(await view(here, user, parties)).toMatchObject({
            maxSeq: senders.length,
            hasReadSeq,
            unreadCount: senders.length - hasReadSeq,
          });
        }
      }
    });

    test("in a group is all for a member that never read nor sent, and less for a sender, also for one that is none", async () => {
      const parties = { groupId: newId("group") };
      await Promise.all(upTo(30).map((n) => here.append(copyOf(parties, n <= 10 ? "a" : n <= 25 ? "b" : "system"))));
      const unread = async (userId: string) => (await view(here, userId, parties))?.unreadCount;
      expect(await Promise.all(["a", "b", "c", "system"].map(unread))).toEqual([20, 5, 30, 0]);
    });

    test("after marks that race is that of the highest place, and an older one changes nothing", async () => {
      const parties = pair(newId("a"), newId("b"));
      const [a, b] = parties.userIds;
      await Promise.all(upTo(60).map(() => here.append(copyOf(parties, b))));
      const places = upTo(50).map((n) => ((n * 37) % 50) + 1);
      await Promise.all(places.map((place, n) => (n % 2 === 0 ? here : there).markRead(a, parties, place)));
      const expected = { hasReadSeq: 50, unreadCount: 10 };
      expect(await view(here, a, parties)).toMatchObject(expected);
      await there.markRead(a, parties, 3);
      expect(await view(here, a, parties)).toMatchObject(expected);
      expect(await view(here, b, parties)).toMatchObject({ hasReadSeq: 60 });
    });

    test("is never wrong while others append and the user marks", async () => {
      const parties = pair(newId("a"), newId("b"));
      const [a, b] = parties.userIds;
      let isDone = false;
      const appending = (async () => {
        for (let n = 0; n < 100; n++) await here.append(copyOf(parties, n % 4 === 0 ? a : b));
        isDone = true;
      })();
      let seen = 0;
      let before = 0;
      while (!isDone) {
        const current = await view(there, a, parties);
        if (current === undefined) continue;
        const { maxSeq, hasReadSeq, unreadCount } = current;
        expect(unreadCount).toBe(maxSeq - hasReadSeq);
        // Every fourth copy, from the first on, is the user's own.
        expect(hasReadSeq).toBeGreaterThanOrEqual(Math.max(before, maxSeq - ((maxSeq - 1) % 4)));
        before = hasReadSeq;
        if (maxSeq > 3) await there.markRead(a, parties, maxSeq - (seen++ % 4));
      }
      await appending;
    });
  });

  describe("conversations", () => {
    test("come with the newest copy first, of the user and its groups, and none that holds no copy", async () => {
      const [me, x, y] = [newId("me"), newId("x"), newId("y")];
      const [g, h, empty] = [newId("g"), newId("h"), newId("empty")];
      const all: Parties[] = [pair(me, x), { groupId: g }, pair(me, y), { groupId: h }];
      for (const parties of [...all, { groupId: newId("foreign") }, pair(x, y)]) await here.append(copyOf(parties, x));
      const ids = async () =>
        (await there.conversationsOf(me, [h, empty, g])).map(({ conversationId }) => conversationId);
      const idOf = (parties: Parties | undefined) => parties && copyOf(parties, x).conversationId;
      expect(await ids()).toEqual(all.map(idOf).reverse());
      const last = copyOf(pair(me, x), me);
      await here.append(last);
      expect(await ids()).toEqual([all[0], all[3], all[2], all[1]].map(idOf));
      expect(await view(there, me, pair(me, x))).toEqual({
        conversationId: last.conversationId,
        parties: pair(me, x),
        maxSeq: 2,
        maxSeqTime: Number(last.notification.sendTime),
        hasReadSeq: 2,
        unreadCount: 0,
      });
      expect(await there.conversationsOf(newId("stranger"), [])).toEqual([]);
    });

    test("are the newest 1,000 when there are more, of users and of groups", async () => {
      const me = newId("me");
      const all = upTo(1_300).map((n): Parties => (n % 10 === 0 ? { groupId: newId("g") } : pair(me, newId("u"))));
      const groupIds = all.flatMap((parties) => ("groupId" in parties ? [parties.groupId] : []));
      const append = (parties: readonly Parties[]) =>
        Promise.all(parties.map((of) => here.append(copyOf(of, "groupId" in of ? "x" : me))));
      for (let n = 0; n < all.length; n += 50) await append(all.slice(n, n + 50));
      // The oldest become the newest.
      await append(all.slice(0, 50));
      const listed = await there.conversationsOf(me, groupIds);
      const idsOf = (parties: readonly Parties[]) => parties.map((of) => copyOf(of, "x").conversationId).sort();
      expect(listed).toHaveLength(1_000);
      expect(listed.map(({ conversationId }) => conversationId).sort()).toEqual(
        idsOf([...all.slice(350), ...all.slice(0, 50)]),
      );
      expect(
        listed
          .slice(0, 50)
          .map(({ conversationId }) => conversationId)
          .sort(),
      ).toEqual(idsOf(all.slice(0, 50)));
      const unread = (id: string) => (id.startsWith("sg_") ? 1 : 0);
      expect(listed.filter(({ conversationId, unreadCount }) => unreadCount !== unread(conversationId))).toEqual(
        // Its second copy.
        listed.slice(0, 50).filter(({ conversationId }) => conversationId.startsWith("sg_")),
      );
    });
  });

  test("a batch that is not committed leaves nothing", async () => {
    const parties = { groupId: newId("group") };
    const nc = await server.connect();
    for (const [n, part] of ["id.a.b", "msg.1"].entries()) {
      const headers = newHeaders();
      headers.set("Nats-Batch-Id", "abandoned");
      headers.set("Nats-Batch-Sequence", String(n + 1));
      nc.publish(`chat.${Buffer.from(parties.groupId).toString("base64url")}.${part}`, "", { headers });
    }
    await nc.flush();
    expect(await here.find([parties])).toBeUndefined();
    expect(placeOf(await here.append(copyOf(parties, "a")))).toBe(1);
  });

  test("what is stored is there when the stream is opened again", async () => {
    const parties = { groupId: newId("group") };
    const message = await here.append(copyOf(parties, "a"));
    const later = await openInstance(server);
    expect((await pull(later, parties)).messages).toEqual([message]);
    await later.broker.close();
  });
});

describe("with a broker of its own", () => {
  test("a broker that is killed again and again leaves no copy half-stored, none twice, and none out of place", async () => {
    const server = await startBroker();
    const instances = await Promise.all([openInstance(server), openInstance(server)]);
    const all: Parties[] = [...upTo(4).map((n) => pair(`user ${n}`, "system")), { groupId: "g" }];
    let isOver = false;
    const appended: Message[] = [];
    const client = async (n: number) => {
      const instance = instances[n % 2];
      const parties = all[n % all.length];
      while (!isOver && instance !== undefined && parties !== undefined) {
        const copy = copyOf(
          parties,
          n % 3 === 0 ? "system" : "groupId" in parties ? "x" : `user ${(n % all.length) + 1}`,
        );
        // Until it is acknowledged, as a caller would.
        for (;;) {
          const message = await instance.append(copy).catch(() => undefined);
          if (message === undefined) continue;
          appended.push(message);
          break;
        }
      }
    };
    const clients = upTo(20).map(client);
    for (let kill = 0; kill < 3; kill++) {
      const before = appended.length;
      while (appended.length < before + 100) await delay(5);
      process.kill(server.pid(), "SIGKILL");
    }
    isOver = true;
    await Promise.all(clients);

    const instance = instances[0];
    if (instance === undefined) throw new Error("no instance");
    const subjects = new Map<string, Uint8Array>();
    const { state } = await instance.broker.jsm.streams.info("CHAT", { subjects_filter: ">" });
    for (const subject of Object.keys(state.subjects ?? {})) {
      const stored = await instance.broker.jsm.direct.getMessage("CHAT", { last_by_subj: subject });
      if (stored !== null) subjects.set(subject, stored.data);
    }
    for (const parties of all) {
      const { conversationId } = copyOf(parties, "x");
      const mine = appended.filter((message) => message.conversationId === conversationId);
      const { messages } = await readAll(instance, parties);
      const places = messages.map(placeOf);
      expect(places).toEqual(upTo(mine.length));
      expect(new Set(messages.map(({ notification }) => notification?.serverMsgId)).size).toBe(mine.length);
      const byPlace = [...mine].sort((a, b) => placeOf(a) - placeOf(b));
      expect(messages).toEqual(byPlace);
      for (const userId of ["system", "x", ...("userIds" in parties ? parties.userIds : [])]) {
        const ownNewest = messages.findLastIndex(({ notification }) => notification?.sendUserId === userId) + 1;
        const unread = mine.length - ownNewest;
        const current = await view(instance, userId, parties);
        if (current !== undefined) expect(current).toMatchObject({ maxSeq: mine.length, unreadCount: unread });
      }
    }
    const kept = [...subjects.keys()];
    expect(kept.filter((subject) => subject.includes(".msg."))).toHaveLength(appended.length);
    expect(kept.filter((subject) => subject.includes(".id."))).toHaveLength(appended.length);
    expect(kept.filter((subject) => subject.endsWith(".info"))).toHaveLength(all.length);
    expect(kept.filter((subject) => subject.startsWith("conversation."))).toHaveLength(8);
    for (const { broker } of instances) await broker.close();
    await server.remove();
  });

  async function readAll(chat: Chat, parties: Parties) {
    const messages: Message[] = [];
    for (;;) {
      const page = await pull(chat, parties, { begin: messages.length + 1 });
      messages.push(...page.messages);
      if (page.isEnd) return { messages };
    }
  }

  test("copies are kept for the retention; places, counts and conversations outlive them and a restart", async () => {
    const server = await startBroker();
    const chat = await openInstance(server, { retentionMs: 1_000 });
    const parties = pair("a", "b");
    await Promise.all(upTo(5).map(() => chat.append(copyOf(parties, "a"))));
    await chat.markRead("b", parties, 2);
    await chat.broker.close();
    const until = async (instance: Chat, isEmpty: boolean) => {
      while (((await pull(instance, parties)).messages.length === 0) !== isEmpty) await delay(20);
    };
    const witness = await openInstance(server);
    await until(witness, true);
    await witness.broker.close();
    await server.stop();
    const again = await startBroker({ dataDir: server.dir });
    const later = await openInstance(again);
    expect(await view(later, "b", parties)).toMatchObject({ maxSeq: 5, hasReadSeq: 2, unreadCount: 3 });
    expect(await pull(later, parties)).toMatchObject({ messages: [], isEnd: true });
    expect(placeOf(await later.append(copyOf(parties, "b")))).toBe(6);
    // The first page holds nothing that is retained, and yet a reader gets on.
    expect(await pull(later, parties, { limit: 2 })).toMatchObject({ places: [6], isEnd: true });
    expect(await pull(later, parties, { end: 5 })).toMatchObject({ messages: [], isEnd: true });
    expect(await view(later, "b", parties)).toMatchObject({ maxSeq: 6, hasReadSeq: 6, unreadCount: 0 });
    await later.broker.close();
    await again.remove();
    await server.remove();
  });

  test("without a broker an append and a mark are refused with 90004 when their time is up", async () => {
    const server = await startBroker();
    const chat = await openInstance(server, { timeoutMs: 300 });
    const parties = pair("a", "b");
    await chat.append(copyOf(parties, "a"));
    await server.stop();
    const facts = async (work: Promise<unknown>) => toErrorFacts(await work.catch((error: unknown) => error));
    const refusals = await Promise.all([
      ...upTo(3).map(() => facts(chat.append(copyOf(parties, "a")))),
      facts(chat.markRead("b", parties, 1)),
    ]);
    expect(refusals.map(({ errCode }) => errCode)).toEqual([90004, 90004, 90004, 90004]);
    await chat.broker.close();
    await server.remove();
  });

  test("a full broker refuses a copy, and keeps what it has", async () => {
    const server = await startBroker();
    const chat = await openInstance(server);
    const parties = pair("a", "b");
    const kept = await chat.append(copyOf(parties, "a"));
    const { config, state } = await chat.broker.jsm.streams.info("CHAT");
    await chat.broker.jsm.streams.update("CHAT", { ...config, max_bytes: state.bytes + 10 });
    const refusal = await chat.append(copyOf(parties, "a", "x".repeat(1_000))).catch((error: unknown) => error);
    expect(toErrorFacts(refusal)).toMatchObject({ errCode: 90101 });
    expect((await pull(chat, parties)).messages).toEqual([kept]);
    await chat.broker.close();
    await server.remove();
  });

  test("a copy that the broker refuses does not take those of other conversations with it", async () => {
    const server = await startBroker();
    const chat = await openInstance(server);
    const { config } = await chat.broker.jsm.streams.info("CHAT");
    await chat.broker.jsm.streams.update("CHAT", { ...config, max_msg_size: 2_000 });
    const results = await Promise.allSettled(
      upTo(20).map((n) => chat.append(copyOf({ groupId: `g${n}` }, "a", "x".repeat(n === 13 ? 3_000 : 10)))),
    );
    expect(results.flatMap(({ status }, n) => (status === "rejected" ? [n + 1] : []))).toEqual([13]);
    await chat.broker.close();
    await server.remove();
  });
});

test("an earlier copy that cannot be read while another is stored is the caller's to hear, and no unhandled rejection", async () => {
  const server = await startBroker();
  const { broker, ...chat } = await openInstance(server);
  const parties = pair("a", "b");
  const first = copyOf(parties, "a");
  await chat.append(first);
  const real = createDirectGet(broker, { timeoutMs: 5_000 });
  let reads = 0;
  const get = readsOver(async (...request) => {
    if (++reads > 1) throw failure("NetworkError", "the broker is away");
    return real.ask(...request);
  }, real.close);
  const unhandled: unknown[] = [];
  const note = (error: unknown) => void unhandled.push(error);
  process.on("unhandledRejection", note);
  const store = { broker, get, retentionMs: undefined };
  const thrown = await storeCopies(store, [first, copyOf(parties, "a")]).catch((error: unknown) => error);
  await delay(10);
  process.off("unhandledRejection", note);
  expect(toErrorFacts(thrown)).toMatchObject({ errCode: 90004 });
  expect(unhandled).toHaveLength(0);
  real.close();
  await broker.close();
  await server.remove();
});
