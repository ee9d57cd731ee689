import { Code } from "@connectrpc/connect";
import { describe, expect, test, vi } from "vitest";
import { toErrorFacts } from "../../src/errors.ts";
import { Gap_Reason, Start } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { Durability } from "../../src/gen/mustreach/msg/v1/msg_pb.ts";
import { dataOf, isIncreasing, openSender, sendMany, useDevices } from "../helpers/device.ts";
import { startTestServer, useServer } from "../helpers/server.ts";

// A heartbeat says that the service has nothing more to say, so a second of it is what "nothing comes" costs here.
const server = useServer({ HEARTBEAT: "1s", PARTITIONS: "2" });
const openDevice = useDevices();

let users = 0;
/** A user that no other test has, with ways to send to it and to be its devices. */
async function newUser() {
  const userId = `user-${++users}`;
  const token = await server.userToken(userId);
  const sender = openSender(server.url, await server.adminToken());
  return {
    userId,
    sender,
    device: (deviceId?: string) => openDevice(server.url, token, deviceId),
    send: (data: string, options: { level?: 1 | 2; ttlSeconds?: number } = {}) =>
      sender({ to: userId, data, ...options }),
    async sendAll(...all: string[]) {
      for (const data of all) await sender({ to: userId, data });
    },
  };
}

const numbers = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => String(from + i));

describe.concurrent("a must-reach notification", () => {
  test("reaches a device that is connected, with everything that was sent", async () => {
    const { userId, device, send } = await newUser();
    const session = await device().subscribe();
    const data = "quotes \" ' ` \\ NUL \0 line\r\n 4 bytes 😀 \u2028";
    const response = await send(data);
    const [notification] = await session.take(1);
    expect(notification).toMatchObject({
      serverMsgId: response.serverMsgId,
      clientMsgId: response.clientMsgId,
      sendTime: response.sendTime,
      sendUserId: "system",
      recvUserId: userId,
      recvGroupId: "",
      key: "test",
      data,
      reliabilityLevel: 2,
    });
    expect(notification?.sequence).toBeGreaterThan(0n);
    expect(response.durability).toBe(Durability.FSYNCED);
  });

  test("waits for a device that is offline, and comes in the order in which it was sent", async () => {
    const { device, sendAll } = await newUser();
    await sendAll(...numbers(1, 100));
    const session = await device().subscribe({ window: 1_000 });
    expect(session.ready).toMatchObject({ resumeSequence: 0n, pending: 100n, deviceId: "phone" });
    const taken = await session.takeUntilIdle();
    expect(dataOf(taken)).toEqual(numbers(1, 100));
    expect(isIncreasing(taken)).toBe(true);
  });

  test("comes in order when it is sent while the backlog is being read", async () => {
    const { device, sendAll } = await newUser();
    await sendAll(...numbers(1, 50));
    const session = await device().subscribe({ window: 1_000 });
    const sending = sendAll(...numbers(51, 150));
    const taken = await session.take(150);
    await sending;
    expect(dataOf(taken)).toEqual(numbers(1, 150));
  });

  test("reaches every device of the user, each at its own place", async () => {
    const { device, sendAll } = await newUser();
    const [phone, tablet] = [device("phone"), device("tablet")];
    await sendAll("1", "2", "3");
    const phoneSession = await phone.subscribe();
    const taken = await phoneSession.take(3);
    await phone.ack(taken[1]?.sequence ?? 0n);
    phone.kill();
    const tabletSession = await tablet.subscribe();
    expect(dataOf(await tabletSession.take(3))).toEqual(["1", "2", "3"]);
    const again = await device("phone").subscribe();
    expect(again.ready.resumeSequence).toBe(taken[1]?.sequence);
    expect(dataOf(await again.take(1))).toEqual(["3"]);
  });

  test("reaches two devices that are connected at the same time", async () => {
    const { device, sendAll } = await newUser();
    const sessions = await Promise.all(numbers(1, 5).map((name) => device(name).subscribe()));
    await sendAll(...numbers(1, 30));
    for (const session of sessions) expect(dataOf(await session.take(30))).toEqual(numbers(1, 30));
  });

  test("comes again after a reconnect until it is acknowledged, and then no more", async () => {
    const { device, sendAll } = await newUser();
    await sendAll("1", "2");
    const first = device();
    expect(dataOf(await (await first.subscribe()).take(2))).toEqual(["1", "2"]);
    first.kill();
    const second = device();
    const again = await (await second.subscribe()).take(2);
    expect(dataOf(again)).toEqual(["1", "2"]);
    await second.ack(again[1]?.sequence ?? 0n);
    second.kill();
    expect(await (await device().subscribe()).takeUntilIdle()).toEqual([]);
  });

  test("is one notification when it is accepted twice under one clientMsgID", async () => {
    const { userId, sender, device } = await newUser();
    const request = { to: userId, data: "once", clientMsgId: `order-77-of-${userId}` };
    const [one, other] = await Promise.all([sender(request), sender(request)]);
    expect(other).toEqual(one);
    expect(await sender(request)).toEqual(one);
    expect(dataOf(await (await device().subscribe()).takeUntilIdle())).toEqual(["once"]);
  });

  test("is delivered to exactly its user, whatever the id looks like", async () => {
    const ids = ["*", ">", "a.b", "a", "b", "日本", "x".repeat(300), "with  spaces ", "A", "$JS.>", "inbox.0.*", "😀"];
    const sender = openSender(server.url, await server.adminToken());
    const sessions = await Promise.all(
      ids.map(async (id) => openDevice(server.url, await server.userToken(id)).subscribe()),
    );
    for (const to of ids) {
      await sender({ to, data: `stored for ${to}` });
      await sender({ to, data: `pushed to ${to}`, level: 1 });
    }
    const received = await Promise.all(sessions.map(async (session) => dataOf(await session.take(2)).sort()));
    expect(received).toEqual(ids.map((id) => [`pushed to ${id}`, `stored for ${id}`]));
    for (const more of await Promise.all(sessions.map((session) => session.takeUntilIdle()))) expect(more).toEqual([]);
  });
});

