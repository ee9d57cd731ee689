import { once } from "node:events";
import net from "node:net";
import { afterEach, describe, expect, test, vi } from "vitest";
import { createListener } from "../../src/http/listener.ts";
import { createTimerWheel, type Timer, type TimerWheel } from "../../src/timer-wheel.ts";
import { closeCodes } from "../../src/websocket/close-codes.ts";
import type { WebSocketConnection, WebSocketReceiver } from "../../src/websocket/connection.ts";
import { toFrame, toTextFrame } from "../../src/websocket/frame.ts";
import { createWebSockets, type WebSocketOptions, type WebSocketRoute } from "../../src/websocket/upgrades.ts";
import { toAccept } from "../helpers/http-handler.ts";
import { clientFrame, openRawWebSocket, openWebSocket, type RawSocket, upgradeLines } from "../helpers/websocket.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const maxMessageBytes = 100_000;

/** Sends back what it gets. */
const echo = (connection: WebSocketConnection): WebSocketReceiver => ({
  ...silent,
  onText: (text) => void connection.write(toTextFrame(text)),
  onBinary: (bytes) => void connection.write(toFrame("binary", bytes)),
});

const silent: WebSocketReceiver = {
  onText() {},
  onBinary() {},
  onPong() {},
  onDrain() {},
  onStopping() {},
  onClose() {},
};

interface UseOptions extends Partial<Pick<WebSocketOptions, "limits" | "timers">> {
  readonly route?: Partial<WebSocketRoute>;
  readonly open?: (connection: WebSocketConnection) => WebSocketReceiver;
}

/** A port with a WebSocket at /a, and one that echoes at /echo. */
async function useWebSockets({ route, open = echo, timers = createTimerWheel(), ...options }: UseOptions = {}) {
  const log = { debug: vi.fn(), info: vi.fn(), warn: vi.fn(), error: vi.fn() };
  const messages = { burst: 1_000, perSecond: 0.001 };
  const plain: WebSocketRoute = {
    ...{ protocols: [], maxMessageBytes, messages },
    answer: (upgrade) => upgrade.accept(open),
  };
  const routes: Record<string, WebSocketRoute> = {
    "/a": { ...plain, ...route },
    "/echo": { ...plain, answer: (upgrade) => upgrade.accept(echo) },
  };
  const sockets = createWebSockets({ routes, timers, log, ...options });
  const accept = toAccept((_, res) => res.end());
  const listener = createListener({ accept, log, onUpgrade: sockets.upgrade });
  const { url, port } = await listener.listen({ host: "127.0.0.1", port: 0 });
  cleanups.push(() => listener.drain(0));
  return { ...sockets, url, port, log, listener };
}

/** What a connection is ended with. */
async function closeCodeOf({ next }: RawSocket): Promise<number | undefined> {
  for (;;) {
    const frame = await next();
    if (frame === undefined) return undefined;
    if (frame.opcode === 8) return frame.payload.readUInt16BE(0);
  }
}

