import { describe, expect, test, vi } from "vitest";
import { openSender, useDevices } from "../helpers/device.ts";
import { useEvents } from "../helpers/events.ts";
import { startTestServer, useServer } from "../helpers/server.ts";
import { clientFrame, openRawWebSocket, openWebSocket, type TestSocket } from "../helpers/websocket.ts";

const server = useServer({ HEARTBEAT: "1s" });
const openDevice = useDevices();
const openEvents = useEvents();

const protocol = "mustreach.v1.json";

let users = 0;

async function newUser() {
  const userId = `ws-${++users}`;
  const token = await server.userToken(userId);
  const send = openSender(server.url, await server.adminToken());
  /** Opens a socket; a token in the header, unless there is one in the first message. */
  const open = async (...messages: object[]) => {
    const client = await openWebSocket(`${server.url}/ws`, [protocol], { token });
    for (const message of messages) client.ws.send(JSON.stringify(message));
    return client;
  };
  return {
    userId,
    token,
    open,
    /** A device that has subscribed, and was told that it is ready. */
    async subscribe(deviceId = "phone", options: object = {}) {
      const client = await open({ subscribe: { deviceId, ...options } });
      return { ...client, ready: await nextOf(client, "ready") };
    },
    device: (deviceId = "phone") => openDevice(server.url, token, deviceId),
    sendAll: async (all: readonly string[], level: 1 | 2 = 2) => {
      for (const data of all) await send({ to: userId, data, level });
    },
  };
}

type Content = Record<string, string>;

/** The next message, whose case must be this; heartbeats are left out unless they are asked for. */
async function nextOf({ next }: Pick<TestSocket, "next">, wanted: string): Promise<Content> {
  for (;;) {
    const text = await next();
    if (typeof text !== "string") throw new Error(`expected ${wanted}, got ${JSON.stringify(text)}`);
    const [[name, content] = []] = Object.entries(JSON.parse(text) as Record<string, Content>);
    if (name === "heartbeat" && wanted !== "heartbeat") continue;
    expect(name).toBe(wanted);
    return content ?? {};
  }
}

async function take(client: Pick<TestSocket, "next">, count: number): Promise<Content[]> {
  const taken: Content[] = [];
  while (taken.length < count) taken.push(await nextOf(client, "notification"));
  return taken;
}

const dataOf = (notifications: readonly Content[]) => notifications.map(({ data }) => data);

const say = ({ ws }: Pick<TestSocket, "ws">, message: object) => ws.send(JSON.stringify(message));

/** Up to the end: the code of the error that was told, and how the connection was closed. */
async function endOf(client: Pick<TestSocket, "next">) {
  let errCode: unknown;
  for (;;) {
    const message = await client.next();
    if (typeof message === "object" && "code" in message) return { errCode, closed: message.code };
    errCode = JSON.parse(message.toString()).error?.errCode ?? errCode;
  }
}