describe.concurrent("the window", () => {
  test("lets exactly that many leave before an acknowledgement, and more after one", async () => {
    const { device, sendAll } = await newUser();
    await sendAll(...numbers(1, 12));
    const phone = device();
    const session = await phone.subscribe({ window: 5 });
    const first = await session.takeUntilIdle();
    expect(dataOf(first)).toEqual(numbers(1, 5));
    await phone.ack(first[1]?.sequence ?? 0n);
    const second = await session.takeUntilIdle();
    expect(dataOf(second)).toEqual(numbers(6, 7));
    await phone.ack(second[1]?.sequence ?? 0n);
    expect(dataOf(await session.takeUntilIdle())).toEqual(numbers(8, 12));
  });

  test("is 64 for a device that names none", async () => {
    const { device, sendAll } = await newUser();
    await sendAll(...numbers(1, 70));
    expect(dataOf(await (await device().subscribe()).takeUntilIdle())).toEqual(numbers(1, 64));
  });

  test("holds back notifications that are sent later, too", async () => {
    const { device, sendAll } = await newUser();
    const phone = device();
    const session = await phone.subscribe({ window: 2 });
    await sendAll(...numbers(1, 5));
    const taken = await session.take(2);
    expect(await session.takeUntilIdle()).toEqual([]);
    await phone.ack(taken[1]?.sequence ?? 0n);
    expect(dataOf(await session.take(2))).toEqual(["3", "4"]);
  });

  test.each([-1, 1_001])("of %i is refused with 1001", async (window) => {
    const { device } = await newUser();
    const facts = await device().subscribe({ window }).catch(toErrorFacts);
    expect(facts).toMatchObject({ errCode: 1001 });
  });
});

