import { gzipSync } from "node:zlib";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { BytesValueSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, type HandlerContext } from "@connectrpc/connect";
import { describe, expect, test, vi } from "vitest";
import type { Answers, FrameSink } from "../../src/answers.ts";
import { type Caller, callerKey } from "../../src/auth/caller.ts";
import { createBodyLimits } from "../../src/calls/body.ts";
import { failure } from "../../src/errors.ts";
import { ErrorInfoSchema } from "../../src/gen/google/rpc/error_details_pb.ts";
import { StatusSchema } from "../../src/gen/google/rpc/status_pb.ts";
import { toFrame } from "../../src/grpc/frame.ts";
import { createEngine } from "../../src/http2/engine/engine.ts";
import { createNodeHttp2 } from "../../src/http2/node.ts";
import { admin, type EchoImpl, textFrame, textsOf, useGrpcDoor } from "../helpers/grpc-door.ts";
import { type CreateProtocol, until } from "../helpers/http2-server.ts";

const say: EchoImpl = { say: async ({ value }) => ({ value: `you said ${value}` }) };
const user: Caller = { ...admin, userId: "alice", isAdmin: false };

/** A method that answers when it is told to, and its context. */
function useSlow() {
  const { promise, resolve } = Promise.withResolvers<{ value: string }>();
  const contexts: HandlerContext[] = [];
  const slow = (_: unknown, context: HandlerContext) => {
    contexts.push(context);
    return promise;
  };
  return { impl: { say: slow } satisfies EchoImpl, contexts, resolve };
}

/** Compressed, with the prefix of what is. */
function gzipFrame(message: Uint8Array): Buffer {
  const frame = Buffer.from(toFrame(gzipSync(message)));
  frame[0] = 1;
  return frame;
}

const textMessage = (value: string) => textFrame(value).subarray(5);

function infoOf(trailers: Readonly<Record<string, unknown>>) {
  const { details } = fromBinary(StatusSchema, Buffer.from(String(trailers["grpc-status-details-bin"]), "base64"));
  return fromBinary(ErrorInfoSchema, details[0]?.value ?? new Uint8Array());
}

const protocols: [name: string, create: CreateProtocol][] = [
  ["node:http2", createNodeHttp2],
  ["the engine", createEngine],
];