describe("a WebSocket", () => {
  test("gets what was stored, in order, and then what is sent, of both levels", async () => {
    const { subscribe, sendAll, userId } = await newUser();
    await sendAll(["a", "b"]);
    const phone = await subscribe();
    expect(phone.ws.protocol).toBe(protocol);
    expect(phone.ready).toMatchObject({ deviceId: "phone", pending: "2" });
    const [a, b] = await take(phone, 2);
    expect(a).toMatchObject({
      recvUserID: userId,
      key: "test",
      data: "a",
      reliabilityLevel: 2,
      sequence: expect.any(String),
    });
    expect(b).toMatchObject({ data: "b" });
    await sendAll(["now"], 1);
    expect(await take(phone, 1)).toMatchObject([{ data: "now", reliabilityLevel: 1 }]);
    await sendAll(["c"]);
    expect(dataOf(await take(phone, 1))).toEqual(["c"]);
  });

  test("acknowledges, changes its window and pauses", async () => {
    const { subscribe, sendAll, device } = await newUser();
    await sendAll(["a", "b", "c", "d"]);
    const phone = await subscribe("phone", { window: 1 });
    const [a] = await take(phone, 1);
    expect(dataOf([a ?? {}])).toEqual(["a"]);
    await nextOf(phone, "heartbeat");
    say(phone, { changeWindow: { window: 2 } });
    expect(dataOf(await take(phone, 1))).toEqual(["b"]);
    say(phone, { pause: { isPaused: true } });
    say(phone, { acknowledge: { sequence: Number(a?.sequence), epoch: a?.epoch } });
    await nextOf(phone, "heartbeat");
    say(phone, { pause: {} });
    expect(dataOf(await take(phone, 1))).toEqual(["c"]);
    phone.ws.close();
    // Another door has the same cursor.
    const session = await device().subscribe();
    expect((await session.take(3)).map(({ data }) => data)).toEqual(["b", "c", "d"]);
  });

  test("resumes after the sequence that it names", async () => {
    const { subscribe, sendAll } = await newUser();
    await sendAll(["a", "b"]);
    const [a] = await take(await subscribe(), 1);
    const again = await subscribe("phone", { afterSequence: a?.sequence, epoch: a?.epoch });
    expect(again.ready.resumeSequence).toBe(a?.sequence);
    expect(dataOf(await take(again, 1))).toEqual(["b"]);
  });

  test("has a token in its first message", async () => {
    const { token, userId } = await newUser();
    const client = await openWebSocket(`${server.url}/ws`, [protocol], { origin: "https://example.com" });
    say(client, { ping: {} });
    expect(await client.next()).toBe('{"pong":{}}');
    say(client, { token, subscribe: {} });
    expect(await nextOf(client, "ready")).toMatchObject({ deviceId: "Web" });
    const send = openSender(server.url, await server.adminToken());
    await send({ to: userId, data: "hi" });
    expect(dataOf(await take(client, 1))).toEqual(["hi"]);
  });

  test("takes messages that come before it is known who it is", async () => {
    const { token, sendAll } = await newUser();
    await sendAll(["a", "b"]);
    const client = await openWebSocket(`${server.url}/ws`);
    say(client, { token, subscribe: { deviceId: "phone", window: 1 } });
    say(client, { changeWindow: { window: 2 } });
    await nextOf(client, "ready");
    expect(dataOf(await take(client, 2))).toEqual(["a", "b"]);
  });

  test("of two devices, each gets all; a newer one of a device ends the older", async () => {
    const { subscribe, sendAll } = await newUser();
    const [phone, tablet] = await Promise.all([subscribe(), subscribe("tablet")]);
    await sendAll(["a"]);
    expect(dataOf(await take(phone, 1))).toEqual(["a"]);
    expect(dataOf(await take(tablet, 1))).toEqual(["a"]);
    const newer = await subscribe();
    expect(await endOf(phone)).toEqual({ errCode: 1506, closed: 4401 });
    await sendAll(["b"]);
    expect(dataOf(await take(newer, 2))).toEqual(["a", "b"]);
    expect(dataOf(await take(tablet, 1))).toEqual(["b"]);
  });

  test("ends when its token is revoked, or expires", async () => {
    const { subscribe, userId } = await newUser();
    const phone = await subscribe();
    await server.post("/auth/force_logout", { userID: userId, platformID: 5 }, await server.adminToken());
    expect(await endOf(phone)).toEqual({ errCode: 1506, closed: 4401 });
    const brief = await startTestServer({ TOKEN_TTL: "2s" });
    try {
      const client = await openWebSocket(`${brief.url}/ws`, [protocol], { token: await brief.userToken("a") });
      say(client, { subscribe: {} });
      await nextOf(client, "ready");
      expect(await endOf(client)).toEqual({ errCode: 1501, closed: 4401 });
    } finally {
      await brief.stop();
    }
  });

  test("that does not read loses the oldest online pushes, and is told how many; others notice nothing", async () => {
    const { subscribe, sendAll } = await newUser();
    const [slow, other] = await Promise.all([subscribe(), subscribe("tablet")]);
    slow.ws.pause();
    const data = "x".repeat(200_000);
    const count = 60;
    for (let i = 0; i < count; i++) {
      await sendAll([data], 1);
      await take(other, 1);
    }
    slow.ws.resume();
    let seen = 0;
    let dropped = 0;
    while (dropped === 0) {
      const { notification, heartbeat } = JSON.parse(String(await slow.next()));
      if (notification !== undefined) seen++;
      dropped = Number(heartbeat?.droppedOnlinePushes ?? 0);
    }
    expect(seen + dropped).toBe(count);
  });

  test("that just goes ends its session", async () => {
    const { subscribe } = await newUser();
    const phone = await subscribe();
    phone.ws.terminate();
    await vi.waitFor(() => {
      const line = server.log.findLast(({ rpc, msg }) => `${rpc}`.endsWith("/Receive") && msg !== "stream opened");
      expect(line).toMatchObject({ msg: "call answered" });
    });
  });
});