describe.concurrent("an acknowledgement", () => {
  test("is cumulative", async () => {
    const { device, sendAll } = await newUser();
    await sendAll("1", "2", "3");
    const phone = device();
    const taken = await (await phone.subscribe()).take(3);
    await phone.ack(taken[2]?.sequence ?? 0n);
    phone.kill();
    expect(await (await device().subscribe()).takeUntilIdle()).toEqual([]);
  });

  test("of an older sequence changes nothing, and answers where the cursor is", async () => {
    const { device, sendAll } = await newUser();
    await sendAll("1", "2", "3");
    const phone = device();
    const taken = await (await phone.subscribe()).take(3);
    const [oldest = 0n, , newest = 0n] = taken.map(({ sequence }) => sequence);
    expect(await phone.ack(newest)).toBe(newest);
    expect(await phone.ack(oldest)).toBe(newest);
    phone.kill();
    const later = device();
    expect((await later.subscribe()).ready.resumeSequence).toBe(newest);
    await later.ack(oldest);
    later.kill();
    expect((await device().subscribe()).ready.resumeSequence).toBe(newest);
  });

  test("of a sequence that was never assigned is refused with 1001, and the cursor stays", async () => {
    const { device, sendAll } = await newUser();
    await sendAll("1");
    const phone = device();
    for (const sequence of [1_000_000n, 2n ** 53n, 2n ** 64n - 1n]) {
      expect(await phone.ack(sequence).catch(toErrorFacts)).toMatchObject({ errCode: 1001 });
    }
    expect(dataOf(await (await phone.subscribe()).take(1))).toEqual(["1"]);
  });

  test("of nothing is refused with 1001", async () => {
    const { device } = await newUser();
    expect(await device().ack(0n).catch(toErrorFacts)).toMatchObject({ errCode: 1001 });
  });

  test("needs no session", async () => {
    const { device, sendAll } = await newUser();
    await sendAll("1", "2");
    const reader = await device("reader").subscribe();
    const [first] = await reader.take(2);
    await device("phone").ack(first?.sequence ?? 0n);
    expect(dataOf(await (await device("phone").subscribe()).takeUntilIdle())).toEqual(["2"]);
  });
});

describe.concurrent("a session begins", () => {
  test("at the oldest notification for a device that is new", async () => {
    const { device, sendAll } = await newUser();
    await sendAll("1", "2");
    const session = await device().subscribe({ start: Start.RESUME });
    expect(dataOf(await session.takeUntilIdle())).toEqual(["1", "2"]);
  });

  test("after the newest one with START_NEW, and resumes there later", async () => {
    const { device, sendAll } = await newUser();
    await sendAll("1", "2");
    const phone = device();
    const session = await phone.subscribe({ start: Start.NEW });
    expect(session.ready.pending).toBe(0n);
    phone.kill();
    await sendAll("3");
    expect(dataOf(await (await device().subscribe()).takeUntilIdle())).toEqual(["3"]);
  });

  test("at the oldest one with START_ALL, whatever was acknowledged", async () => {
    const { device, sendAll } = await newUser();
    await sendAll("1", "2");
    const phone = device();
    const taken = await (await phone.subscribe()).take(2);
    await phone.ack(taken[1]?.sequence ?? 0n);
    phone.kill();
    const session = await device().subscribe({ start: Start.ALL });
    expect(session.ready.resumeSequence).toBe(0n);
    expect(dataOf(await session.takeUntilIdle())).toEqual(["1", "2"]);
  });

  test("after the sequence that the device keeps itself, which wins over the cursor and the start", async () => {
    const { device, sendAll } = await newUser();
    await sendAll("1", "2", "3");
    const phone = device();
    const taken = await (await phone.subscribe()).take(3);
    await phone.ack(taken[2]?.sequence ?? 0n);
    phone.kill();
    const session = await device().subscribe({ start: Start.NEW, afterSequence: taken[0]?.sequence ?? 0n });
    expect(session.ready.resumeSequence).toBe(taken[0]?.sequence);
    expect(dataOf(await session.takeUntilIdle())).toEqual(["2", "3"]);
  });

  test("with 1001 for a start that does not exist", async () => {
    const { device } = await newUser();
    const facts = await device()
      .subscribe({ start: 9 as Start })
      .catch(toErrorFacts);
    expect(facts).toMatchObject({ errCode: 1001 });
  });
});