describe.each(protocols)("over %s", (_, createProtocol) => {
  const useDoor = (impl: EchoImpl, options?: Parameters<typeof useGrpcDoor>[2]) =>
    useGrpcDoor(createProtocol, impl, options);

  describe("a unary call", () => {
    test.each(["application/grpc", "application/grpc+proto"])("of %s is answered in kind", async (type) => {
      const door = await useDoor(say);
      const answer = await door.call("Say", textFrame("a"), { "content-type": type, operationid: "op-1" });
      expect(answer.headers).toMatchObject({ ":status": 200, "content-type": type, operationid: "op-1" });
      expect(textsOf(answer.body)).toEqual(["you said a"]);
      expect(answer.trailers).toEqual({ "grpc-status": "0" });
      expect(door.events).toEqual(["test.Echo/Say succeeded"]);
    });

    test("gets an operation id when it has none", async () => {
      const door = await useDoor(say);
      expect((await door.call("Say", textFrame("a"))).headers.operationid).toMatch(/^[0-9a-f-]{36}$/);
    });

    test("may come byte by byte", async () => {
      const door = await useDoor(say);
      const { stream, answer } = door.open("Say");
      for (const byte of textFrame("in pieces")) {
        await new Promise((resolve) => stream.write(Buffer.of(byte), resolve));
      }
      stream.end();
      expect(textsOf((await answer).body)).toEqual(["you said in pieces"]);
    });

    test.each<[string, Uint8Array, string, string]>([
      ["no message", new Uint8Array(), "12", "the body has no message"],
      ["two messages", Buffer.concat([textFrame("a"), textFrame("b")]), "12", "the body has more than one message"],
      ["half a message", textFrame("abc").subarray(0, 7), "3", "the message in the body is cut off"],
      ["a part of a prefix", Buffer.of(0, 0), "3", "the message in the body is cut off"],
      ["no prefix", Buffer.from("xxxxxxxx"), "13", "what should be a message has no flags of one"],
      ["no protobuf", toFrame(Buffer.from("hello")), "3", "the body is not a google.protobuf.StringValue"],
      ["a compressed message by no encoding", gzipFrame(textMessage("a")), "13", "compressed, by no encoding"],
    ])("of %s is refused", async (...[, body, status, errDlt]) => {
      const door = await useDoor(say);
      const answer = await door.call("Say", body);
      expect(answer).toMatchObject({ status, isTrailersOnly: true });
      expect(infoOf(answer.trailers).metadata).toMatchObject({ errCode: "1001", errMsg: "ArgsError" });
      expect(infoOf(answer.trailers).metadata.errDlt).toContain(errDlt);
      expect(door.events).toEqual([expect.stringContaining("test.Echo/Say failed: ")]);
      expect(textsOf((await door.call("Say", textFrame("next"))).body)).toEqual(["you said next"]);
    });

    test("that is refused says so in trailers alone, with its details", async () => {
      const door = await useDoor({ say: () => Promise.reject(failure("GroupIDExisted", "100 % \r\n é")) });
      const { headers, trailers, isTrailersOnly, body } = await door.call("Say", textFrame("a"), {
        operationid: "op-1",
      });
      expect({ isTrailersOnly, length: body.length }).toEqual({ isTrailersOnly: true, length: 0 });
      expect(headers).toMatchObject({ ":status": 200, "content-type": "application/grpc", operationid: "op-1" });
      expect(trailers).toMatchObject({
        "grpc-status": "6",
        "grpc-message": "GroupIDExisted: 100 %25 %0D%0A %C3%A9",
      });
      expect(infoOf(trailers)).toMatchObject({ reason: "GROUP_ID_EXISTED", metadata: { errCode: "1202" } });
    });

    test("whose method breaks tells nothing of the inside", async () => {
      const door = await useDoor({ say: () => Promise.reject(new Error("secret")) });
      const { status, trailers } = await door.call("Say", textFrame("a"));
      expect(status).toBe("13");
      expect(JSON.stringify(trailers)).not.toContain("secret");
      expect(infoOf(trailers).metadata).toMatchObject({ errCode: "500" });
    });

    test("has the headers and trailers of its method, and those of its error", async () => {
      const door = await useDoor({
        say({ value }, { requestHeader, responseHeader, responseTrailer }) {
          responseHeader.set("X-Asked", requestHeader.get("x-ask") ?? "");
          responseTrailer.set("x-sum-bin", "AQI");
          responseTrailer.set("grpc-status", "7");
          if (value === "fail") throw new ConnectError("no", Code.NotFound, { "x-why": "because" });
          return { value };
        },
      });
      const good = await door.call("Say", textFrame("a"), { "x-ask": "7" });
      expect(good.headers).toMatchObject({ "x-asked": "7", "content-type": "application/grpc" });
      expect(good.trailers).toEqual({ "x-sum-bin": "AQI", "grpc-status": "0" });
      const bad = await door.call("Say", textFrame("fail"), { "x-ask": "7" });
      expect(bad.trailers).toMatchObject({
        "x-asked": "7",
        "x-sum-bin": "AQI",
        "x-why": "because",
        "grpc-status": "5",
      });
    });

    test("keeps the bytes of its message when the wire goes on", async () => {
      const kept: Uint8Array[] = [];
      const door = await useDoor({
        async keep({ value }) {
          kept.push(value);
          return { value };
        },
      });
      const bytes = (fill: string) => {
        const value = new Uint8Array(Buffer.alloc(2_000, fill));
        return toFrame(toBinary(BytesValueSchema, { $typeName: "google.protobuf.BytesValue", value }));
      };
      await Promise.all([door.call("Keep", bytes("a")), door.call("Keep", bytes("b"))]);
      await door.call("Keep", bytes("c"));
      expect(kept.map((value) => String(Buffer.from(value)))).toEqual(
        ["a", "b", "c"].map((fill) => fill.repeat(2_000)),
      );
    });
  });

  describe("what is not the door's is left to others:", () => {
    test.each(["application/grpc+json", "application/grpc-web", "application/json", "application/grpc; x"])(
      "%s",
      async (type) => {
        const door = await useDoor(say);
        expect((await door.call("Say", textFrame("a"), { "content-type": type })).headers[":status"]).toBe(415);
      },
    );

    test("another method of HTTP", async () => {
      const door = await useDoor(say);
      expect((await door.call("Say", textFrame("a"), { ":method": "PUT" })).headers[":status"]).toBe(415);
    });
  });

  test.each([
    ["/test.Echo/Nothing", "test.Echo/*"],
    ["/other.Service/Say", "*"],
    ["/", "*"],
  ])("%s is unimplemented", async (path, label) => {
    const door = await useDoor(say);
    const answer = await door.call("", textFrame("a"), { ":path": path });
    expect(answer).toMatchObject({ status: "12", isTrailersOnly: true });
    expect(infoOf(answer.trailers).metadata).toMatchObject({ errCode: "1001" });
    const name = path.slice(1);
    expect(infoOf(answer.trailers).metadata.errDlt).toBe(`there is no method ${name}`);
    expect(door.events).toEqual([`${label} failed: [unimplemented] ArgsError: there is no method ${name}`]);
  });

  describe("the gate", () => {
    test("refuses before the body is there", async () => {
      const door = await useDoor(say, {
        authenticate: () => {
          throw failure("TokenExpiredError", "the token has expired");
        },
      });
      const { answer } = door.open("Say");
      expect(await answer).toMatchObject({ status: "16", isTrailersOnly: true });
    });

    test("may take its time: what comes meanwhile is kept", async () => {
      const gate = Promise.withResolvers<void>();
      const door = await useDoor(say, { authenticate: () => gate.promise });
      const { stream, answer } = door.open("Say");
      await new Promise((resolve) => stream.write(textFrame("early").subarray(0, 8), resolve));
      stream.end(textFrame("early").subarray(8));
      await until(() => expect(door.exchangesOf).toHaveLength(1));
      gate.resolve();
      expect(textsOf((await answer).body)).toEqual(["you said early"]);
    });

    test("that refuses late refuses all the same", async () => {
      const door = await useDoor(say, { authenticate: async () => Promise.reject(failure("TokenKickedError", "no")) });
      expect(await door.call("Say", textFrame("a"))).toMatchObject({ status: "16" });
    });
  });

  describe("a message over its limit is refused by its prefix", () => {
    const prefix = (length: number) => {
      const bytes = Buffer.alloc(5);
      bytes.writeUInt32BE(length, 1);
      return bytes;
    };

    test.each<[string, Caller, number, string, string]>([
      ["an admin's", admin, 100_000, "x".repeat(99_996), "8"],
      ["a user's, of a method for admins,", user, 16_384, "x".repeat(16_381), "7"],
    ])("%s", async (...[, caller, maxBytes, largest, status]) => {
      const door = await useDoor(say, { authenticate: ({ values }) => void values.set(callerKey, caller) });
      const { stream, answer } = door.open("Say");
      stream.write(prefix(maxBytes + 1));
      expect(await answer).toMatchObject({ status, isTrailersOnly: true });
      const fitting = textFrame(largest);
      expect(fitting.length - 5).toBe(maxBytes);
      expect((await door.call("Say", fitting)).status).toBe("0");
    });

    test("and those under way are bounded together", async () => {
      const bodyLimits = createBodyLimits({ maxBytes: 100_000, maxConnectionBytes: 250_000 });
      const door = await useDoor(say, { bodyLimits });
      const frame = textFrame("x".repeat(90_000));
      const calls = [];
      for (let i = 0; i < 4; i++) {
        const call = door.open("Say");
        await new Promise((resolve) => call.stream.write(frame.subarray(0, 80_000), resolve));
        calls.push(call);
        await until(() => expect(door.exchangesOf).toHaveLength(i + 1));
      }
      const [first] = calls;
      expect(infoOf((await first?.answer)?.trailers ?? {}).metadata).toMatchObject({ errCode: "429" });
      calls.at(-1)?.stream.end(frame.subarray(80_000));
      expect((await calls.at(-1)?.answer)?.status).toBe("0");
    });
  });

  describe("compression", () => {
    const gzip = { "grpc-encoding": "gzip" };

    test.each([1, 20_000])("gzip is taken, of %d characters; the answer is not compressed", async (length) => {
      const door = await useDoor({ say: async ({ value }) => ({ value: String(value.length) }) });
      const answer = await door.call("Say", gzipFrame(textMessage("x".repeat(length))), gzip);
      expect(answer.headers["grpc-encoding"]).toBeUndefined();
      expect(textsOf(answer.body)).toEqual([String(length)]);
    });

    test("a message may be uncompressed all the same", async () => {
      const door = await useDoor(say);
      expect((await door.call("Say", textFrame("a"), gzip)).status).toBe("0");
    });

    test("what inflates to more than the limit is refused, and what lies of it", async () => {
      const door = await useDoor(say);
      expect((await door.call("Say", gzipFrame(Buffer.alloc(100_001)), gzip)).status).toBe("8");
      const lying = gzipFrame(Buffer.alloc(50_000_000));
      lying.writeUInt32LE(90_000, lying.length - 4);
      expect((await door.call("Say", lying, gzip)).status).toBe("13");
    });

    test("another encoding is unimplemented, and the answer says which is not", async () => {
      const door = await useDoor(say);
      const answer = await door.call("Say", textFrame("a"), { "grpc-encoding": "deflate" });
      expect(answer.status).toBe("12");
      expect(answer.headers["grpc-accept-encoding"]).toBe("gzip");
    });
  });

  describe("a deadline", () => {
    test("ends the call, whatever its method does, and tells it", async () => {
      const { impl, contexts } = useSlow();
      const door = await useDoor(impl);
      expect((await door.call("Say", textFrame("a"), { "grpc-timeout": "20m" })).status).toBe("4");
      expect(contexts[0]?.signal).toMatchObject({ aborted: true, reason: { code: Code.DeadlineExceeded } });
      expect(door.events).toEqual(["test.Echo/Say failed: [deadline_exceeded] the deadline has passed"]);
    });

    test("ends one whose message has not come", async () => {
      const door = await useDoor(say);
      const { answer } = door.open("Say", { "grpc-timeout": "20000u" });
      expect((await answer).status).toBe("4");
    });

    test("is known to the method", async () => {
      const door = await useDoor({ say: async (_, { timeoutMs }) => ({ value: String(timeoutMs === undefined) }) });
      expect((await door.call("Say", textFrame("a"), { "grpc-timeout": "1H" })).status).toBe("3");
      const { impl, contexts, resolve } = useSlow();
      const slow = await useDoor(impl);
      const answer = slow.call("Say", textFrame("a"), { "grpc-timeout": "59S" });
      await until(() => expect(contexts).toHaveLength(1));
      expect(contexts[0]?.timeoutMs()).toBeGreaterThan(0);
      expect(contexts[0]?.timeoutMs()).toBeLessThanOrEqual(59_000);
      resolve({ value: "x" });
      expect((await answer).status).toBe("0");
    });

    test.each(["1", "1s", "-1S", "100000000S", "61S"])("%s is refused", async (timeout) => {
      const door = await useDoor(say);
      const answer = await door.call("Say", textFrame("a"), { "grpc-timeout": timeout });
      expect(answer.status).toBe("3");
      expect(infoOf(answer.trailers).metadata.errDlt).toContain("grpc-timeout");
    });
  });

  describe("a caller who goes away", () => {
    test.each(["resets the call", "loses the connection"])("and %s is told to the method, and logged", async (how) => {
      const { impl, contexts, resolve } = useSlow();
      const door = await useDoor(impl);
      const { stream } = door.open("Say");
      stream.end(textFrame("a"));
      await until(() => expect(contexts).toHaveLength(1));
      const { signal } = contexts[0] ?? expect.fail("no context");
      if (how === "resets the call") stream.close(8);
      else door.session.destroy();
      await until(() => expect(signal.aborted).toBe(true));
      expect(signal.reason).toMatchObject({ code: Code.Canceled });
      resolve({ value: "too late" });
      await until(() => expect(door.events).toEqual(["test.Echo/Say failed: [canceled] the caller has gone"]));
    });

    test("before its message is whole is logged", async () => {
      const door = await useDoor(say);
      const { stream } = door.open("Say");
      stream.write(textFrame("abc").subarray(0, 6));
      await until(() => expect(door.exchangesOf).toHaveLength(1));
      door.session.destroy();
      await until(() => expect(door.events).toEqual(["test.Echo/Say failed: [canceled] the caller has gone"]));
    });
  });

  test("when the server stops, calls that are still open end with the reason", async () => {
    const { impl, contexts } = useSlow();
    const door = await useDoor({
      ...impl,
      async *list() {
        yield { value: "one" };
        await new Promise(() => {});
      },
    });
    const unary = door.call("Say", textFrame("a"));
    const list = door.open("List");
    list.stream.end(textFrame("a"));
    await new Promise((resolve) => list.stream.once("data", resolve));
    await until(() => expect(contexts).toHaveLength(1));
    door.stopAll(new ConnectError("the server is stopping", Code.Unavailable));
    expect((await unary).status).toBe("14");
    expect((await list.answer).status).toBe("14");
  });

  describe("a server stream", () => {
    test("is its answers, one after the other, and its end", async () => {
      const door = await useDoor({
        async *list({ value }) {
          yield* value.split(" ").map((word) => ({ value: word }));
        },
      });
      const answer = await door.call("List", textFrame("one two three"));
      expect(textsOf(answer.body)).toEqual(["one", "two", "three"]);
      expect(answer.trailers).toEqual({ "grpc-status": "0" });
      expect(door.events).toEqual(["test.Echo/List opened", "test.Echo/List succeeded"]);
    });

    test("without answers has headers and trailers", async () => {
      const door = await useDoor({ async *list() {} });
      expect(await door.call("List", textFrame("a"))).toMatchObject({ isTrailersOnly: false, status: "0" });
    });

    test("may end with an error, before or after answers", async () => {
      const door = await useDoor({
        async *list({ value }) {
          if (value === "late") yield { value: "one" };
          throw failure("ServerStoppingError", "stopping");
        },
      });
      expect(await door.call("List", textFrame("early"))).toMatchObject({ status: "14", isTrailersOnly: true });
      const late = await door.call("List", textFrame("late"));
      expect(late).toMatchObject({ status: "14", isTrailersOnly: false });
      expect(textsOf(late.body)).toEqual(["one"]);
    });

    test("waits for who does not read, and ends with him", async () => {
      let made = 0;
      let isClosed = false;
      const door = await useDoor({
        async *list() {
          try {
            for (;;) {
              made++;
              yield { value: "x".repeat(10_000) };
            }
          } finally {
            isClosed = true;
          }
        },
      });
      const { stream } = door.open("List");
      stream.pause().end(textFrame("a"));
      let seen = -1;
      await vi.waitUntil(
        () => {
          const isSame = made > 0 && made === seen;
          seen = made;
          return isSame;
        },
        { interval: 200 },
      );
      expect(made).toBeLessThan(500);
      stream.close(8);
      await until(() => expect(isClosed).toBe(true));
    });
  });

  describe("a stream of both directions", () => {
    test("answers what comes while it comes, and ends with its caller", async () => {
      const door = await useDoor({
        async *talk(requests) {
          for await (const { value } of requests) yield { value: `${value}!` };
          yield { value: "bye" };
        },
      });
      const { stream, answer } = door.open("Talk");
      for (const text of ["one", "two"]) {
        stream.write(textFrame(text));
        const [frame] = await once(stream);
        expect(textsOf(frame)).toEqual([`${text}!`]);
      }
      stream.end();
      expect(textsOf((await answer).body)).toEqual(["one!", "two!", "bye"]);
      expect((await answer).status).toBe("0");
    });

    test.each([
      ["17 messages", 17, 1],
      ["64 KiB in 5", 5, 14_000],
    ])("makes a caller wait who sends more than its method takes: %s", async (...[, count, length]) => {
      const start = Promise.withResolvers<void>();
      const taken: string[] = [];
      const door = await useDoor({
        async *talk(requests) {
          await start.promise;
          for await (const { value } of requests) taken.push(value.slice(0, 4));
          yield { value: "all" };
        },
      });
      const { stream, answer } = door.open("Talk");
      await until(() => expect(door.exchangesOf).toHaveLength(1));
      const pause = vi.spyOn(door.exchangesOf[0] ?? expect.fail("no exchange"), "pause");
      const names = Array.from({ length: count }, (_, i) => String(i).padStart(4, "0"));
      for (const name of names) stream.write(textFrame(name + "x".repeat(length)));
      stream.end();
      await until(() => expect(pause).toHaveBeenCalled());
      start.resolve();
      expect((await answer).status).toBe("0");
      expect(taken).toEqual(names);
    });

    test("ends for its method, too, when a message is none", async () => {
      let seen: unknown;
      const door = await useDoor({
        async *talk(requests) {
          try {
            for await (const { value } of requests) yield { value };
          } catch (error) {
            seen = error;
            throw error;
          }
        },
      });
      const { stream, answer } = door.open("Talk");
      stream.write(textFrame("a"));
      await once(stream);
      stream.write(toFrame(Buffer.from("hello")));
      expect((await answer).status).toBe("3");
      await until(() => expect(seen).toBeInstanceOf(ConnectError));
      expect(door.events.filter((event) => event.includes("failed"))).toHaveLength(1);
    });
  });

  describe("answers that are encoded already", () => {
    /** Answers that the test writes, and what their source is told. */
    function usePipe(take: (value: string) => void = () => {}) {
      const sinks: FrameSink[] = [];
      const told: string[] = [];
      const answers = {
        pipe(sink: FrameSink) {
          sinks.push(sink);
          return {
            resume: () => void told.push("resume"),
            cancel: () => void told.push("cancel"),
            finish: () => void told.push("finish"),
            take: (message: unknown) => {
              const { value } = message as { value: string };
              told.push(value);
              take(value);
            },
          };
        },
        [Symbol.asyncIterator]: () => expect.fail("they are not asked for one by one"),
      } as unknown as Answers<never>;
      const sink = async () => {
        await until(() => expect(sinks).toHaveLength(1));
        return sinks[0] ?? expect.fail("no sink");
      };
      return { impl: { list: () => answers, talk: () => answers } satisfies EchoImpl, sink, told };
    }

    test("go out as they are, to the end", async () => {
      const { impl, sink, told } = usePipe();
      const door = await useDoor(impl);
      const answer = door.call("List", textFrame("a"));
      const { write, end } = bound(await sink());
      expect(write(textFrame("one"))).toBe(true);
      write(textFrame("two"));
      end();
      end();
      expect(write(textFrame("three"))).toBe(true);
      expect(textsOf((await answer).body)).toEqual(["one", "two"]);
      expect((await answer).status).toBe("0");
      expect(told).toEqual([]);
      expect(door.events).toEqual(["test.Echo/List opened", "test.Echo/List succeeded"]);
    });

    test("may end with an error, also at once", async () => {
      const { impl, sink } = usePipe();
      const door = await useDoor(impl);
      const answer = door.call("List", textFrame("a"));
      (await sink()).end(failure("TokenExpiredError", "the token expired"));
      expect((await answer).status).toBe("16");
      const broken = await useDoor({
        list: () => ({ pipe: () => Promise.reject(new Error("x")) }) as never,
        talk: () =>
          ({
            pipe() {
              throw failure("ConnOverMaxNumLimit", "too many");
            },
          }) as never,
      });
      const refused = await broken.call("Talk", new Uint8Array());
      expect(refused).toMatchObject({ status: "8", isTrailersOnly: true });
    });

    test("wait for who does not read, and are cancelled with him", async () => {
      const { impl, sink, told } = usePipe();
      const door = await useDoor(impl);
      const { stream } = door.open("List");
      stream.pause().end(textFrame("a"));
      const { write } = bound(await sink());
      const frame = textFrame("x".repeat(50_000));
      let written = 0;
      while (write(frame)) expect(++written).toBeLessThan(500);
      stream.resume();
      await until(() => expect(told).toEqual(["resume"]));
      stream.close(8);
      await until(() => expect(told).toEqual(["resume", "cancel"]));
      expect(door.events.at(-1)).toBe("test.Echo/List failed: [canceled] the caller has gone");
    });

    test("hear of the caller's messages, and of their end", async () => {
      const { impl, sink, told } = usePipe();
      const door = await useDoor(impl);
      const { stream, answer } = door.open("Talk");
      stream.write(textFrame("one"));
      stream.end(textFrame("two"));
      const { end } = bound(await sink());
      await until(() => expect(told).toEqual(["one", "two", "finish"]));
      end();
      expect((await answer).status).toBe("0");
    });

    test("end with what is thrown at a message", async () => {
      const { impl, told } = usePipe(() => {
        throw failure("ArgsError", "not this one");
      });
      const door = await useDoor(impl);
      const { stream, answer } = door.open("Talk");
      stream.write(textFrame("one"));
      expect((await answer).status).toBe("3");
      expect(told).toEqual(["one", "cancel"]);
    });
  });
});

const bound = (sink: FrameSink): FrameSink => ({
  write: (frame) => sink.write(frame),
  end: (error) => sink.end(error),
});

async function once(stream: NodeJS.ReadableStream): Promise<[Buffer]> {
  return new Promise((resolve) => stream.once("data", (chunk: Buffer) => resolve([chunk])));
}