describe("a ticket", () => {
  const getTicket = async (url: string, token: string) => {
    const headers = { operationID: "test", token };
    const response = await fetch(`${url}/events/ticket`, { method: "POST", headers, body: "{}" });
    const { data } = (await response.json()) as { data: { ticket: string; expireTimeSeconds: number } };
    expect(data.expireTimeSeconds).toBe(30);
    return data.ticket;
  };

  test("stands in for the token once, and for its session's whole life", async () => {
    const { token, userId } = await newUser();
    const ticket = await getTicket(server.url, token);
    const client = await openWebSocket(`${server.url}/ws?ticket=${ticket}`);
    say(client, { subscribe: {} });
    expect(await nextOf(client, "ready")).toMatchObject({ deviceId: "Web" });
    const again = await openWebSocket(`${server.url}/ws?ticket=${ticket}`);
    say(again, { subscribe: {} });
    expect(await endOf(again)).toEqual({ errCode: 1501, closed: 4401 });
    await server.post("/auth/force_logout", { userID: userId, platformID: 5 }, await server.adminToken());
    expect(await endOf(client)).toEqual({ errCode: 1506, closed: 4401 });
    // Not even one that was used up.
    expect(JSON.stringify(server.log)).not.toContain(ticket);
  });

  test("is asked for with a token", async () => {
    expect((await server.post("/events/ticket", {})).json).toMatchObject({ errCode: 1001 });
    expect((await server.post("/events/ticket", {}, "x")).json).toMatchObject({ errCode: 1503 });
  });

  test("is good at whichever worker, for whichever door, once", async () => {
    const workers = await startTestServer({ WORKERS: "2" });
    try {
      const token = await workers.userToken("a");
      const open = (ticket: string, deviceId: string) =>
        openEvents("1.1", workers.url, `/events?deviceID=${deviceId}&ticket=${ticket}`);
      const tickets = await Promise.all(Array.from({ length: 8 }, () => getTicket(workers.url, token)));
      for (const [index, ticket] of tickets.entries()) {
        const tries = await Promise.all([1, 2, 3].map((one) => open(ticket, `${index}-${one}`)));
        expect(tries.map(({ status }) => status).toSorted()).toEqual([200, 401, 401]);
        for (const { kill } of tries) kill();
      }
    } finally {
      await workers.stop();
    }
  });
});

