import { execFile, execFileSync } from "node:child_process";
import diagnostics from "node:diagnostics_channel";
import { once } from "node:events";
import http from "node:http";
import http2 from "node:http2";
import net from "node:net";
import { setImmediate as nextTurn, setTimeout as wait } from "node:timers/promises";
import { promisify } from "node:util";
import fc from "fast-check";
import { afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import type { Listener, ListenerAddress, ListenerOptions } from "../../src/http/listener.ts";
import { createListener } from "../../src/http/listener.ts";
import { deaf } from "../../src/http/receiver.ts";
import { createEngine } from "../../src/http2/engine/engine.ts";
import type { Accept } from "../../src/http2/exchange.ts";
import { createNodeHttp2 } from "../../src/http2/node.ts";
import { fuzz } from "../helpers/fuzz.ts";
import { type HttpHandler, type HttpResponse, toAccept } from "../helpers/http-handler.ts";
import { frame, frameType, get, preface, reset, settings, settingsAck, toFrames } from "../helpers/http2-frames.ts";

const curl = async (...args: string[]): Promise<string> =>
  (await promisify(execFile)("curl", ["--silent", "--show-error", "--max-time", "60", ...args])).stdout;

/** A program that connects 2,000 times to a port of this machine, and says so. */
const connectMany = `
  const net = require("node:net");
  let connected = 0;
  for (let i = 0; i < 2_000; i++) {
    net.connect(Number(process.argv[1]), "127.0.0.1", () => {
      if (++connected < 2_000) return;
      process.stdout.write(String(connected), () => process.exit());
    });
  }
`;

const answer = (res: HttpResponse, body: string): void => {
  res.write(body);
  res.end();
};

/** Tells what the handler saw, after it has read the whole request. */
const echo: HttpHandler = async (req, res) => {
  const chunks: Buffer[] = [];
  for await (const chunk of req) chunks.push(chunk as Buffer);
  answer(res, `${req.method} ${req.url} over ${req.httpVersion}: ${Buffer.concat(chunks).toString()}`);
};

/** Whatever serves HTTP/2, the port does the same, but where a test says how they rightly differ. */
const implementations = { node: createNodeHttp2, engine: createEngine };
let createHttp2 = createNodeHttp2;

type Fixture = Listener &
  ListenerAddress & { log: Record<"debug" | "info" | "warn" | "error", ReturnType<typeof vi.fn>> };

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function useListener({
  handler = echo,
  ...options
}: Partial<ListenerOptions> & { handler?: HttpHandler } = {}): Promise<Fixture> {
  const log = { debug: vi.fn(), info: vi.fn(), warn: vi.fn(), error: vi.fn() };
  const listener = createListener({ accept: toAccept(handler), log, createHttp2, ...options });
  const address = await listener.listen({ host: "127.0.0.1", port: 0 });
  cleanups.push(() => listener.drain(0));
  return { ...listener, ...address, log };
}

/** A TCP client that collects what it is sent, and whose errors are part of the game. */
async function useSocket(port: number, options: Partial<net.TcpNetConnectOpts> = {}) {
  const socket = net.connect({ port, host: "127.0.0.1", noDelay: true, ...options });
  const chunks: Buffer[] = [];
  socket.on("data", (chunk) => chunks.push(chunk));
  socket.on("error", () => {});
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  cleanups.push(() => socket.destroy());
  await once(socket, "connect");
  return {
    socket,
    closed,
    received: () => Buffer.concat(chunks),
    text: () => Buffer.concat(chunks).toString("latin1"),
  };
}

function useHttp2(url: string) {
  const session = http2.connect(url);
  session.on("error", () => {});
  cleanups.push(() => session.destroy());
  return session;
}

async function requestHttp2(session: http2.ClientHttp2Session, headers: http2.OutgoingHttpHeaders = {}, body?: string) {
  const stream = session.request(headers, { endStream: body === undefined });
  if (body !== undefined) stream.end(body);
  let text = "";
  let status: number | undefined;
  stream.setEncoding("utf8").on("data", (chunk: string) => {
    text += chunk;
  });
  stream.on("response", (response) => {
    status = response[":status"];
  });
  await once(stream, "close");
  return { status, text, code: stream.rstCode };
}

const until = (condition: () => void) => vi.waitFor(condition, { interval: 5 });

/** Fails where the machine does not let a process open as many files, and sockets are files. */
function requireOpenFiles(count: number): void {
  const { userLimits } = process.report.getReport() as { userLimits: { open_files: { soft: number | "unlimited" } } };
  const limit = userLimits.open_files.soft;
  if (limit === "unlimited" || limit >= count) return;
  throw new Error(`this test opens ${count} files, and this machine allows ${limit}: raise \`ulimit -n\``);
}

/** Far beyond a test's time: what waits for it fails. In milliseconds. */
const never = 600_000;

async function dribble(socket: net.Socket, bytes: Buffer): Promise<void> {
  for (const byte of bytes) {
    socket.write(Buffer.of(byte));
    await nextTurn();
  }
}

describe.each(["node", "engine"] as const)("with HTTP/2 of %s", (name) => {
  beforeAll(() => {
    createHttp2 = implementations[name];
  });

  describe("protocols", () => {
    test("curl is served over HTTP/1.1", async () => {
      const { url } = await useListener();
      expect(await curl("--http1.1", `${url}/a`)).toBe("GET /a over 1.1: ");
      expect(await curl("--http1.0", `${url}/a`)).toBe("GET /a over 1.1: ");
    });

    test("curl is served over h2c with prior knowledge", async () => {
      const { url } = await useListener();
      expect(await curl("--http2-prior-knowledge", "-d", "body", `${url}/a`)).toBe("POST /a over 2.0: body");
    });

    test.each([
      ["without upgrades", {}],
      ["with upgrades", { onUpgrade: () => expect.unreachable() }],
    ])("curl --http2, which asks to upgrade to h2c, stays on HTTP/1.1 %s", async (_, options) => {
      const { url } = await useListener(options);
      expect(await curl("--http2", `${url}/a`)).toBe("GET /a over 1.1: ");
      expect(await curl("--http2", "-d", "body", `${url}/a`)).toBe("POST /a over 1.1: body");
    });

    test("a WebSocket upgrade is handed to onUpgrade, with the bytes that came with it", async () => {
      const { port } = await useListener({
        onUpgrade: (req, socket, head) => socket.end(`taken ${req.url} ${head.toString()}`),
      });
      const client = await useSocket(port);
      client.socket.write("GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\nframe");
      await client.closed;
      expect(client.text()).toBe("taken /ws frame");
    });

    test("without onUpgrade a WebSocket upgrade is answered as a plain request", async () => {
      const { port } = await useListener();
      const client = await useSocket(port);
      client.socket.write("GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
      await until(() => expect(client.text()).toContain("GET /ws over 1.1"));
    });

    test("a preface and a request that come byte by byte are served over HTTP/2", async () => {
      const { port } = await useListener();
      const client = await useSocket(port);
      await dribble(client.socket, Buffer.concat([preface, settings, get(1)]));
      await until(() => expect(client.text()).toContain("GET / over 2.0"));
    });

    test("a request that comes byte by byte is served over HTTP/1.1, also when it begins like a preface", async () => {
      const { port } = await useListener();
      for (const method of ["GET", "POST", "PROPFIND"]) {
        const client = await useSocket(port);
        await dribble(client.socket, Buffer.from(`${method} /a HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody`));
        await until(() => expect(client.text()).toContain(`${method} /a over 1.1: body`));
      }
    });

    test("many requests on one connection are served over both protocols", async () => {
      const { url } = await useListener();
      const session = useHttp2(url);
      const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
      cleanups.push(() => agent.destroy());
      for (let i = 0; i < 20; i++) {
        expect(await requestHttp2(session, { ":path": `/${i}`, ":method": "POST" }, "b")).toMatchObject({
          text: `POST /${i} over 2.0: b`,
        });
        const [res] = (await once(http.get(`${url}/${i}`, { agent }), "response")) as [http.IncomingMessage];
        expect((await res.toArray()).join("")).toBe(`GET /${i} over 1.1: `);
      }
    });

    test("a burst of 2,000 connections fits into the backlog", async () => {
      const { port } = await useListener();
      // It holds this process up, so that none is accepted before all are connected.
      expect(execFileSync(process.execPath, ["-e", connectMany, String(port)], { timeout: 60_000 }).toString()).toBe(
        "2000",
      );
    });

    test("5,000 connections open at once are all answered", async () => {
      const total = 5_000;
      requireOpenFiles(2 * total + 500);
      const waiting: HttpResponse[] = [];
      const { port, counts } = await useListener({
        handler: (_req, res) => {
          waiting.push(res);
          if (waiting.length === total) for (const each of waiting) answer(each, "answered");
        },
      });
      const clients = Array.from({ length: total }, async (_, i) => {
        const socket = net.connect({ port, host: "127.0.0.1" });
        let text = "";
        try {
          socket
            .setEncoding("latin1")
            .write(i % 2 ? Buffer.concat([preface, settings, get(1)]) : "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
          for await (const chunk of socket) {
            text += chunk;
            if (text.includes("answered")) break;
          }
          return text.includes("answered");
        } finally {
          // RST leaves no TIME_WAIT behind for the tests that run beside this one.
          socket.resetAndDestroy();
        }
      });
      const answered = await Promise.all(clients);
      expect(answered.filter(Boolean)).toHaveLength(total);
      await until(() => expect(counts()).toEqual({ connections: 0, undecided: 0, refused: 0 }));
    });
  });

  describe("clients that close their side", () => {
    test("many HTTP/2 sessions whose clients send FIN are gone at once", async () => {
      const { port, counts } = await useListener({ handler: () => {} });
      const clients = await Promise.all(Array.from({ length: 300 }, () => useSocket(port, { allowHalfOpen: true })));
      for (const [i, { socket }] of clients.entries()) {
        socket.write(Buffer.concat([preface, settings, settingsAck, ...(i % 2 ? [get(1)] : [])]));
      }
      await until(() => {
        for (const client of clients)
          expect(toFrames(client.received())).toContainEqual(
            expect.objectContaining({ type: frameType.settings, flags: 1 }),
          );
      });
      expect(counts()).toMatchObject({ connections: 300, undecided: 0 });
      for (const { socket } of clients) socket.end();
      await until(() => expect(counts().connections).toBe(0));
    });

    test("an HTTP/1 client that sends FIN after its request still gets the answer", async () => {
      let ended = false;
      const onSocket = (message: unknown) => {
        const { socket } = message as { socket: net.Socket };
        socket.once("end", () => {
          ended = true;
        });
      };
      diagnostics.subscribe("net.server.socket", onSocket);
      cleanups.push(() => diagnostics.unsubscribe("net.server.socket", onSocket));
      const { port, counts } = await useListener({
        handler: async (_req, res) => {
          await until(() => expect(ended).toBe(true));
          answer(res, "late answer");
        },
      });
      const client = await useSocket(port, { allowHalfOpen: true });
      client.socket.end("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
      await once(client.socket, "end");
      expect(client.text()).toContain("late answer");
      await until(() => expect(counts().connections).toBe(0));
    });

    test("an HTTP/1 client that sends FIN in the middle of a response stream is noticed without a write", async () => {
      const closed = vi.fn();
      const { port } = await useListener({
        handler: (_req, res) => {
          res.on("close", closed);
          res.write("first");
        },
      });
      const client = await useSocket(port, { allowHalfOpen: true });
      client.socket.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
      await until(() => expect(client.text()).toContain("first"));
      client.socket.end();
      await until(() => expect(closed).toHaveBeenCalled());
    });

    test("an undecided client that sends FIN is closed", async () => {
      const { port, counts } = await useListener();
      const client = await useSocket(port, { allowHalfOpen: true });
      client.socket.end("PRI");
      await once(client.socket, "end");
      await until(() => expect(counts()).toMatchObject({ connections: 0, undecided: 0 }));
    });
  });

  describe("limits", () => {
    test("maxConcurrentStreams and maxHeaderBytes are announced in SETTINGS", async () => {
      const { url } = await useListener({ maxConcurrentStreams: 7, maxHeaderBytes: 5_000 });
      const [remote] = (await once(useHttp2(url), "remoteSettings")) as [http2.Settings];
      expect(remote).toMatchObject({ maxConcurrentStreams: 7, maxHeaderListSize: 5_000 });
    });

    test("a client that obeys maxConcurrentStreams gets all of its requests answered, never more at once", async () => {
      let open = 0;
      let mostOpen = 0;
      const { url } = await useListener({
        maxConcurrentStreams: 3,
        handler: async (_req, res) => {
          mostOpen = Math.max(mostOpen, ++open);
          res.on("close", () => open--);
          await wait(2);
          answer(res, "ok");
        },
      });
      const session = useHttp2(url);
      await once(session, "remoteSettings");
      const all = await Promise.all(Array.from({ length: 20 }, () => requestHttp2(session)));
      expect(all.map((each) => each.text)).toEqual(Array(20).fill("ok"));
      expect(mostOpen).toBe(3);
    });

    test("streams beyond maxConcurrentStreams are refused before the client has acknowledged the limit", async () => {
      const handler = vi.fn();
      const { port } = await useListener({ maxConcurrentStreams: 3, handler });
      const client = await useSocket(port);
      client.socket.write(Buffer.concat([preface, settings, ...[1, 3, 5, 7, 9].map((id) => get(id))]));
      const refused = () => toFrames(client.received()).filter(({ type }) => type === frameType.reset);
      await until(() => expect(refused()).toHaveLength(2));
      for (const { payload } of refused()) expect(payload.readUInt32BE()).toBe(http2.constants.NGHTTP2_REFUSED_STREAM);
      expect(handler).toHaveBeenCalledTimes(3);
    });

    test("a session that breaks an acknowledged maxConcurrentStreams harms no other", async () => {
      const handler = vi.fn();
      const { port, url } = await useListener({
        maxConcurrentStreams: 3,
        handler: (req, res) => (req.url === "/" ? handler() : echo(req, res)),
      });
      const client = await useSocket(port);
      client.socket.write(Buffer.concat([preface, settings]));
      await until(() => expect(toFrames(client.received()).length).toBeGreaterThan(1));
      client.socket.write(Buffer.concat([settingsAck, ...[1, 3, 5, 7, 9].map((id) => get(id))]));
      if (name === "node") {
        // It ends the session; the engine goes on refusing stream after stream, as often as streams may be reset.
        await client.closed;
        expect(toFrames(client.received())).toContainEqual(expect.objectContaining({ type: frameType.goaway }));
        expect(handler.mock.calls.length).toBeLessThanOrEqual(3);
      } else {
        const resets = () => toFrames(client.received()).filter(({ type }) => type === frameType.reset);
        const refused = { payload: Buffer.of(0, 0, 0, http2.constants.NGHTTP2_REFUSED_STREAM) };
        await until(() => expect(resets()).toMatchObject([refused, refused]));
        expect(handler).toHaveBeenCalledTimes(3);
      }
      expect(await curl("--http2-prior-knowledge", `${url}/a`)).toBe("GET /a over 2.0: ");
    });

    test("streams opened and reset in a flood end their session only", async () => {
      const { port, url } = await useListener();
      const client = await useSocket(port);
      const flood = Array.from({ length: 3_000 }, (_, i) => Buffer.concat([get(2 * i + 1), reset(2 * i + 1)]));
      client.socket.write(Buffer.concat([preface, settings, settingsAck, ...flood]));
      await client.closed;
      expect(await curl("--http2-prior-knowledge", `${url}/a`)).toBe("GET /a over 2.0: ");
    });

    test("HTTP/1 answers 431 to oversized headers and serves what is within", async () => {
      const { url } = await useListener({ maxHeaderBytes: 4_096 });
      const write = ["-w", "%{http_code}", "-o", "/dev/null"];
      expect(await curl(...write, "-H", `big: ${"x".repeat(3_500)}`, url)).toBe("200");
      expect(await curl(...write, "-H", `big: ${"x".repeat(4_500)}`, url)).toBe("431");
    });

    test("HTTP/2 resets a stream with oversized headers, and the session goes on", async () => {
      const { port } = await useListener({ maxHeaderBytes: 4_096 });
      const client = await useSocket(port);
      client.socket.write(Buffer.concat([preface, settings]));
      // The engine says as well how large its window is.
      await until(() => expect(toFrames(client.received())).toHaveLength(name === "node" ? 2 : 3));
      // A literal header, not indexed: name "a", value of 4,500 bytes.
      const big = Buffer.concat([Buffer.of(0x00, 1, 0x61, 0x7f, 0x95, 0x22), Buffer.alloc(4_500, "x")]);
      client.socket.write(Buffer.concat([settingsAck, get(1, big), get(3)]));
      await until(() => expect(client.text()).toContain("GET / over 2.0"));
      const answers = toFrames(client.received()).filter(({ stream }) => stream === 1);
      expect(answers).toMatchObject([
        { type: frameType.reset, payload: Buffer.of(0, 0, 0, http2.constants.NGHTTP2_ENHANCE_YOUR_CALM) },
      ]);
    });

    test("HTTP/2 answers 431 to oversized headers from a client that has not acknowledged the limit", async () => {
      const handler = vi.fn<HttpHandler>((_req, res) => answer(res, "ok"));
      const { url } = await useListener({ maxHeaderBytes: 4_096, handler });
      const first = useHttp2(url);
      const second = useHttp2(url);
      expect(await requestHttp2(first, { big: "x".repeat(4_500) })).toMatchObject({ status: 431 });
      expect(handler).not.toHaveBeenCalled();
      expect(await requestHttp2(second, { big: "x".repeat(3_500) })).toMatchObject({ status: 200 });
      expect(await requestHttp2(first)).toMatchObject({ status: 200 });
    });

    test("a silent connection is closed after sniffTimeoutMs, and so is one that drips the preface", async () => {
      const { port, counts } = await useListener({ sniffTimeoutMs: 100 });
      const patient = await useListener();
      await useSocket(patient.port);
      await until(() => expect(patient.counts().undecided).toBe(1));
      const silent = await useSocket(port);
      const dripping = await useSocket(port);
      let dripped = 0;
      const drip = setInterval(() => dripping.socket.write(preface.subarray(dripped, ++dripped)), 20);
      cleanups.push(() => clearInterval(drip));
      await Promise.all([silent.closed, dripping.closed]);
      await until(() => expect(counts()).toMatchObject({ connections: 0, undecided: 0 }));
      expect(patient.counts().undecided).toBe(1);
    });

    test("beyond maxUndecidedSockets the oldest silent connection gives way, counted, and logged once", async () => {
      const { port, url, counts, log } = await useListener({ maxUndecidedSockets: 2 });
      const silent = [];
      for (let i = 0; i < 5; i++) {
        silent.push(await useSocket(port));
        await until(() => expect(counts().undecided).toBe(Math.min(i + 1, 2)));
      }
      const [first, second, third, fourth, fifth] = silent;
      await Promise.all([first?.closed, second?.closed, third?.closed]);
      await until(() => expect(counts()).toEqual({ connections: 2, undecided: 2, refused: 3 }));
      expect(log.warn).toHaveBeenCalledTimes(1);
      // A new one is served although the table is full.
      expect(await curl(`${url}/a`)).toBe("GET /a over 1.1: ");
      await fourth?.closed;
      expect(fifth?.socket.destroyed).toBe(false);
      fifth?.socket.write("GET /b HTTP/1.1\r\nHost: x\r\n\r\n");
      await until(() => expect(fifth?.text()).toContain("GET /b over 1.1"));
    });

    test("pipelined requests are served one at a time, in order, and all of them", async () => {
      let now = 0;
      let most = 0;
      const { port } = await useListener({
        handler: async (req, res) => {
          most = Math.max(most, ++now);
          await wait(1);
          now--;
          answer(res, `<${req.url}>`);
        },
      });
      const { socket, text } = await useSocket(port);
      const paths = Array.from({ length: 300 }, (_, i) => `/${i}`);
      // Some in one packet, some on their own.
      for (let i = 0; i < paths.length; i += 100) {
        socket.write(
          paths
            .slice(i, i + 100)
            .map((path) => `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`)
            .join(""),
        );
        await until(() => expect(text()).toContain(`</${i + 50}>`));
      }
      await until(() => expect(text().match(/<[^>]+>/g)).toEqual(paths.map((path) => `<${path}>`)));
      expect(most).toBe(1);
    });

    test("a pipelined request with a body is read when its turn has come", async () => {
      const { port } = await useListener();
      const { socket, text } = await useSocket(port);
      const body = "x".repeat(300_000);
      const post = (path: string) =>
        `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
      socket.write(`GET /a HTTP/1.1\r\nHost: x\r\n\r\n${post("/b")}${post("/c")}GET /d HTTP/1.1\r\nHost: x\r\n\r\n`);
      await until(() => expect(text().match(/(GET|POST) \/\w over 1.1/g)).toHaveLength(4));
      expect(text().match(/(GET|POST) \/\w/g)).toEqual(["GET /a", "POST /b", "POST /c", "GET /d"]);
    });

    test("while an answer is made, no more is read than is on its way; beyond maxPipelinedRequests it is closed", async () => {
      const unanswered: HttpResponse[] = [];
      const { port, url, counts, log } = await useListener({
        maxPipelinedRequests: 10,
        handler: (req, res) => {
          if (req.url === "/hang") unanswered.push(res);
          else answer(res, "served");
        },
      });
      const flood = await useSocket(port);
      flood.socket.write("GET /hang HTTP/1.1\r\nHost: x\r\n\r\n".repeat(12));
      await flood.closed;
      expect(unanswered).toHaveLength(1);
      expect(counts().refused).toBe(1);
      expect(log.warn).toHaveBeenCalledWith(
        expect.objectContaining({ limit: "maxPipelinedRequests" }),
        expect.anything(),
      );

      // One request at a time, so that each is read by itself: then reading stops, and the kernel's buffers fill.
      const patient = await useSocket(port);
      const request = `GET /hang HTTP/1.1\r\nHost: x\r\nX-Long: ${"x".repeat(8_000)}\r\n\r\n`;
      patient.socket.write(request.repeat(2_000));
      await until(() => expect(unanswered).toHaveLength(2));
      expect(await curl(`${url}/other`)).toBe("served");
      expect(patient.socket.writableLength).toBeGreaterThan(0);
      expect(patient.socket.destroyed).toBe(false);
      expect(counts().refused).toBe(1);
    });

    test("an HTTP/2 connection without a stream for idleTimeoutMs is told to go, one with a stream is not", async () => {
      let open: HttpResponse | undefined;
      const { port, url, counts } = await useListener({
        idleTimeoutMs: 150,
        handler: (_req, res) => {
          open = res;
          res.write("stream");
        },
      });
      const silent = await useSocket(port);
      silent.socket.write(Buffer.concat([preface, settings, settingsAck]));
      const busy = useHttp2(url);
      await once(busy.request().resume(), "response");
      await silent.closed;
      expect(toFrames(silent.received())).toContainEqual(expect.objectContaining({ type: frameType.goaway }));
      await wait(300);
      expect(counts().connections).toBe(1);
      expect(busy.closed).toBe(false);
      const gone = once(busy, "close");
      open?.end();
      await gone;
      await until(() => expect(counts().connections).toBe(0));
    });

    test("an HTTP/2 stream whose answer is out is closed, although its client never ends the request", async () => {
      const { url } = await useListener({ handler: (_req, res) => answer(res, "refused") });
      const session = useHttp2(url);
      const stream = session.request({ ":method": "POST" }, { endStream: false });
      stream.write(Buffer.alloc(200_000));
      stream.resume();
      await once(stream, "close");
      expect(stream.rstCode).toBe(http2.constants.NGHTTP2_NO_ERROR);
      expect(session.destroyed).toBe(false);
    });

    test("two Host headers are answered 400, whatever they say", async () => {
      const handler = vi.fn<HttpHandler>((_req, res) => answer(res, "served"));
      const { port } = await useListener({ handler });
      for (const second of ["x", "y"]) {
        const client = await useSocket(port);
        client.socket.write(`GET / HTTP/1.1\r\nHost: x\r\nhost: ${second}\r\n\r\n`);
        await client.closed;
        expect(client.text()).toMatch(/^HTTP\/1.1 400 /);
      }
      expect(handler).not.toHaveBeenCalled();
    });

    test("connections beyond maxConnections are closed and counted", async () => {
      const { port, counts, log } = await useListener({ maxConnections: 2 });
      const first = await useSocket(port);
      await useSocket(port);
      await (await useSocket(port)).closed;
      expect(counts()).toMatchObject({ connections: 2, refused: 1 });
      expect(log.warn).toHaveBeenCalledTimes(1);
      first.socket.destroy();
      await until(() => expect(counts().connections).toBe(1));
      const next = await useSocket(port);
      next.socket.write("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
      await until(() => expect(next.text()).toContain("GET /a over 1.1"));
    });

    test("HTTP/1 headers that take longer than headersTimeoutMs are answered 408", async () => {
      const { port } = await useListener({ headersTimeoutMs: 100 });
      const client = await useSocket(port);
      client.socket.write("GET / HTTP/1.1\r\nHost: x\r\n");
      await client.closed;
      expect(client.text()).toContain("408");
    });

    test("a body that takes longer than requestTimeoutMs is answered 408 over HTTP/1 and reset over HTTP/2", async () => {
      const { port, url } = await useListener({ headersTimeoutMs: 100, requestTimeoutMs: 100 });
      const client = await useSocket(port);
      client.socket.write("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nslow");
      const session = useHttp2(url);
      const stream = session.request({ ":method": "POST" });
      stream.on("error", () => {});
      stream.write("slow");
      await Promise.all([client.closed, once(stream, "close")]);
      expect(client.text()).toContain("408");
      expect(stream.rstCode).toBe(http2.constants.NGHTTP2_CANCEL);
      expect(await requestHttp2(session)).toMatchObject({ status: 200 });
    });

    test("a body that takes less than requestTimeoutMs is served", async () => {
      const { url } = await useListener({ headersTimeoutMs: 1_000, requestTimeoutMs: 1_000 });
      const stream = useHttp2(url).request({ ":method": "POST" });
      stream.write("not ");
      await wait(300);
      stream.end("fast");
      expect((await stream.setEncoding("utf8").toArray()).join("")).toBe("POST / over 2.0: not fast");
    });

    test("requestTimeoutMs does not cut responses that begin later or last longer", async () => {
      const { url } = await useListener({
        headersTimeoutMs: 50,
        requestTimeoutMs: 50,
        handler: async (req, res) => {
          if (req.url === "/late") await wait(150);
          for (let i = 0; i < 6; i++) {
            res.write(`${i}`);
            await wait(30);
          }
          res.end();
        },
      });
      const session = useHttp2(url);
      const conversation = session.request({ ":method": "POST" });
      conversation.write("more to come");
      const bodies = await Promise.all([
        curl(`${url}/late`),
        requestHttp2(session).then((each) => each.text),
        requestHttp2(session, { ":method": "POST", ":path": "/late" }, "body").then((each) => each.text),
        conversation
          .setEncoding("utf8")
          .toArray()
          .then((parts) => parts.join("")),
      ]);
      expect(bodies).toEqual(Array(4).fill("012345"));
    });

    test("an idle HTTP/1 connection is closed after keepAliveTimeoutMs", async () => {
      const { port } = await useListener({ keepAliveTimeoutMs: 1 });
      const patient = await useListener();
      const [client, other] = [await useSocket(port), await useSocket(patient.port)];
      for (const { socket } of [client, other]) socket.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
      await client.closed;
      expect(client.text()).toContain("200 OK");
      expect(patient.counts().connections).toBe(1);
    });

    test.each(["sniffTimeoutMs", "maxConnections", "maxHeaderBytes", "pingTimeoutMs"] as const)(
      "%s refuses what is no positive integer",
      (name) => {
        const log = { debug: vi.fn(), info: vi.fn(), warn: vi.fn(), error: vi.fn() };
        for (const value of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 31]) {
          expect(() => createListener({ accept: toAccept(echo), log, [name]: value })).toThrow(name);
        }
        expect(() => createListener({ accept: toAccept(echo), log, headersTimeoutMs: 2, requestTimeoutMs: 1 })).toThrow(
          "headersTimeoutMs",
        );
      },
    );
  });

  describe("pings", () => {
    test("a dead HTTP/2 peer is destroyed although it has a stream open", async () => {
      const closed = vi.fn();
      const { port, counts } = await useListener({
        pingIntervalMs: 60,
        pingTimeoutMs: 60,
        handler: (_req, res) => {
          res.on("close", closed);
          res.write("stream");
        },
      });
      const client = await useSocket(port);
      client.socket.write(Buffer.concat([preface, settings, settingsAck, get(1)]));
      await client.closed;
      expect(toFrames(client.received())).toContainEqual(expect.objectContaining({ type: frameType.ping, flags: 0 }));
      await until(() => expect(closed).toHaveBeenCalled());
      expect(counts().connections).toBe(0);
    });

    test("a peer that answers pings stays, idle or streaming", async () => {
      const { url, counts } = await useListener({
        pingIntervalMs: 20,
        pingTimeoutMs: 500,
        handler: (_req, res) => res.write("stream"),
      });
      const session = useHttp2(url);
      let pings = 0;
      session.on("ping", () => pings++);
      await until(() => expect(pings).toBeGreaterThan(3));
      await once(session.request(), "response");
      const before = pings;
      await until(() => expect(pings).toBeGreaterThan(before + 3));
      expect(session.destroyed).toBe(false);
      expect(counts().connections).toBe(1);
    });

    test("a peer that keeps sending is neither pinged nor destroyed", async () => {
      const { port } = await useListener({ pingIntervalMs: 60, pingTimeoutMs: 60 });
      const client = await useSocket(port);
      client.socket.write(Buffer.concat([preface, settings, settingsAck]));
      const sending = setInterval(() => client.socket.write(frame(frameType.ping, 0, 0, Buffer.alloc(8))), 10);
      cleanups.push(() => clearInterval(sending));
      const pings = (flags: number) =>
        toFrames(client.received()).filter((each) => each.type === frameType.ping && each.flags === flags);
      await until(() => expect(pings(1).length).toBeGreaterThan(30));
      expect(pings(0)).toEqual([]);
      expect(client.socket.destroyed).toBe(false);
    });

    test.each([
      ["without waiting for pings", {}],
      ["also when a ping would be due", { pingIntervalMs: 60, pingTimeoutMs: 60 }],
    ])("a peer that has ended its session but not its socket is destroyed, %s", async (_, options) => {
      const { port, counts } = await useListener(options);
      const client = await useSocket(port, { allowHalfOpen: true });
      client.socket.write(
        Buffer.concat([preface, settings, settingsAck, frame(frameType.goaway, 0, 0, Buffer.alloc(8))]),
      );
      await once(client.socket, "end");
      await until(() => expect(counts().connections).toBe(0));
    });

    test("a peer that reads nothing of a large response is destroyed", async () => {
      const handler = vi.fn<HttpHandler>((_req, res) => {
        res.write(Buffer.alloc(16_000_000));
        res.end();
      });
      const { port, counts } = await useListener({ pingIntervalMs: 60, pingTimeoutMs: 60, handler });
      const client = await useSocket(port);
      client.socket.pause();
      // Windows of 2 GiB for the session and its streams, so that the response fills the socket.
      const window = Buffer.of(0x7f, 0, 0, 0);
      const bigWindows = Buffer.concat([
        frame(4, 0, 0, Buffer.concat([Buffer.of(0, 4), window])),
        frame(8, 0, 0, window),
      ]);
      client.socket.write(Buffer.concat([preface, bigWindows, settingsAck, get(1)]));
      await until(() => expect(handler).toHaveBeenCalled());
      await until(() => expect(counts().connections).toBe(0));
    });
  });

  describe("drain", () => {
    test("answers what is on its way on connections that are left open for it, and ends them", async () => {
      const { port, closePort, drain } = await useListener();
      const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
      cleanups.push(() => agent.destroy());
      const ask = () =>
        new Promise<string | undefined>((resolve, reject) => {
          http
            .get({ port, host: "127.0.0.1", agent }, (res) =>
              res.resume().on("end", () => resolve(res.headers.connection)),
            )
            .on("error", reject);
        });
      expect(await ask()).toBe("keep-alive");
      // Accepted, and nothing is known of it yet.
      const silent = net.connect(port, "127.0.0.1");
      await once(silent, "connect");
      await closePort();
      const drained = drain(20_000, 10_000);
      expect(await ask()).toBe("close");
      silent.end("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
      const [head] = await once(silent.setEncoding("latin1"), "data");
      expect(head).toContain("Connection: close");
      await drained;
    });

    test("takes all connections that wait to be taken, and closes the port before it tells anyone to go", async () => {
      const { port, closePort, drain } = await useListener();
      const waiting = Array.from({ length: 50 }, () => net.connect(port, "127.0.0.1"));
      const answers = waiting.map(async (socket) => {
        socket.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        const [head] = await once(socket.setEncoding("latin1"), "data");
        return String(head);
      });
      // By then the system has connected them, and none is taken: that is one in a turn of the event loop.
      await new Promise<void>((resolve) => process.nextTick(resolve));
      await closePort();
      await expect(useSocket(port)).rejects.toThrow("ECONNREFUSED");
      for (const head of await Promise.all(answers)) expect(head).toContain("Connection: keep-alive");
      await drain(never);
    });

    test("is done at once when all connections are idle, and refuses new ones", async () => {
      const { port, url, drain } = await useListener();
      const agent = new http.Agent({ keepAlive: true });
      cleanups.push(() => agent.destroy());
      const [res] = (await once(http.get(url, { agent }), "response")) as [http.IncomingMessage];
      await res.toArray();
      const session = useHttp2(url);
      await requestHttp2(session);
      const goaway = once(session, "goaway");
      const silent = await useSocket(port);
      await drain(never);
      expect((await goaway)[0]).toBe(http2.constants.NGHTTP2_NO_ERROR);
      await silent.closed;
      await expect(useSocket(port)).rejects.toThrow("ECONNREFUSED");
    });

    test("is not held up by HTTP/2 peers that do not answer GOAWAY", async () => {
      const open: HttpResponse[] = [];
      const { port, drain } = await useListener({ handler: (_req, res) => open.push(res) });
      const idle = await useSocket(port, { allowHalfOpen: true });
      idle.socket.write(Buffer.concat([preface, settings, settingsAck]));
      const busy = await useSocket(port, { allowHalfOpen: true });
      busy.socket.write(Buffer.concat([preface, settings, settingsAck, get(1)]));
      await until(() => expect(toFrames(idle.received()).length).toBeGreaterThan(1));
      await until(() => expect(open).toHaveLength(1));
      const drained = drain(never);
      for (const res of open) answer(res, "last answer");
      await drained;
      await until(() => {
        const goaway = expect.objectContaining({ type: frameType.goaway });
        expect(toFrames(idle.received())).toContainEqual(goaway);
        expect(toFrames(busy.received())).toContainEqual(goaway);
        expect(busy.text()).toContain("last answer");
      });
    });

    test("waits for open requests of both protocols, and no longer", async () => {
      const open: HttpResponse[] = [];
      const { url, port, drain } = await useListener({
        handler: (req, res) => {
          if (req.url === "/begun") res.write("begun, ");
          open.push(res);
        },
      });
      const overHttp2 = requestHttp2(useHttp2(url));
      const unary = await useSocket(port);
      unary.socket.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
      const streaming = await useSocket(port);
      streaming.socket.write("GET /begun HTTP/1.1\r\nHost: x\r\n\r\n");
      await until(() => expect(open).toHaveLength(3));
      const done = vi.fn();
      const drained = drain(never).then(done);
      await wait(50);
      expect(done).not.toHaveBeenCalled();
      for (const res of open) answer(res, "finished");
      await drained;
      expect((await overHttp2).text).toContain("finished");
      await Promise.all([unary.closed, streaming.closed]);
      expect(unary.text()).toMatch(/connection: close\r\n[\s\S]*finished/i);
      expect(streaming.text()).toContain("finished");
    });

    test("answers a request that was on its way, and closes its connection", async () => {
      const { port, closePort, drain, counts } = await useListener();
      const client = await useSocket(port);
      client.socket.write("POST /late HTTP/1.1\r\nHost: x\r\n");
      await until(() => expect(counts()).toMatchObject({ connections: 1, undecided: 0 }));
      await closePort();
      const drained = drain(never);
      client.socket.write("Content-Length: 4\r\n\r\nbody");
      await drained;
      await client.closed;
      expect(client.text()).toMatch(/connection: close\r\n[\s\S]*POST \/late over 1.1: body/i);
    });

    test("destroys what is still open at the deadline, whatever the protocol", async () => {
      const { url, port, drain, log } = await useListener({ handler: (_req, res) => res.write("endless") });
      const session = useHttp2(url);
      const stream = session.request();
      stream.on("error", () => {});
      await once(stream, "response");
      const client = await useSocket(port);
      client.socket.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
      await until(() => expect(client.text()).toContain("endless"));
      await drain(200);
      await client.closed;
      expect(log.warn).toHaveBeenCalledTimes(1);
    });

    test("can be called again, also with an earlier deadline", async () => {
      const { url, drain } = await useListener({ handler: (_req, res) => res.write("endless") });
      const stream = useHttp2(url).request();
      stream.on("error", () => {});
      await once(stream, "response");
      const done = vi.fn();
      const first = drain(Number.POSITIVE_INFINITY).then(done);
      await wait(50);
      expect(done).not.toHaveBeenCalled();
      await Promise.all([first, drain(50), drain(never)]);
      await drain(5_000);
    });

    test("is done at once on a listener that has never listened", async () => {
      const log = { debug: vi.fn(), info: vi.fn(), warn: vi.fn(), error: vi.fn() };
      await createListener({ accept: toAccept(echo), log, createHttp2 }).drain(5_000);
    });
  });

  describe("faults", () => {
    const faulty: Accept = (exchange) => {
      const { ":path": path = "" } = exchange.headers;
      const fault = () => {
        throw new Error("fault");
      };
      if (path.includes("begun")) {
        exchange.respond([":status", "200", "content-length", "100"]);
        exchange.write(Buffer.from("begun"));
      }
      return path.includes("async") ? { ...deaf, onEnd: fault } : fault();
    };

    test.each(["/sync", "/async"])("a handler that fails before its response gives a bare 500 (%s)", async (path) => {
      const { url, log } = await useListener({ accept: faulty });
      for (const protocol of ["--http1.1", "--http2-prior-knowledge"]) {
        expect(await curl(protocol, "-w", "%{http_code}", `${url}${path}`)).toBe("500");
      }
      expect(log.error).toHaveBeenCalledTimes(2);
    });

    test.each(["/sync-begun", "/async-begun"])(
      "a handler that fails in its response breaks it off (%s)",
      async (path) => {
        const { url, log } = await useListener({ accept: faulty });
        for (const protocol of ["--http1.1", "--http2-prior-knowledge"]) {
          await expect(curl(protocol, `${url}${path}`)).rejects.toThrow();
        }
        expect(log.error).toHaveBeenCalledTimes(2);
      },
    );

    test("a handler that writes after its end or after its client has gone does no harm", async () => {
      const gone = vi.fn();
      const { url } = await useListener({
        handler: (req, res) => {
          res.on("close", () => {
            res.write("after the close");
            res.end();
            gone();
          });
          if (req.url === "/endless") {
            res.write("endless");
            return;
          }
          if (req.url === "/destroyed") req.exchange.reset(http2.constants.NGHTTP2_INTERNAL_ERROR);
          answer(res, "ok");
          res.write("after the end");
          res.end();
        },
      });
      expect(await curl(url)).toBe("ok");
      for (const path of ["/", "/destroyed"]) {
        await curl("--http2-prior-knowledge", `${url}${path}`).catch(() => "Node resets the stream");
      }
      const session = useHttp2(url);
      const stream = session.request({ ":path": "/endless" });
      stream.on("error", () => {});
      await once(stream, "response");
      session.destroy();
      const req = http.get(`${url}/endless`).on("error", () => {});
      await once(req, "response");
      req.destroy();
      await until(() => expect(gone).toHaveBeenCalledTimes(5));
      expect(await curl(url)).toBe("ok");
    });

    test("an onUpgrade that throws closes that socket only", async () => {
      const { port, url, log } = await useListener({
        onUpgrade: () => {
          throw new Error("fault");
        },
      });
      const client = await useSocket(port);
      client.socket.write("GET /ws?token=a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
      await client.closed;
      // A query may hold a secret.
      expect(log.error).toHaveBeenCalledExactlyOnceWith(expect.objectContaining({ path: "/ws" }), "upgrade failed");
      expect(await curl(`${url}/a`)).toBe("GET /a over 1.1: ");
    });

    test("clients that reset their connection at any moment do no harm", async () => {
      const { port, url, counts } = await useListener({
        handler: (req, res) => (req.url === "/" ? res.write("endless") : echo(req, res)),
      });
      for (const bytes of [
        "",
        "PRI",
        "GET / HT",
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        Buffer.concat([preface, settings, get(1)]),
      ]) {
        const client = await useSocket(port);
        client.socket.write(bytes);
        await nextTurn();
        client.socket.resetAndDestroy();
      }
      await until(() => expect(counts().connections).toBe(0));
      expect(await curl(`${url}/a`)).toBe("GET /a over 1.1: ");
    });

    test("a session that fails in the packet that opened its streams does no harm", async () => {
      const { port, url } = await useListener();
      const pings = Array.from({ length: 3_000 }, () => frame(frameType.ping, 0, 0, Buffer.alloc(8)));
      const client = await useSocket(port);
      client.socket.pause();
      client.socket.write(Buffer.concat([preface, settings, get(1), ...pings]));
      client.socket.resume();
      await client.closed;
      expect(await curl("--http2-prior-knowledge", `${url}/a`)).toBe("GET /a over 2.0: ");
    });

    test("garbage does no harm, whatever it follows", async () => {
      const { port, url, counts } = await useListener();
      const starts = [
        Buffer.alloc(0),
        Buffer.from("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"),
        Buffer.from("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        Buffer.of(0x16, 0x03, 0x01, 0x02, 0x00),
        preface,
        Buffer.concat([preface, settings]),
        Buffer.concat([preface, settings, get(1)]),
        Buffer.concat([preface, settings, settingsAck, get(1), get(3)]),
      ];
      await fc.assert(
        fc.asyncProperty(
          fc.constantFrom(...starts),
          fc.uint8Array({ minLength: 1, maxLength: 200 }),
          async (start, garbage) => {
            const client = await useSocket(port);
            client.socket.end(Buffer.concat([start, garbage]));
            await client.closed;
          },
        ),
        fuzz(300),
      );
      await until(() => expect(counts()).toMatchObject({ connections: 0, undecided: 0 }));
      expect(await curl(`${url}/a`)).toBe("GET /a over 1.1: ");
      expect(await curl("--http2-prior-knowledge", `${url}/a`)).toBe("GET /a over 2.0: ");
    });
  });

  describe("listen", () => {
    test("tells the address, and a URL that works for a wildcard as well", async () => {
      const log = { debug: vi.fn(), info: vi.fn(), warn: vi.fn(), error: vi.fn() };
      for (const [host, inUrl] of [
        ["127.0.0.1", "127.0.0.1"],
        ["0.0.0.0", "127.0.0.1"],
      ] as const) {
        const listener = createListener({ accept: toAccept(echo), log, createHttp2 });
        cleanups.push(() => listener.drain(0));
        const address = await listener.listen({ host, port: 0 });
        expect(address).toEqual({ host, port: expect.any(Number), url: `http://${inUrl}:${address.port}` });
        expect(await curl(`${address.url}/a`)).toBe("GET /a over 1.1: ");
      }
    });

    test("rejects when the port is taken", async () => {
      const { port } = await useListener();
      const log = { debug: vi.fn(), info: vi.fn(), warn: vi.fn(), error: vi.fn() };
      await expect(
        createListener({ accept: toAccept(echo), log, createHttp2 }).listen({ host: "127.0.0.1", port }),
      ).rejects.toThrow("EADDRINUSE");
    });
  });
});
