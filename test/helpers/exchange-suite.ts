import { once } from "node:events";
import http2 from "node:http2";
import { setImmediate as nextTurn } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import type { Exchange } from "../../src/http2/exchange.ts";
import { singleFields } from "../../src/http2/hpack/decoded-block.ts";
import { encodeFields } from "../../src/http2/hpack/encode.ts";
import { maxWaitingBytes } from "../../src/http2/protocol.ts";
import { frame, frameType, get, post, preface, reset, settings, settingsAck, toFrames } from "./http2-frames.ts";
import {
  answerOf,
  ask,
  type CreateProtocol,
  type Recorded,
  until,
  useConnection,
  useProtocol,
  useSession,
} from "./http2-server.ts";

const { NGHTTP2_CANCEL, NGHTTP2_INTERNAL_ERROR, NGHTTP2_NO_ERROR } = http2.constants;

/** Fields that make a request malformed: at all over HTTP/2, as they are in these tests, or when they come twice. */
const refusedTwice: ReadonlySet<string> = new Set([
  ...["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "http2-settings", "te"],
  ...["content-length", "host"],
]);

const ok = [":status", "200", "content-type", "text/plain"];
const good = ["grpc-status", "0"];

/** Answers with the whole body of the request, and trailers. */
const echo = (exchange: Exchange, { body }: Recorded) => ({
  onEnd: () => exchange.answer(ok, Buffer.from(body()), good),
});

/** Everything that can be done to an exchange. */
function useAll(exchange: Exchange): void {
  exchange.pause();
  exchange.resume();
  exchange.respond(ok);
  exchange.write(Buffer.from("more"));
  exchange.end(good);
  exchange.answer(ok, Buffer.from("again"), good);
  exchange.reset(NGHTTP2_CANCEL);
}

/** What every implementation of HTTP/2 does behind an Exchange: tested through real sockets. */
export function testExchanges(create: CreateProtocol): void {
  describe("answers", () => {
    test("a unary call gets its header fields, its body and its trailers", async () => {
      const { url, exchange } = await useProtocol(create, echo);
      const answer = await ask(useSession(url), { ":method": "POST", ":path": "/a?b", x: ["1", "2"] }, "body");
      expect(answer).toMatchObject({
        headers: { ":status": 200, "content-type": "text/plain", date: expect.any(String) },
        trailers: { "grpc-status": "0" },
        text: "body",
        code: NGHTTP2_NO_ERROR,
      });
      const { exchange: seen, ends, closes } = await exchange();
      expect(seen.headers).toMatchObject({ ":method": "POST", ":path": "/a?b", ":scheme": "http", x: "1, 2" });
      expect(seen.headers[":authority"]).toBe(new URL(url).host);
      await until(() => expect(closes).toEqual([true]));
      expect(ends).toHaveLength(1);
    });

    test("of a request's field that there can be once, the first counts; others are joined", async () => {
      const { port, exchange } = await useProtocol(create, () => ({}));
      const names = Object.entries(http2.constants)
        .filter(([constant]) => constant.startsWith("HTTP2_HEADER_"))
        .map(([, name]) => String(name))
        .filter((name) => !name.startsWith(":") && !refusedTwice.has(name));
      expect([...singleFields].filter((name) => !names.includes(name))).toEqual([]);
      names.push("token", "operationid");
      const { socket } = await useConnection(port);
      socket.write(Buffer.concat([preface, settings]));
      const join = (name: string) => (singleFields.has(name) ? "1" : name === "cookie" ? "1; 2" : "1, 2");
      // Node takes 128 fields of a request.
      for (let i = 0; i * 50 < names.length; i++) {
        const some = names.slice(i * 50, i * 50 + 50);
        const fields = ["1", "2"].flatMap((value) => some.flatMap((name) => [name, value]));
        socket.write(get(2 * i + 1, Buffer.from(encodeFields(fields))));
        const seen = (await exchange(i)).exchange.headers;
        expect(some.map((name) => [name, seen[name]])).toEqual(some.map((name) => [name, join(name)]));
      }
    });

    test("a request with two hosts or lengths is reset, also when they are the same", async () => {
      const { port, exchanges } = await useProtocol(create, () => ({}));
      const { socket, received } = await useConnection(port);
      const twice = (name: string, value: string) => Buffer.from(encodeFields([name, value, name, value]));
      socket.write(
        Buffer.concat([preface, settings, get(1, twice("host", "x")), get(3, twice("content-length", "0"))]),
      );
      const resets = () => toFrames(received()).filter(({ type }) => type === frameType.reset);
      const reset = { payload: Buffer.of(0, 0, 0, http2.constants.NGHTTP2_PROTOCOL_ERROR) };
      await until(() => expect(resets()).toMatchObject([reset, reset]));
      expect(exchanges).toHaveLength(0);
    });

    test("without trailers, without a body, and without either", async () => {
      const { url } = await useProtocol(create, (exchange) => {
        const path = exchange.headers[":path"];
        if (path === "/body") exchange.answer(ok, Buffer.from("body"));
        else if (path === "/trailers") exchange.answer(ok, new Uint8Array(), good);
        else if (path === "/neither") exchange.answer(ok, new Uint8Array());
        else {
          exchange.respond(ok);
          exchange.end();
        }
        return {};
      });
      const session = useSession(url);
      const of = (path: string) => ask(session, { ":path": path });
      expect(await of("/body")).toMatchObject({ text: "body", trailers: undefined, code: NGHTTP2_NO_ERROR });
      expect(await of("/trailers")).toMatchObject({ text: "", trailers: { "grpc-status": "0" } });
      for (const path of ["/neither", "/responded"]) {
        expect(await of(path)).toMatchObject({ headers: { ":status": 200 }, text: "", code: NGHTTP2_NO_ERROR });
      }
    });

    test("HEAD gets no body", async () => {
      const { url, exchange } = await useProtocol(create, (exchange) => {
        exchange.answer([...ok, "content-length", "4"], Buffer.from("body"));
        return {};
      });
      const answer = await ask(useSession(url), { ":method": "HEAD" });
      expect(answer).toMatchObject({ headers: { ":status": 200, "content-length": "4" }, text: "" });
      const { closes } = await exchange();
      await until(() => expect(closes).toEqual([true]));
    });

    test("trailers alone are one block of header fields that ends the stream", async () => {
      const { url, exchange } = await useProtocol(create, (exchange) => ({
        onData: () => exchange.end([":status", "200", "grpc-status", "5", "a", "1", "a", "2"]),
        onEnd: () => exchange.end([":status", "200", "grpc-status", "5"]),
      }));
      const session = useSession(url);
      const whole = await ask(session, { ":method": "POST" });
      expect(whole).toMatchObject({ isTrailersOnly: true, headers: { ":status": 200, "grpc-status": "5" } });
      // Of a request that is not complete, too: then the stream is closed without an error.
      const stream = session.request({ ":method": "POST" }, { endStream: false });
      const answer = answerOf(stream);
      stream.write("half");
      expect(await answer).toMatchObject({ isTrailersOnly: true, headers: { a: "1, 2" }, code: NGHTTP2_NO_ERROR });
      const { closes, ends } = await exchange(1);
      await until(() => expect(closes).toEqual([true]));
      expect(ends).toEqual([]);
    });

    test("messages of a stream come one by one, in order, then the trailers", async () => {
      const { url, exchange } = await useProtocol(create, (exchange) => {
        exchange.respond(ok);
        return {};
      });
      const stream = useSession(url).request({ ":method": "POST" }, { endStream: true });
      const answer = answerOf(stream);
      let text = "";
      stream.on("data", (chunk: Buffer) => {
        text += chunk;
      });
      const { exchange: answering } = await exchange();
      for (let i = 0; i < 20; i++) {
        expect(answering.write(Buffer.from(`<${i}>`))).toBe(true);
        await until(() => expect(text).toContain(`<${i}>`));
      }
      for (let i = 20; i < 40; i++) answering.write(Buffer.from(`<${i}>`));
      answering.end(["grpc-status", "0", "b", "1", "b", "2"]);
      expect(await answer).toMatchObject({
        text: Array.from({ length: 40 }, (_, i) => `<${i}>`).join(""),
        trailers: { "grpc-status": "0", b: "1, 2" },
      });
    });

    test("in both directions at once, message by message", async () => {
      const { url } = await useProtocol(create, (exchange) => {
        exchange.respond(ok);
        return {
          onData: (bytes) => exchange.write(Buffer.from(`<${Buffer.from(bytes)}>`)),
          onEnd: () => exchange.end(good),
        };
      });
      const stream = useSession(url).request({ ":method": "POST" }, { endStream: false });
      const answer = answerOf(stream);
      let text = "";
      stream.on("data", (chunk: Buffer) => {
        text += chunk;
      });
      for (const message of ["a", "b", "c"]) {
        stream.write(message);
        await until(() => expect(text).toContain(`<${message}>`));
      }
      stream.end();
      expect(await answer).toMatchObject({ text: "<a><b><c>", trailers: { "grpc-status": "0" } });
    });

    test("bytes that are shared by many exchanges reach each of them", async () => {
      const { url, exchanges } = await useProtocol(create, (exchange) => {
        exchange.respond(ok);
        return {};
      });
      const sessions = [useSession(url), useSession(url)];
      const answers = Array.from({ length: 20 }, (_, i) => sessions[i % 2]?.request()).flatMap((stream) =>
        stream === undefined ? [] : [answerOf(stream)],
      );
      await until(() => expect(exchanges).toHaveLength(20));
      const shared = Buffer.from("shared ".repeat(1_000));
      for (const { exchange } of exchanges) exchange.write(shared);
      for (const { exchange } of exchanges) exchange.write(shared);
      for (const { exchange } of exchanges) exchange.end(good);
      for (const { text } of await Promise.all(answers)) expect(text).toBe("shared ".repeat(2_000));
    });

    test("bodies larger than any window come whole, in both directions", async () => {
      const { url } = await useProtocol(create, echo);
      const body = Buffer.alloc(3_000_000, "0123456789");
      const { text, trailers } = await ask(useSession(url), { ":method": "POST" }, body);
      expect(Buffer.from(text).equals(body)).toBe(true);
      expect(trailers).toMatchObject({ "grpc-status": "0" });
    });

    test("many exchanges of one connection are served at once, and know that they are of one", async () => {
      const { url, exchanges } = await useProtocol(create, echo);
      const session = useSession(url);
      const other = useSession(url);
      const answers = await Promise.all(
        Array.from({ length: 100 }, (_, i) => ask(i === 99 ? other : session, { ":method": "POST" }, `${i}`)),
      );
      expect(answers.map(({ text }) => text)).toEqual(Array.from({ length: 100 }, (_, i) => `${i}`));
      const connections = new Set(exchanges.map(({ exchange }) => exchange.connection));
      expect(connections.size).toBe(2);
      for (const connection of connections) {
        expect(connection).toMatchObject({ isHttp2: true, remoteAddress: "127.0.0.1" });
      }
    });

    test("an answer that is out before the request is complete closes the stream without an error", async () => {
      const { url, exchange } = await useProtocol(create, (exchange) => ({
        onData: () => {
          if (exchange.headers[":path"] === "/empty") exchange.answer(ok, new Uint8Array());
          else if (exchange.headers[":path"] === "/paused") {
            exchange.pause();
            exchange.answer(ok, Buffer.from("refused"));
          } else exchange.answer(ok, Buffer.from("refused"));
        },
      }));
      const session = useSession(url);
      for (const [index, path] of ["/", "/empty", "/paused"].entries()) {
        const stream = session.request({ ":method": "POST", ":path": path }, { endStream: false });
        const answer = answerOf(stream);
        stream.write(Buffer.alloc(200_000));
        expect(await answer).toMatchObject({
          headers: { ":status": 200 },
          text: path === "/empty" ? "" : "refused",
          code: NGHTTP2_NO_ERROR,
        });
        const { closes, ends } = await exchange(index);
        await until(() => expect(closes).toEqual([true]));
        expect(ends).toEqual([]);
      }
      expect(session.destroyed).toBe(false);
    });
  });

  describe("resets", () => {
    test("by the server reach the client with their code", async () => {
      const { url, exchange } = await useProtocol(create, (exchange) => {
        if (exchange.headers[":path"] === "/begun") {
          exchange.respond(ok);
          exchange.write(Buffer.from("begun"));
        }
        return { onEnd: () => exchange.reset(http2.constants.NGHTTP2_REFUSED_STREAM) };
      });
      const session = useSession(url);
      for (const [index, path] of ["/", "/begun"].entries()) {
        const { code } = await ask(session, { ":method": "POST", ":path": path }, "body");
        expect(code).toBe(http2.constants.NGHTTP2_REFUSED_STREAM);
        const { closes } = await exchange(index);
        await until(() => expect(closes).toEqual([false]));
      }
      expect(session.destroyed).toBe(false);
    });

    test.each([NGHTTP2_CANCEL, NGHTTP2_NO_ERROR])("by the client end the exchange, with code %i", async (code) => {
      const { port, exchange } = await useProtocol(create, () => ({}));
      const { socket } = await useConnection(port);
      socket.write(Buffer.concat([preface, settings, settingsAck, post(1), frame(0, 0, 1, Buffer.from("half"))]));
      const { body, closes, ends, exchange: cut } = await exchange();
      await until(() => expect(body()).toBe("half"));
      socket.write(reset(1, code));
      await until(() => expect(closes).toEqual([false]));
      useAll(cut);
      await nextTurn();
      // Half a request is none.
      expect(ends).toEqual([]);
      expect(closes).toEqual([false]);
    });

    test("by the client are noticed by an exchange that is paused", async () => {
      const { port, exchange } = await useProtocol(create, (exchange) => {
        exchange.pause();
        return {};
      });
      for (const code of [NGHTTP2_CANCEL, NGHTTP2_NO_ERROR]) {
        const { socket } = await useConnection(port);
        socket.write(Buffer.concat([preface, settings, settingsAck, post(1), frame(0, 0, 1, Buffer.from("half"))]));
        const { closes, ends } = await exchange(code === NGHTTP2_CANCEL ? 0 : 1);
        socket.write(reset(1, code));
        await until(() => expect(closes).toEqual([false]));
        expect(ends).toEqual([]);
      }
    });
  });

  describe("back-pressure", () => {
    test("a paused exchange holds up its client, and no other exchange of the connection", async () => {
      const { url, exchange } = await useProtocol(create, (exchange, recorded) => {
        if (exchange.headers[":path"] !== "/paused") return echo(exchange, recorded);
        exchange.pause();
        return { onEnd: () => exchange.answer(ok, Buffer.from(`${recorded.body().length}`)) };
      });
      const session = useSession(url);
      const body = Buffer.alloc(5_000_000, "x");
      const stream = session.request({ ":method": "POST", ":path": "/paused" });
      const answer = answerOf(stream);
      stream.end(body);
      const { exchange: paused, body: taken, ends } = await exchange();
      for (let i = 0; i < 3; i++) {
        expect(await ask(session, { ":method": "POST" }, "another")).toMatchObject({ text: "another" });
      }
      expect(taken().length).toBeLessThan(1_200_000);
      expect(ends).toEqual([]);
      paused.resume();
      expect(await answer).toMatchObject({ text: `${body.length}` });
    });

    test("who writes is told when too much waits, and when it is less again", async () => {
      const { url, exchange } = await useProtocol(create, (exchange) => {
        exchange.respond(ok);
        return {};
      });
      const stream = useSession(url).request({}, { endStream: true });
      const { exchange: answering, drains } = await exchange();
      const piece = Buffer.alloc(10_000, "x");
      let pieces = 0;
      const fill = () => {
        do pieces++;
        while (answering.write(piece) && pieces < 10_000);
      };
      fill();
      // What the windows of the client take is not much more than a megabyte.
      expect(pieces * piece.length).toBeGreaterThan(maxWaitingBytes);
      expect(pieces * piece.length).toBeLessThan(maxWaitingBytes + 2_000_000);
      expect(drains).toEqual([]);
      const answer = answerOf(stream);
      for (let round = 1; round <= 3; round++) {
        await until(() => expect(drains).toHaveLength(round));
        fill();
      }
      answering.end(good);
      const { text, code } = await answer;
      expect(text.length).toBe(pieces * piece.length);
      expect(code).toBe(NGHTTP2_NO_ERROR);
    });

    test("a connection on which many answers wait takes further requests", async () => {
      const { port, exchanges } = await useProtocol(create, (exchange) => {
        if ("last" in exchange.headers) return {};
        exchange.respond(ok);
        const piece = Buffer.alloc(150_000, "x");
        while (exchange.write(piece));
        return {};
      });
      const { socket, received } = await useConnection(port);
      const ids = Array.from({ length: 100 }, (_, i) => 2 * i + 1);
      socket.write(Buffer.concat([preface, settings, settingsAck, ...ids.map((id) => get(id))]));
      await until(() => expect(exchanges).toHaveLength(ids.length));
      socket.write(get(201, Buffer.from(encodeFields(["last", ""]))));
      await until(() => expect(exchanges.at(-1)?.exchange.headers).toHaveProperty("last"));
      expect(toFrames(received()).filter(({ type }) => type === frameType.reset)).toEqual([]);
    });
  });

  describe("a peer that goes away", () => {
    const steps: readonly (readonly [when: string, bytes: Buffer, path: string])[] = [
      ["before its request", Buffer.concat([preface, settings]), ""],
      ["in its header fields", Buffer.concat([preface, settings, get(1).subarray(0, 12)]), ""],
      ["when its request is complete", Buffer.concat([preface, settings, settingsAck, get(1)]), "silent"],
      [
        "in its body",
        Buffer.concat([preface, settings, settingsAck, post(1), frame(0, 0, 1, Buffer.from("x"))]),
        "silent",
      ],
      ["in its answer", Buffer.concat([preface, settings, settingsAck, get(1)]), "begun"],
      ["when its answer has ended", Buffer.concat([preface, settings, settingsAck, get(1)]), "ended"],
      ["while much of its answer waits", Buffer.concat([preface, settings, settingsAck, get(1)]), "much"],
    ];

    test.each(steps)("%s, does no harm", async (_, bytes, kind) => {
      const { port, url, exchanges, sockets, log } = await useProtocol(create, (exchange, recorded) => {
        if (exchange.headers[":path"] === "/echo") return echo(exchange, recorded);
        if (kind !== "silent") exchange.respond(ok);
        if (kind === "begun") exchange.write(Buffer.from("begun"));
        if (kind === "ended") exchange.end(good);
        if (kind === "much") exchange.write(Buffer.alloc(5_000_000));
        return { onClose: () => useAll(exchange) };
      });
      for (const leave of ["end", "reset"] as const) {
        const before = exchanges.length;
        const { socket } = await useConnection(port);
        socket.write(bytes);
        if (kind !== "") await until(() => expect(exchanges.length).toBe(before + 1));
        if (leave === "end") socket.destroy();
        else socket.resetAndDestroy();
        // While the news is on its way.
        const gone = exchanges[before];
        if (gone !== undefined) useAll(gone.exchange);
        await until(() => expect(gone?.closes ?? [true]).toHaveLength(1));
      }
      await until(() => expect(sockets.size).toBe(0));
      expect(log.error).not.toHaveBeenCalled();
      expect(await ask(useSession(url), { ":method": "POST", ":path": "/echo" }, "alive")).toMatchObject({
        text: "alive",
      });
    });

    test("with FIN alone is let go", async () => {
      const { port, exchange, sockets } = await useProtocol(create, () => ({}));
      const { socket } = await useConnection(port, { allowHalfOpen: true });
      socket.write(Buffer.concat([preface, settings, settingsAck, get(1)]));
      const { closes } = await exchange();
      socket.end();
      await until(() => expect(closes).toEqual([false]));
      await until(() => expect(sockets.size).toBe(0));
    });

    test("in the packet that opened its stream, does no harm", async () => {
      const { port, url, log } = await useProtocol(create, echo);
      const { socket, closed } = await useConnection(port);
      // A DATA frame of no stream is an error of the connection.
      socket.write(Buffer.concat([preface, settings, get(1), frame(0, 0, 0, Buffer.from("x"))]));
      await closed;
      expect(await ask(useSession(url), { ":method": "POST" }, "alive")).toMatchObject({ text: "alive" });
      expect(log.error).not.toHaveBeenCalled();
    });
  });

  describe("limits", () => {
    test("are announced in SETTINGS", async () => {
      const { url } = await useProtocol(create, echo, { maxConcurrentStreams: 7, maxHeaderBytes: 5_000 });
      const [remote] = (await once(useSession(url), "remoteSettings")) as [http2.Settings];
      expect(remote).toMatchObject({ maxConcurrentStreams: 7, maxHeaderListSize: 5_000 });
    });

    test("header fields that are too large do not reach the service, and others do", async () => {
      const { url, exchanges } = await useProtocol(create, echo, { maxHeaderBytes: 4_096 });
      const session = useSession(url);
      // Before the limit is acknowledged, and after it.
      const first = ask(session, { ":method": "POST", big: "x".repeat(4_500) }, "");
      expect(await first).toMatchObject({ headers: { ":status": 431 } });
      const second = await ask(session, { ":method": "POST", big: "x".repeat(4_500) }, "");
      expect(second.headers[":status"] ?? "reset").toBeOneOf([431, "reset"]);
      expect(exchanges).toHaveLength(0);
      expect(await ask(session, { ":method": "POST", big: "x".repeat(3_500) }, "b")).toMatchObject({ text: "b" });
    });

    test("streams beyond maxConcurrentStreams are refused", async () => {
      const { port, exchanges } = await useProtocol(create, () => ({}), { maxConcurrentStreams: 3 });
      const { socket, received } = await useConnection(port);
      socket.write(Buffer.concat([preface, settings, ...[1, 3, 5, 7, 9].map((id) => get(id))]));
      const refused = () => toFrames(received()).filter(({ type }) => type === frameType.reset);
      await until(() => expect(refused()).toHaveLength(2));
      for (const { payload } of refused()) expect(payload.readUInt32BE()).toBe(http2.constants.NGHTTP2_REFUSED_STREAM);
      expect(exchanges).toHaveLength(3);
    });

    test("a request that takes longer than requestTimeoutMs is reset, unless its answer has begun", async () => {
      const { url, exchange } = await useProtocol(
        create,
        (exchange) => {
          if (exchange.headers[":path"] === "/begun") exchange.respond(ok);
          return {};
        },
        { requestTimeoutMs: 50 },
      );
      const session = useSession(url);
      const begun = session.request({ ":method": "POST", ":path": "/begun" }, { endStream: false });
      const begunAnswer = answerOf(begun);
      begun.write("half");
      await exchange(0);
      const slow = session.request({ ":method": "POST" }, { endStream: false });
      const slowAnswer = answerOf(slow);
      slow.write("half");
      expect(await slowAnswer).toMatchObject({ code: NGHTTP2_CANCEL });
      const { closes } = await exchange(1);
      await until(() => expect(closes).toEqual([false]));
      expect(begun.closed).toBe(false);
      (await exchange(0)).exchange.end(good);
      expect(await begunAnswer).toMatchObject({ trailers: { "grpc-status": "0" } });
    });

    test("a session without a stream for idleTimeoutMs is told to go, one with a stream is not", async () => {
      const { port, url, exchange } = await useProtocol(
        create,
        (exchange) => {
          exchange.respond(ok);
          return {};
        },
        { idleTimeoutMs: 50 },
      );
      const busy = useSession(url);
      const answer = answerOf(busy.request());
      await exchange();
      const silent = await useConnection(port);
      silent.socket.write(Buffer.concat([preface, settings, settingsAck]));
      await once(silent.socket, "end");
      expect(toFrames(silent.received())).toContainEqual(expect.objectContaining({ type: frameType.goaway }));
      expect(busy.closed).toBe(false);
      (await exchange()).exchange.end(good);
      expect(await answer).toMatchObject({ code: NGHTTP2_NO_ERROR });
      await once(busy, "close");
    });
  });

  describe("pings", () => {
    test("find a peer that is dead, although it has a stream open", async () => {
      const { port, exchange, sockets } = await useProtocol(
        create,
        (exchange) => {
          exchange.respond(ok);
          return {};
        },
        { pingIntervalMs: 30, pingTimeoutMs: 30 },
      );
      const { socket, closed, received } = await useConnection(port);
      socket.write(Buffer.concat([preface, settings, settingsAck, get(1)]));
      await closed;
      expect(toFrames(received())).toContainEqual(expect.objectContaining({ type: frameType.ping, flags: 0 }));
      const { closes } = await exchange();
      await until(() => expect(closes).toEqual([false]));
      expect(sockets.size).toBe(0);
    });

    test("are answered by a peer that lives, which stays", async () => {
      const { url, exchange } = await useProtocol(
        create,
        (exchange) => {
          exchange.respond(ok);
          return {};
        },
        { pingIntervalMs: 20, pingTimeoutMs: 5_000 },
      );
      const session = useSession(url);
      let pings = 0;
      session.on("ping", () => pings++);
      const answer = answerOf(session.request());
      await until(() => expect(pings).toBeGreaterThan(3));
      (await exchange()).exchange.end(good);
      expect(await answer).toMatchObject({ code: NGHTTP2_NO_ERROR });
      expect(session.destroyed).toBe(false);
    });

    test("of the peer are answered", async () => {
      const { port } = await useProtocol(create, echo);
      const { socket, received } = await useConnection(port);
      const payload = Buffer.from("12345678");
      socket.write(Buffer.concat([preface, settings, frame(frameType.ping, 0, 0, payload)]));
      await until(() =>
        expect(toFrames(received())).toContainEqual({ type: frameType.ping, flags: 1, stream: 0, payload }),
      );
    });
  });

  describe("drain", () => {
    test("lets idle sessions go at once, and others after their last exchange", async () => {
      const { url, protocol, exchange, sockets } = await useProtocol(create, (exchange, recorded) =>
        exchange.headers[":path"] === "/slow" ? {} : echo(exchange, recorded),
      );
      const idle = useSession(url);
      await ask(idle, { ":method": "POST" }, "");
      const busy = useSession(url);
      const answer = ask(busy, { ":path": "/slow" });
      const { exchange: slow } = await exchange(1);
      const told = [once(idle, "goaway"), once(busy, "goaway")];
      const idleGone = once(idle, "close");
      const busyGone = once(busy, "close");
      protocol.drain();
      for (const [code] of await Promise.all(told)) expect(code).toBe(NGHTTP2_NO_ERROR);
      await idleGone;
      slow.answer(ok, Buffer.from("last"), good);
      expect(await answer).toMatchObject({ text: "last", trailers: { "grpc-status": "0" } });
      await busyGone;
      await until(() => expect(sockets.size).toBe(0));
    });

    test("is not held up by a peer that keeps its side open", async () => {
      const { port, protocol, sockets } = await useProtocol(create, echo);
      const { socket, received } = await useConnection(port, { allowHalfOpen: true });
      socket.write(Buffer.concat([preface, settings, settingsAck]));
      await until(() => expect(toFrames(received()).length).toBeGreaterThan(1));
      protocol.drain();
      await until(() => expect(sockets.size).toBe(0));
    });
  });

  describe("a fault of the service", () => {
    test("before its answer is a bare 500, in its answer a reset, and logged", async () => {
      const { url, log } = await useProtocol(create, (exchange) => {
        const fault = () => {
          throw new Error("fault");
        };
        const path = exchange.headers[":path"] ?? "";
        if (path.startsWith("/begun")) {
          exchange.respond(ok);
          exchange.write(Buffer.from("begun"));
        }
        if (path.endsWith("accept")) fault();
        return path.endsWith("data") ? { onData: fault } : { onEnd: fault };
      });
      const session = useSession(url);
      const of = (path: string) => ask(session, { ":method": "POST", ":path": path }, "body");
      for (const path of ["/accept", "/data", "/end"]) {
        expect(await of(path)).toMatchObject({ headers: { ":status": 500 }, text: "" });
      }
      for (const path of ["/begun-accept", "/begun-data", "/begun-end"]) {
        expect(await of(path)).toMatchObject({ code: NGHTTP2_INTERNAL_ERROR });
      }
      expect(log.error).toHaveBeenCalledTimes(6);
    });

    test("after its answer does no harm", async () => {
      const { url, exchange } = await useProtocol(create, (exchange) => {
        exchange.answer(ok, Buffer.from("answer"), good);
        useAll(exchange);
        return { onClose: () => useAll(exchange) };
      });
      expect(await ask(useSession(url))).toMatchObject({ headers: { ":status": 200 } });
      const { closes } = await exchange();
      await until(() => expect(closes).toHaveLength(1));
    });
  });
}