describe("a WebSocket", () => {
  test("takes and sends messages, of every length, in order", async () => {
    const { url } = await useWebSockets();
    const client = await openWebSocket(`${url}/a?token=1`);
    const texts = [0, 1, 125, 126, 65_535, 65_536, 99_999].map((length) => "x".repeat(length));
    for (const text of [...texts, "日本語🦀"]) client.ws.send(text);
    for (const text of [...texts, "日本語🦀"]) expect(await client.next()).toBe(text);
    client.ws.send(Buffer.of(0, 255));
    expect(await client.next()).toEqual(Buffer.of(0, 255));
  });

  test("sends one frame to many", async () => {
    const connections: WebSocketConnection[] = [];
    const { url } = await useWebSockets({
      open(connection) {
        connections.push(connection);
        return silent;
      },
    });
    const clients = await Promise.all([1, 2, 3].map(() => openWebSocket(`${url}/a`)));
    const frame = toTextFrame("for all");
    for (const connection of connections) connection.write(frame);
    for (const { next } of clients) expect(await next()).toBe("for all");
  });

  test("is told of pongs, with the bytes of their pings", async () => {
    const onPong = vi.fn();
    const { url } = await useWebSockets({
      open(connection) {
        connection.ping(Buffer.from("read?"));
        return { ...silent, onPong: (bytes) => connection.close(closeCodes.normal, bytes.toString()), onClose: onPong };
      },
    });
    const client = await openWebSocket(`${url}/a`);
    expect(await client.next()).toEqual({ code: 1000, reason: "read?" });
    expect(onPong).toHaveBeenCalledExactlyOnceWith(undefined);
  });

  test("answers pings", async () => {
    const { url } = await useWebSockets();
    const { ws } = await openWebSocket(`${url}/a`);
    ws.ping("there?");
    const [bytes] = await once(ws, "pong");
    expect(bytes.toString()).toBe("there?");
  });

  test("sends as much of a reason as a close can have", async () => {
    const { url } = await useWebSockets({
      open(connection) {
        connection.close(closeCodes.policyViolation, "é".repeat(100));
        connection.write(toTextFrame("too late"));
        return silent;
      },
    });
    const client = await openWebSocket(`${url}/a`);
    expect(await client.next()).toEqual({ code: 1008, reason: "é".repeat(61) });
  });

  test("is over when the peer closes, or just goes", async () => {
    const onClose = vi.fn();
    const { url, size } = await useWebSockets({ open: () => ({ ...silent, onClose }) });
    const [one, two] = await Promise.all([openWebSocket(`${url}/a`), openWebSocket(`${url}/a`)]);
    expect(size()).toBe(2);
    one.ws.close();
    two.ws.terminate();
    await vi.waitFor(() => expect(onClose.mock.calls).toEqual([[undefined], [undefined]]));
    expect(size()).toBe(0);
  });

  test("whose receiver throws is ended with 1011, and no other", async () => {
    const { url, log } = await useWebSockets({
      open: () => ({
        ...silent,
        onText() {
          throw new Error("secret");
        },
      }),
    });
    const other = await openWebSocket(`${url}/echo`);
    const client = await openWebSocket(`${url}/a`);
    client.ws.send("a");
    expect(await client.next()).toEqual({ code: 1011, reason: "internal error" });
    expect(log.error).toHaveBeenCalledOnce();
    other.ws.send("still there");
    expect(await other.next()).toBe("still there");
  });
});

describe("a request for a WebSocket", () => {
  test("is answered 404 at other paths", async () => {
    const { url } = await useWebSockets();
    await expect(openWebSocket(`${url}/b`)).rejects.toThrow("404");
  });

  test.each<[what: string, lines: string[], status: number]>([
    ["without a key", upgradeLines("/a").filter((line) => !line.includes("Key")), 400],
    ["of another version", upgradeLines("/a").map((line) => line.replace("13", "12")), 400],
    ["that is no GET", upgradeLines("/a").map((line) => line.replace("GET", "PUT")), 405],
    ["for a host that is none", upgradeLines("/a").map((line) => line.replace("localhost", "a b")), 400],
  ])("%s is refused", async (_, lines, status) => {
    const { port } = await useWebSockets();
    const socket = net.connect({ port, host: "127.0.0.1" });
    socket.write([...lines, "", ""].join("\r\n"));
    const [answer] = await once(socket, "data");
    expect(answer.toString()).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    socket.destroy();
  });

  test("agrees on a subprotocol", async () => {
    const { url } = await useWebSockets({ route: { protocols: ["v2", "v1"] } });
    expect((await openWebSocket(`${url}/a`, ["v1", "v0"])).ws.protocol).toBe("v1");
    expect((await openWebSocket(`${url}/a`)).ws.protocol).toBe("");
    await expect(openWebSocket(`${url}/a`, ["v0"])).rejects.toThrow("400");
  });

  test("can be refused later, as plain HTTP", async () => {
    const { url } = await useWebSockets({
      route: {
        async answer({ refuse, accept }) {
          await Promise.resolve();
          refuse(200, ["content-type", "application/json"], '{"errCode":1501}');
          accept(echo);
        },
      },
    });
    await expect(openWebSocket(`${url}/a`)).rejects.toThrow("200");
  });

  test("in the middle of the answers to others ends the connection", async () => {
    const onUpgrade = vi.fn();
    const log = { debug: vi.fn(), info: vi.fn(), warn: vi.fn(), error: vi.fn() };
    const listener = createListener({ accept: toAccept(() => {}), log, onUpgrade });
    const { port } = await listener.listen({ host: "127.0.0.1", port: 0 });
    cleanups.push(() => listener.drain(0));
    const socket = net.connect({ port, host: "127.0.0.1" });
    socket.write(["GET / HTTP/1.1", "Host: localhost", "", ...upgradeLines("/a"), "", ""].join("\r\n"));
    await once(socket, "close");
    expect(onUpgrade).not.toHaveBeenCalled();
  });
});