describe("a device is told what is wrong, the code and the close, and no other notices:", () => {
  const subscribe = { subscribe: { deviceId: "phone" } };

  test.each<[what: string, messages: (string | Buffer)[], errCode: number, closed: number]>([
    ["what is no JSON", ["{"], 1001, 4400],
    ["JSON that is no object", ["[]"], 1001, 4400],
    ["two requests in one", [JSON.stringify({ ...subscribe, pause: {} })], 1001, 4400],
    ["nothing in it", ["{}"], 1001, 4400],
    ["a first message that is no subscribe", ['{"pause":{}}'], 1001, 4400],
    ["a second subscribe", [JSON.stringify(subscribe), JSON.stringify(subscribe)], 1001, 4400],
    ["a window that is too large", ['{"subscribe":{"window":1001}}'], 1001, 4400],
    ["a field of another type", ['{"subscribe":{"deviceId":1}}'], 1001, 4400],
    [
      "a sequence that nobody was assigned",
      [JSON.stringify(subscribe), '{"acknowledge":{"sequence":"999"}}'],
      1001,
      4400,
    ],
    ["a sequence of a thousand digits", [`{"acknowledge":{"sequence":"${"9".repeat(1_000)}"}}`], 1001, 4400],
    ["a token that is none", ['{"token":"x","subscribe":{}}'], 1503, 4401],
    ["a token of another type", ['{"token":1,"subscribe":{}}'], 1001, 4400],
    ["a binary message", [Buffer.of(1)], 1001, 4400],
  ])("%s", async (_, messages, errCode, closed) => {
    const { token, subscribe: subscribeOther, sendAll } = await newUser();
    const other = await subscribeOther("tablet");
    const client = await openWebSocket(`${server.url}/ws`, [protocol], { token });
    for (const message of messages) client.ws.send(message);
    expect(await endOf(client)).toEqual({ errCode, closed });
    await sendAll(["still there"]);
    expect(dataOf(await take(other, 1))).toEqual(["still there"]);
  });

  test("no token", async () => {
    const client = await openWebSocket(`${server.url}/ws`);
    say(client, { subscribe: {} });
    expect(await endOf(client)).toEqual({ errCode: 1001, closed: 4401 });
  });

  test("another subprotocol is refused", async () => {
    await expect(openWebSocket(`${server.url}/ws`, ["graphql-ws"])).rejects.toThrow("400");
  });

  test("a flood of pings", async () => {
    const { open, subscribe: subscribeOther, sendAll } = await newUser();
    const other = await subscribeOther("tablet");
    const client = await open();
    for (let i = 0; i < 1_000; i++) client.ws.ping();
    expect(await endOf(client)).toEqual({ errCode: undefined, closed: 1008 });
    await sendAll(["still there"]);
    expect(dataOf(await take(other, 1))).toEqual(["still there"]);
  });

  test("frames that are none", async () => {
    const { subscribe: subscribeOther, sendAll } = await newUser();
    const other = await subscribeOther("tablet");
    const large = Buffer.of(0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 0);
    for (const bytes of [
      clientFrame(0x81, "{}", false),
      clientFrame(0x83),
      clientFrame(0x81, Buffer.of(0xff)),
      large,
    ]) {
      const raw = await openRawWebSocket(server.port, "/ws");
      raw.socket.write(bytes);
      expect((await raw.next())?.opcode).toBe(8);
      raw.socket.destroy();
    }
    await sendAll(["still there"]);
    expect(dataOf(await take(other, 1))).toEqual(["still there"]);
  });
});

describe("a stop", () => {
  test("ends sessions with reconnect and 1012, and what has no session with the error", async () => {
    const stopping = await startTestServer();
    const client = await openWebSocket(`${stopping.url}/ws`, [protocol], { token: await stopping.userToken("a") });
    say(client, { subscribe: {} });
    await nextOf(client, "ready");
    const idle = await openWebSocket(`${stopping.url}/ws`);
    const stopped = stopping.stop();
    expect(await nextOf(client, "reconnect")).toMatchObject({ reason: "the server is stopping" });
    expect(await client.next()).toMatchObject({ code: 1012 });
    expect(await endOf(idle)).toEqual({ errCode: 90103, closed: 4503 });
    await stopped;
  });

  test("of workers does the same", async () => {
    const stopping = await startTestServer({ WORKERS: "2" });
    const token = await stopping.userToken("a");
    const clients = await Promise.all(
      ["1", "2", "3", "4"].map(async (deviceId) => {
        const client = await openWebSocket(`${stopping.url}/ws`, [protocol], { token });
        say(client, { subscribe: { deviceId } });
        await nextOf(client, "ready");
        return client;
      }),
    );
    const send = openSender(stopping.url, await stopping.adminToken());
    await send({ to: "a", data: "for all" });
    for (const client of clients) expect(dataOf(await take(client, 1))).toEqual(["for all"]);
    const stopped = stopping.stop();
    for (const client of clients) {
      await nextOf(client, "reconnect");
      expect(await client.next()).toMatchObject({ code: 1012 });
    }
    await stopped;
  });
});