describe.concurrent("a newer session of the same device", () => {
  test("ends the older one with 1506 and lives on", async () => {
    const { device, sendAll } = await newUser();
    const older = await device().subscribe();
    const newer = await device().subscribe();
    expect(await older.whenEnded()).toMatchObject({ errCode: 1506, errMsg: "TokenKickedError" });
    await sendAll("1");
    expect(dataOf(await newer.take(1))).toEqual(["1"]);
  });

  test("leaves the user's other devices alone", async () => {
    const { device, sendAll } = await newUser();
    const tablet = await device("tablet").subscribe();
    await device("phone").subscribe();
    await device("phone").subscribe();
    await sendAll("1");
    expect(dataOf(await tablet.take(1))).toEqual(["1"]);
  });

  test("leaves exactly one alive when several are opened at the same moment", async () => {
    const { device, sendAll } = await newUser();
    const sessions = await Promise.all(numbers(1, 8).map(() => device().subscribe()));
    await sendAll("1");
    const ends = await Promise.all(
      sessions.map(async (session) => {
        let event = await session.next().catch(toErrorFacts);
        while (event !== undefined && "case" in event && event.case === "heartbeat") {
          event = await session.next().catch(toErrorFacts);
        }
        return event !== undefined && "errCode" in event ? event.errCode : event?.case;
      }),
    );
    expect(ends.toSorted()).toEqual([...Array(7).fill(1506), "notification"]);
  });
});

describe.concurrent("an online push", () => {
  test("reaches the devices that are connected, in order, and is not stored", async () => {
    const { device, send } = await newUser();
    const [phone, tablet] = [await device("phone").subscribe(), await device("tablet").subscribe()];
    for (const data of numbers(1, 100)) expect((await send(data, { level: 1 })).durability).toBe(Durability.NONE);
    const taken = await phone.take(100);
    expect(dataOf(taken)).toEqual(numbers(1, 100));
    expect(taken.every(({ sequence, reliabilityLevel }) => sequence === 0n && reliabilityLevel === 1)).toBe(true);
    expect(dataOf(await tablet.take(100))).toEqual(numbers(1, 100));
    expect(await phone.takeUntilIdle()).toEqual([]);
    const late = await device("late").subscribe({ start: Start.ALL });
    expect(late.ready.pending).toBe(0n);
    expect(await late.takeUntilIdle()).toEqual([]);
  });

  test("needs no room in the window", async () => {
    const { device, send, sendAll } = await newUser();
    const session = await device().subscribe({ window: 1 });
    await sendAll("stored 1", "stored 2");
    expect(dataOf(await session.take(1))).toEqual(["stored 1"]);
    await send("pushed", { level: 1 });
    expect(dataOf(await session.take(1))).toEqual(["pushed"]);
  });

  test("is published once for one clientMsgID", async () => {
    const { userId, sender, device } = await newUser();
    const session = await device().subscribe();
    const request = { to: userId, data: "once", level: 1 as const, clientMsgId: `push-of-${userId}` };
    const first = await sender(request);
    expect(await sender(request)).toEqual(first);
    expect(dataOf(await session.take(1))).toEqual(["once"]);
    expect(await session.takeUntilIdle()).toEqual([]);
  });
});

