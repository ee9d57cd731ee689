import { describe, expect, test, vi } from "vitest";
import { openSender, useDevices } from "../helpers/device.ts";
import { type EventStream, type HttpVersion, type ServerSentEvent, useEvents } from "../helpers/events.ts";
import { startTestServer, useServer } from "../helpers/server.ts";

const openDevice = useDevices();
const openEvents = useEvents();

let users = 0;

describe.each<[door: string, http2: "node" | "engine", version: HttpVersion]>([
  ["HTTP/1.1", "node", "1.1"],
  ["HTTP/2 of node", "node", "2"],
  ["HTTP/2 of the engine", "engine", "2"],
])("server-sent events over %s", (_, http2, version) => {
  const server = useServer({ HEARTBEAT: "1s", HTTP2: http2 });

  async function newUser() {
    const userId = `sse-${++users}`;
    const token = await server.userToken(userId);
    const send = openSender(server.url, await server.adminToken());
    return {
      userId,
      token,
      device: (deviceId = "phone") => openDevice(server.url, token, deviceId),
      open: (query = "deviceID=phone", headers: Record<string, string> = {}) =>
        openEvents(version, server.url, `/events?${query}`, { token, ...headers }),
      sendAll: async (all: readonly string[], level: 1 | 2 = 2) => {
        for (const data of all) await send({ to: userId, data, level });
      },
      ack: (id: string, deviceID = "phone") => {
        const [epoch, sequence] = id.split(".");
        return server.post("/ack", { deviceID, sequence: Number(sequence), epoch }, token);
      },
    };
  }

  /** The data of the next notifications, and the id of the last. */
  async function take(stream: EventStream, count: number) {
    const taken: string[] = [];
    let id = "";
    while (taken.length < count) {
      const event = await stream.next();
      expect(event?.event).toBe("notification");
      taken.push(JSON.parse(event?.data ?? "").data);
      id = event?.id ?? "";
    }
    return { taken, id };
  }

  test("what was stored comes in order, with what protobuf's JSON says of it, and then what is sent", async () => {
    const { userId, open, sendAll } = await newUser();
    await sendAll(["a", "b"]);
    const stream = await open();
    expect(stream.status).toBe(200);
    expect(stream.headers).toMatchObject({
      "content-type": "text/event-stream",
      "cache-control": "no-store",
      "access-control-allow-origin": "*",
    });
    const ready = await stream.next();
    expect(ready).toMatchObject({ event: "ready", retry: "1000", id: expect.stringMatching(/^[\w-]*\.0$/) });
    expect(JSON.parse(ready?.data ?? "")).toMatchObject({ deviceId: "phone", pending: "2" });
    const first = await stream.next();
    const notification = JSON.parse(first?.data ?? "");
    expect(first).toMatchObject({ event: "notification", id: `${notification.epoch}.${notification.sequence}` });
    expect(notification).toMatchObject({ recvUserID: userId, key: "test", data: "a", reliabilityLevel: 2 });
    expect((await take(stream, 1)).taken).toEqual(["b"]);
    await sendAll(["c"]);
    expect((await take(stream, 1)).taken).toEqual(["c"]);
    await sendAll(["now"], 1);
    const push = await stream.next();
    expect(push?.id).toBeUndefined();
    expect(JSON.parse(push?.data ?? "")).toMatchObject({ data: "now", reliabilityLevel: 1 });
  });

  test("Last-Event-ID goes on after it, and acknowledges; in the query too", async () => {
    const { open, sendAll, device } = await newUser();
    await sendAll(["a", "b", "c"]);
    const stream = await open();
    await stream.next();
    const { id } = await take(stream, 2);
    stream.kill();
    const again = await open("deviceID=phone&lastEventId=x.1", { "last-event-id": id });
    expect(await again.next()).toMatchObject({ event: "ready", id });
    expect((await take(again, 1)).taken).toEqual(["c"]);
    again.kill();
    const byQuery = await open(`deviceId=phone&LASTEVENTID=${id}`);
    expect(await byQuery.next()).toMatchObject({ event: "ready", id });
    byQuery.kill();
    // Another door has the same cursor.
    const session = await device().subscribe();
    expect((await session.take(1)).map(({ data }) => data)).toEqual(["c"]);
  });

  test("no more than the window comes before POST /ack", async () => {
    const { open, sendAll, ack } = await newUser();
    await sendAll(["a", "b", "c", "d"]);
    const stream = await open("deviceID=phone&window=2");
    await stream.next();
    const { taken, id } = await take(stream, 2);
    expect(taken).toEqual(["a", "b"]);
    expect(await stream.nextBlock()).toEqual({ "": "heartbeat" });
    const { json } = await ack(id);
    expect(json).toEqual({ errCode: 0, errMsg: "", errDlt: "", data: { sequence: Number(id.split(".")[1]) } });
    expect((await take(stream, 2)).taken).toEqual(["c", "d"]);
  });

  test("two devices each get all; a new stream of a device ends the older one", async () => {
    const { open, sendAll } = await newUser();
    const [phone, tablet] = await Promise.all([open(), open("deviceID=tablet")]);
    await Promise.all([phone.next(), tablet.next()]);
    await sendAll(["a"]);
    expect((await take(phone, 1)).taken).toEqual(["a"]);
    expect((await take(tablet, 1)).taken).toEqual(["a"]);
    const newer = await open();
    await newer.next();
    const end = await phone.next();
    expect(end?.event).toBe("end");
    expect(JSON.parse(end?.data ?? "")).toMatchObject({ errCode: 1506, errMsg: "TokenKickedError" });
    expect(await phone.next()).toBeUndefined();
    await sendAll(["b"]);
    expect((await take(tablet, 1)).taken).toEqual(["b"]);
  });

  test("start=new leaves out what is stored", async () => {
    const { open, sendAll } = await newUser();
    await sendAll(["old"]);
    const stream = await open("deviceID=phone&start=new");
    await stream.next();
    await sendAll(["new"]);
    expect((await take(stream, 1)).taken).toEqual(["new"]);
  });

  test("a revoked token ends the stream", async () => {
    const { userId, open } = await newUser();
    const stream = await open();
    await stream.next();
    const token = await server.adminToken();
    await server.post("/auth/force_logout", { userID: userId, platformID: 5 }, token);
    expect(JSON.parse((await stream.next())?.data ?? "")).toMatchObject({
      errCode: 1506,
      errDlt: "the token was revoked",
    });
    const refused = await open();
    expect(refused.status).toBe(401);
  });

  test.each<[what: string, query: string, headers: Record<string, string>, status: number, errCode: number]>([
    ["no token", "", { token: "" }, 401, 1001],
    ["a token that is none", "", { token: "x" }, 401, 1503],
    ["a window that is no number", "window=x", {}, 400, 1001],
    ["a window that is too large", "window=1001", {}, 400, 1001],
    ["a start that is none", "start=soon", {}, 400, 1001],
    ["an id that is none", "lastEventId=x", {}, 400, 1001],
    ["an id whose sequence is none", "", { "last-event-id": "e.1x" }, 400, 1001],
    ["a sequence that is none", "afterSequence=-1", {}, 400, 1001],
    ["a device id that is too long", `deviceID=${"x".repeat(257)}`, {}, 400, 1001],
  ])("%s is refused with a status, and the facts as JSON", async (_what, query, headers, status, errCode) => {
    const { open } = await newUser();
    const refused = await open(query, headers);
    expect(refused.status).toBe(status);
    expect(refused.headers).toMatchObject({ "content-type": "application/json", "access-control-allow-origin": "*" });
    expect(JSON.parse(await refused.text())).toMatchObject({ errCode });
  });

  test("a device that does not read loses the oldest online pushes, and is told how many; others notice nothing", async () => {
    const { open, sendAll } = await newUser();
    const [slow, other] = await Promise.all([open(), open("deviceID=tablet")]);
    await Promise.all([slow.next(), other.next()]);
    slow.pause();
    const data = "x".repeat(200_000);
    const count = 60;
    let dropped: number | undefined;
    for (let i = 0; i < count; i++) {
      await sendAll([data], 1);
      await take(other, 1);
    }
    slow.resume();
    let seen = 0;
    while (dropped === undefined) {
      const event: ServerSentEvent | undefined = await slow.next();
      if (event?.event === "notification") seen++;
      else if (event?.event === "heartbeat") dropped = Number(JSON.parse(event.data ?? "").droppedOnlinePushes);
      else expect.unreachable();
    }
    expect(dropped).toBeGreaterThan(0);
    expect(seen + dropped).toBe(count);
  });

  test("a stop tells when to connect again, and ends the stream; so does a token that expires", async () => {
    const stopping = await startTestServer({ HTTP2: http2, TOKEN_TTL: "3s" });
    const open = async (userId: string) => {
      const token = await stopping.userToken(userId);
      const stream = await openEvents(version, stopping.url, "/events", { token });
      expect((await stream.next())?.event).toBe("ready");
      return stream;
    };
    const brief = await open("brief");
    const end = await brief.next();
    expect([end?.event, JSON.parse(end?.data ?? "").errCode]).toEqual(["end", 1501]);
    expect(await brief.next()).toBeUndefined();
    const stream = await open("stopped");
    const stopped = stopping.stop();
    const last = await stream.next();
    const { afterMs, reason } = JSON.parse(last?.data ?? "");
    expect(last).toMatchObject({ event: "reconnect", retry: String(afterMs) });
    expect(reason).toBe("the server is stopping");
    expect(await stream.next()).toBeUndefined();
    await stopped;
  });

  test("a client that goes ends its session", async () => {
    const { open } = await newUser();
    const stream = await open();
    await stream.next();
    stream.kill();
    await vi.waitFor(() => {
      const line = server.log.findLast(({ rpc, msg }) => `${rpc}`.endsWith("/Subscribe") && msg !== "stream opened");
      expect(line).toMatchObject({ msg: "call answered" });
    });
  });

  test("other methods at the path are not found", async () => {
    const response = await fetch(`${server.url}/events`, { method: "DELETE" });
    expect(response.status).toBe(404);
    expect(
      (await fetch(`${server.url}/events`, { method: "OPTIONS" })).headers.get("access-control-allow-headers"),
    ).toBe("*, authorization");
  });
});