describe("a peer that does what it must not", () => {
  const text = 0x81;
  const ping = 0x89;
  const repeat = (count: number, frame: Buffer) => Buffer.concat(Array.from({ length: count }, () => frame));

  test.each<[what: string, bytes: Buffer, code: number]>([
    ["a frame without a mask", clientFrame(text, "a", false), 1002],
    ["a reserved kind of frame", clientFrame(0x83, "a"), 1002],
    ["a reserved kind of control frame", clientFrame(0x8b, "a"), 1002],
    ["a reserved bit", clientFrame(0xc1, "a"), 1002],
    ["a continuation of nothing", clientFrame(0x80, "a"), 1002],
    ["a message within another", Buffer.concat([clientFrame(0x01, "a"), clientFrame(text, "b")]), 1002],
    ["a ping in pieces", clientFrame(0x09, "a"), 1002],
    ["a ping that is too long", clientFrame(ping, "a".repeat(126)), 1002],
    ["a close with half a code", clientFrame(0x88, "a"), 1002],
    ["a close with a code that is none", clientFrame(0x88, Buffer.of(0, 1)), 1002],
    ["a text that is no UTF-8", clientFrame(text, Buffer.of(0xc3, 0x28)), 1007],
    ["a message that says it is too long", Buffer.of(text, 0xff, 0, 0, 0, 0, 0, 1, 0x86, 0xa1), 1009],
    ["a message that says it is far too long", Buffer.of(text, 0xff, 0x7f, 0, 0, 0, 0, 0, 0, 0), 1009],
    [
      "a message that is too long by its pieces",
      Buffer.concat([clientFrame(0x01, "a".repeat(60_000)), clientFrame(0x80, "a".repeat(60_000))]),
      1009,
    ],
    [
      "a message in too many pieces",
      Buffer.concat([clientFrame(0x01, "a"), repeat(128, clientFrame(0x00, "a"))]),
      1008,
    ],
    ["too many messages", repeat(1_001, clientFrame(text, "a")), 1008],
    ["too many pings", repeat(40, clientFrame(ping)), 1008],
    ["too many pongs", repeat(40, clientFrame(0x8a)), 1008],
  ])("%s: it is told, and nobody else notices", async (_, bytes, code) => {
    const onClose = vi.fn();
    const { url, port } = await useWebSockets({ open: (connection) => ({ ...echo(connection), onClose }) });
    const other = await openWebSocket(`${url}/echo`);
    const raw = await openRawWebSocket(port, "/a");
    raw.socket.write(bytes);
    expect(await closeCodeOf(raw)).toBe(code);
    expect(onClose).toHaveBeenCalledExactlyOnceWith(expect.any(String));
    raw.socket.destroy();
    other.ws.send("still there");
    expect(await other.next()).toBe("still there");
  });

  test("drips a message: it is told", async () => {
    const { port } = await useWebSockets({ limits: { maxBufferedChunks: 8 } });
    const raw = await openRawWebSocket(port, "/a");
    raw.socket.write(clientFrame(text, "a".repeat(100)).subarray(0, 6));
    const dripping = setInterval(() => raw.socket.write("a"), 1);
    expect(await closeCodeOf(raw)).toBe(1008);
    clearInterval(dripping);
  });

  test("pings, and does not read: it is cut off", async () => {
    const limits = { maxWaitingPongs: 8, pings: { burst: 1_000, perSecond: 1 } };
    const { port } = await useWebSockets({ limits });
    const raw = await openRawWebSocket(port, "/a");
    raw.socket.write(repeat(20, clientFrame(ping)));
    expect(await closeCodeOf(raw)).toBeUndefined();
  });

  test("does not answer a close: the connection ends all the same", async () => {
    const { port } = await useWebSockets({
      limits: { closeTimeoutMs: 20 },
      open(connection) {
        connection.close(closeCodes.normal, "");
        return silent;
      },
    });
    const raw = await openRawWebSocket(port, "/a");
    expect((await raw.next())?.opcode).toBe(8);
    expect(await raw.next()).toBeUndefined();
  });

  test("does not read: it is held back, and hears the rest later", async () => {
    const pieces = 64;
    const piece = toTextFrame("x".repeat(65_536));
    const { promise: full, resolve } = Promise.withResolvers<number>();
    let sent = 0;
    const { port, url } = await useWebSockets({
      open(connection) {
        const pump = () => {
          while (sent < pieces) {
            sent++;
            if (!connection.write(piece)) return resolve(sent);
          }
        };
        return { ...silent, onText: pump, onDrain: pump };
      },
    });
    const other = await openWebSocket(`${url}/echo`);
    const raw = await openRawWebSocket(port, "/a");
    raw.socket.pause();
    raw.socket.write(clientFrame(text, "go"));
    expect(await full).toBeLessThan(pieces);
    other.ws.send("still there");
    expect(await other.next()).toBe("still there");
    raw.socket.resume();
    for (let i = 0; i < pieces; i++) expect((await raw.next())?.payload.length).toBe(65_536);
  });
});