describe.concurrent("a notification with ttlSeconds", () => {
  test("is delivered while it is worth it", async () => {
    const { device, send } = await newUser();
    await send("1", { ttlSeconds: 60 });
    expect(dataOf(await (await device().subscribe()).take(1))).toEqual(["1"]);
  });

  test("is told as a gap when its time is over, and acknowledging the gap moves the cursor past it", async () => {
    const { device, send } = await newUser();
    // Each gets its own sequence, so that what the gap covers can be read off the neighbours.
    await send("before");
    await send("expired 1", { ttlSeconds: 1 });
    const last = await send("expired 2", { ttlSeconds: 1 });
    await send("after");
    await until(Number(last.sendTime) + 1_001);

    const phone = device();
    const session = await phone.subscribe();
    const [before] = await session.take(1);
    const event = await session.next();
    const [after] = await session.take(1);
    if (event?.case !== "gap") throw new Error(`expected a gap, got ${event?.case}`);
    expect([before?.data, after?.data]).toEqual(["before", "after"]);
    expect(event.value.reason).toBe(Gap_Reason.EXPIRED);
    expect(event.value.from).toBeGreaterThan(before?.sequence ?? 0n);
    expect(event.value.to).toBeLessThan(after?.sequence ?? 0n);
    expect(event.value.to).toBeGreaterThan(event.value.from);
    await phone.ack(event.value.to);
    phone.kill();
    const again = await device().subscribe();
    expect(again.ready.resumeSequence).toBe(event.value.to);
    expect(dataOf(await again.take(1))).toEqual(["after"]);
  });

  test("is told as a gap when it expires while the window is closed", async () => {
    const { device, send } = await newUser();
    const phone = device();
    const session = await phone.subscribe({ window: 1 });
    await send("1");
    const { sendTime } = await send("2", { ttlSeconds: 1 });
    const [first] = await session.take(1);
    await until(Number(sendTime) + 1_001);
    await phone.ack(first?.sequence ?? 0n);
    let event = await session.next();
    while (event?.case === "heartbeat") event = await session.next();
    expect(event?.case).toBe("gap");
  });
});

test.concurrent("a device that was away for longer than the retention is told of it by a gap", async () => {
  const brief = await startTestServer({ HEARTBEAT: "1s", RETENTION: "4s", PARTITIONS: "1" });
  try {
    const token = await brief.userToken("alice");
    const send = openSender(brief.url, await brief.adminToken());
    await send({ to: "alice", data: "1" });
    const phone = openDevice(brief.url, token);
    const [first] = await (await phone.subscribe()).take(1);
    await phone.ack(first?.sequence ?? 0n);
    phone.kill();
    const { sendTime } = await send({ to: "alice", data: "lost" });
    await until(Number(sendTime) + 4_100);
    // The broker removes what is too old when it gets round to it; a new device sees what is left.
    for (let round = 0, oldest = ""; oldest === "" || oldest === "lost"; round++) {
      // What a slow machine is too late for is gone, too.
      await send({ to: "alice", data: `later ${round}` });
      const fresh = openDevice(brief.url, token, `fresh ${round}`);
      oldest = (await (await fresh.subscribe()).take(1))[0]?.data ?? "";
      fresh.kill();
      await until(Date.now() + 100);
    }

    await send({ to: "alice", data: "later" });
    const session = await openDevice(brief.url, token).subscribe();
    const event = await session.next();
    if (event?.case !== "gap") throw new Error(`expected a gap, got ${event?.case}`);
    expect(event.value.reason).toBe(Gap_Reason.RETENTION);
    expect(event.value.from).toBe((first?.sequence ?? 0n) + 1n);
    expect(dataOf(await session.take(1))[0]).toMatch(/^later/);
  } finally {
    await brief.stop();
  }
});

describe.concurrent("a token", () => {
  test("that expires ends its session with 1501", async () => {
    const brief = await startTestServer({ TOKEN_TTL: "1s", PARTITIONS: "1" });
    try {
      const session = await openDevice(brief.url, await brief.userToken("alice")).subscribe();
      expect(await session.whenEnded()).toMatchObject({ errCode: 1501, errMsg: "TokenExpiredError" });
    } finally {
      await brief.stop();
    }
  });

  test("that is revoked by force_logout ends its session with 1506, and no other", async () => {
    const { userId, device } = await newUser();
    const kicked = await device().subscribe();
    const ofOtherPlatform = await openDevice(server.url, await server.userToken(userId, 1), "tablet").subscribe();
    const { json } = await server.post(
      "/auth/force_logout",
      { userID: userId, platformID: 5 },
      await server.adminToken(),
    );
    expect(json.errCode).toBe(0);
    expect(await kicked.whenEnded()).toMatchObject({ errCode: 1506 });
    expect(await device().subscribe().catch(toErrorFacts)).toMatchObject({ errCode: 1506 });
    expect(await ofOtherPlatform.takeUntilIdle()).toEqual([]);
    const anew = openDevice(server.url, await server.userToken(userId));
    expect((await anew.subscribe()).ready.deviceId).toBe("phone");
  });

  test("of one user neither reads nor moves another's inbox", async () => {
    const [alice, bob] = [await newUser(), await newUser()];
    await alice.sendAll("for alice");
    const bobs = bob.device();
    expect(await (await bobs.subscribe({ start: Start.ALL })).takeUntilIdle()).toEqual([]);
    const [notification] = await (await alice.device("reader").subscribe()).take(1);
    await bobs.ack(notification?.sequence ?? 0n).catch(() => {});
    expect(dataOf(await (await alice.device().subscribe()).take(1))).toEqual(["for alice"]);
  });
});