describe("a silent peer", () => {
  /** A wheel whose times the test makes come. */
  function useTimers() {
    const set = new Set<Timer>();
    const waits: number[] = [];
    const timers: TimerWheel = {
      set(timer, ms) {
        waits.push(ms);
        set.add(timer);
      },
      clear: (timer) => void set.delete(timer),
    };
    const pass = () => {
      for (const timer of set) {
        set.delete(timer);
        timer.owner.onTime();
        break;
      }
    };
    return { timers, waits, pass, size: () => set.size };
  }

  test("is pinged, and lives while it answers", async () => {
    const { timers, waits, pass } = useTimers();
    const onPong = vi.fn();
    const { port } = await useWebSockets({ timers, open: () => ({ ...silent, onPong }) });
    const raw = await openRawWebSocket(port, "/a");
    pass();
    expect(await raw.next()).toEqual({ opcode: 9, payload: Buffer.alloc(0) });
    raw.socket.write(clientFrame(0x8a));
    await vi.waitFor(() => expect(onPong).toHaveBeenCalledOnce());
    pass();
    pass();
    expect(await raw.next()).toEqual({ opcode: 9, payload: Buffer.alloc(0) });
    expect(waits).toEqual([20_000, 10_000, 20_000, 10_000]);
  });

  test("that does not answer is cut off", async () => {
    const { timers, pass, size } = useTimers();
    const onClose = vi.fn();
    const { port, url } = await useWebSockets({ timers, open: () => ({ ...silent, onClose }) });
    const raw = await openRawWebSocket(port, "/a");
    pass();
    pass();
    expect((await raw.next())?.opcode).toBe(9);
    expect(await raw.next()).toBeUndefined();
    expect(onClose).toHaveBeenCalledExactlyOnceWith("the peer was silent for too long");
    expect(size()).toBe(0);
    const other = await openWebSocket(`${url}/echo`);
    other.ws.send("here");
    expect(await other.next()).toBe("here");
  });
});

describe("a stop", () => {
  test("is told to all, and takes no more", async () => {
    const { url, drain, listener } = await useWebSockets({
      open: (connection) => ({ ...silent, onStopping: () => connection.close(closeCodes.serviceRestart, "stopping") }),
    });
    const client = await openWebSocket(`${url}/a`);
    drain();
    expect(await client.next()).toEqual({ code: 1012, reason: "stopping" });
    await expect(openWebSocket(`${url}/a`)).rejects.toThrow("503");
    // Nothing is left of them.
    await listener.drain(60_000);
  });
});