test.concurrent("a device without a name is called after its token's platform", async () => {
  const { userId } = await newUser();
  const device = openDevice(server.url, await server.userToken(userId, 1), "");
  expect((await device.subscribe()).ready.deviceId).toBe("iOS");
});

test.concurrent("one session more than MAX_SESSIONS is refused with 1601, until another ends", async () => {
  const small = await startTestServer({ MAX_SESSIONS: "2", PARTITIONS: "1" });
  try {
    const open = async (userId: string) => openDevice(small.url, await small.userToken(userId));
    const first = await open("a");
    await first.subscribe();
    await (await open("b")).subscribe();
    const third = await open("c");
    expect(await third.subscribe().catch(toErrorFacts)).toMatchObject({
      errCode: 1601,
      errMsg: "ConnOverMaxNumLimit",
    });
    first.kill();
    await vi.waitFor(() => third.subscribe());
  } finally {
    await small.stop();
  }
});

test.concurrent("more than 1,024 notifications of one day are read completely, also while more come", async () => {
  const { userId, sender, device } = await newUser();
  await sendMany(sender, userId, 1_300);
  const phone = device();
  const session = await phone.subscribe({ window: 1_000 });
  expect(session.ready.pending).toBe(1_300n);
  const backlog = await session.take(1_000);
  await phone.ack(backlog.at(-1)?.sequence ?? 0n);
  backlog.push(...(await session.take(300)));
  await phone.ack(backlog.at(-1)?.sequence ?? 0n);
  for (const data of ["live 1", "live 2", "live 3"]) await sender({ to: userId, data });
  const live = await session.takeUntilIdle();
  expect(dataOf(live)).toEqual(["live 1", "live 2", "live 3"]);
  expect(isIncreasing([...backlog, ...live])).toBe(true);
  expect(dataOf(backlog).sort()).toEqual(numbers(0, 1_299).sort());
});

test.concurrent("a notification of the largest size comes through, with others around it", async () => {
  const large = await startTestServer({ MAX_DATA_BYTES: "4194304", PARTITIONS: "1", HEARTBEAT: "1s" });
  try {
    const send = openSender(large.url, await large.adminToken());
    const sent = ["before", "x".repeat(4_194_304), "y".repeat(3_000_000), "after"];
    for (const data of sent) await send({ to: "alice", data });
    const session = await openDevice(large.url, await large.userToken("alice")).subscribe();
    expect(session.ready.pending).toBe(4n);
    expect(dataOf(await session.take(4)).map(describeText)).toEqual(sent.map(describeText));
    expect(await session.takeUntilIdle()).toEqual([]);
  } finally {
    await large.stop();
  }
});

test.concurrent("a call with the wrong kind of token is told the same by gRPC as by REST", async () => {
  const { userId } = await newUser();
  const send = openSender(server.url, await server.userToken(userId));
  const error = await send({ to: userId, data: "1" }).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: Code.PermissionDenied });
  expect(toErrorFacts(error)).toMatchObject({ errCode: 1002, errMsg: "NoPermissionError" });
});

function describeText(text: string): string {
  return `${text.slice(0, 8)} ${text.length}`;
}

async function until(timeMs: number): Promise<void> {
  while (Date.now() < timeMs) await new Promise((resolve) => setTimeout(resolve, timeMs - Date.now()));
}
