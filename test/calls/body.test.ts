import { once } from "node:events";
import http2 from "node:http2";
import { connect } from "node:net";
import type { DescMethod } from "@bufbuild/protobuf";
import { createContextValues } from "@connectrpc/connect";
import { afterEach, describe, expect, test, vi } from "vitest";
import { callerKey } from "../../src/auth/caller.ts";
import { type BodyLimitOptions, createBodyLimits } from "../../src/calls/body.ts";
import { IncomingBody } from "../../src/calls/incoming-body.ts";
import { toErrorFacts } from "../../src/errors.ts";
import { AuthService } from "../../src/gen/mustreach/auth/v1/auth_pb.ts";
import { DeliveryService } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { MsgService } from "../../src/gen/mustreach/msg/v1/msg_pb.ts";
import { createListener } from "../../src/http/listener.ts";
import type { Exchange, RequestHeaders } from "../../src/http2/exchange.ts";
import { createLog } from "../../src/observe/log.ts";
import { pausableExchange } from "../helpers/pausable-exchange.ts";

const cleanups: (() => unknown)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

const send = MsgService.method.sendBusinessNotification;

/** A body of a request, on its way to a reader on a real port. */
interface Upload {
  write(...pieces: (Buffer | string)[]): Promise<void>;
  end(): void;
  destroy(): void;
}

/** Reads the bodies of requests on a real port, on behalf of an admin or of a user. */
async function useReader(options: BodyLimitOptions, { method = send as DescMethod, isAdmin = true } = {}) {
  const limits = createBodyLimits(options);
  const reads: Promise<Buffer>[] = [];
  const caller = { userId: "u", platformId: 5, isAdmin, issuedAtMs: 0, expiresAtMs: 1 };
  const accept = (exchange: Exchange) => {
    const body = new IncomingBody(exchange, limits);
    const reading = body.read({ method, values: createContextValues().set(callerKey, caller) });
    reading.catch(() => {});
    reads.push(reading);
    return body;
  };
  const listener = createListener({ accept, log: createLog("silent") });
  const { port } = await listener.listen({ host: "127.0.0.1", port: 0 });
  cleanups.push(() => listener.drain(0));

  /** The reading of the next upload, once its headers are there. */
  const next = async (index: number) => {
    await vi.waitFor(() => expect(reads.length).toBeGreaterThan(index), { interval: 2 });
    return { body: reads[index] ?? expect.fail("there is no such body") };
  };

  return {
    read: next,
    port,
    async http1(length: number) {
      const index = reads.length;
      const socket = connect(port, "127.0.0.1");
      cleanups.push(() => socket.destroy());
      socket.setNoDelay(true).on("error", () => {});
      const upload: Upload = {
        async write(...pieces) {
          for (const piece of pieces) await new Promise((resolve) => socket.write(piece, resolve));
        },
        end: () => {},
        destroy: () => socket.destroy(),
      };
      await upload.write(`POST / HTTP/1.1\r\nHost: x\r\nContent-Length: ${length}\r\n\r\n`);
      return { ...upload, ...(await next(index)) };
    },
    /** A connection of HTTP/2, for several uploads. */
    async http2() {
      const session = http2.connect(`http://127.0.0.1:${port}`);
      session.on("error", () => {});
      cleanups.push(() => session.destroy());
      await once(session, "connect");
      return async () => {
        const index = reads.length;
        const stream = session.request({ ":method": "POST" }, { endStream: false });
        stream.on("error", () => {});
        const upload: Upload = {
          async write(...pieces) {
            for (const piece of pieces) await new Promise((resolve) => stream.write(piece, resolve));
          },
          end: () => stream.end(),
          destroy: () => stream.close(http2.constants.NGHTTP2_CANCEL),
        };
        return { ...upload, ...(await next(index)) };
      };
    },
  };
}

const factsOf = (body: Promise<Buffer>) => body.then(() => expect.fail("it was read"), toErrorFacts);

test("takes a body of the largest size, and not one byte more", async () => {
  const reader = await useReader({ maxBytes: 1_000 });
  const exact = await reader.http1(1_000);
  await exact.write("x".repeat(1_000));
  expect(String(await exact.body)).toBe("x".repeat(1_000));
  const larger = await reader.http1(1_001);
  await larger.write("x".repeat(1_001));
  await expect(larger.body).rejects.toMatchObject({ httpStatus: 413, message: expect.stringContaining("1000") });
});

test("counts bytes, not characters", async () => {
  const reader = await useReader({ maxBytes: 10 });
  const { write, body } = await reader.http1(12);
  await write("日本語文");
  await expect(body).rejects.toMatchObject({ httpStatus: 413 });
});

test("puts together what comes in pieces, a character too", async () => {
  const bytes = Buffer.from("😀日".repeat(2_000));
  const reader = await useReader({ maxBytes: 100_000 });
  const upload = await (await reader.http2())();
  for (let at = 0; at < bytes.length; at += 13) await upload.write(bytes.subarray(at, at + 13));
  upload.end();
  expect(String(await upload.body)).toBe("😀日".repeat(2_000));
});

test("an empty body is empty", async () => {
  const reader = await useReader({ maxBytes: 100 });
  expect(String(await (await reader.http1(0)).body)).toBe("");
});

test("fails when the caller goes away in the middle", async () => {
  const reader = await useReader({ maxBytes: 100 });
  const { write, body, destroy } = await reader.http1(10);
  await write("12345");
  destroy();
  await expect(body).rejects.toThrow("cut off");
});

test("does not take for whole what is cut off by a reset without an error", async () => {
  const { port, read } = await useReader({ maxBytes: 100 });
  const socket = connect(port, "127.0.0.1");
  cleanups.push(() => socket.destroy());
  const frame = (type: number, flags: number, stream: number, payload: Buffer) =>
    Buffer.concat([Buffer.of(0, 0, payload.length, type, flags, 0, 0, 0, stream), payload]);
  socket.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  socket.write(frame(0x4, 0, 0, Buffer.alloc(0)));
  // HEADERS with END_HEADERS: POST, http, / and the authority x; then DATA, and RST_STREAM with NO_ERROR.
  socket.write(frame(0x1, 0x4, 1, Buffer.of(0x83, 0x86, 0x84, 0x41, 1, 0x78)));
  socket.write(frame(0x0, 0, 1, Buffer.from("half")));
  const { body } = await read(0);
  socket.write(frame(0x3, 0, 1, Buffer.alloc(4)));
  await expect(body).rejects.toThrow("cut off");
});

describe("16 KiB are taken", () => {
  test.each([
    AuthService.method.getAdminToken,
    AuthService.method.parseToken,
    MsgService.method.pullMessages,
    DeliveryService.method.subscribe,
  ])("of $name by who is no admin, and no more", async (method) => {
    const reader = await useReader({ maxBytes: 1_000_000 }, { method, isAdmin: false });
    const fitting = await reader.http1(16_384);
    await fitting.write("x".repeat(16_384));
    expect((await fitting.body).length).toBe(16_384);
    const larger = await reader.http1(1_000_000);
    await larger.write("x".repeat(16_385));
    await expect(larger.body).rejects.toMatchObject({ httpStatus: 413, message: expect.stringContaining("16384") });
  });

  test("of a caller who may not call the method, and then it is 1002", async () => {
    const reader = await useReader({ maxBytes: 1_000_000 }, { isAdmin: false });
    const fitting = await reader.http1(16_384);
    await fitting.write("x".repeat(16_384));
    expect((await fitting.body).length).toBe(16_384);
    const larger = await reader.http1(1_000_000);
    await larger.write("x".repeat(16_385));
    expect(await factsOf(larger.body)).toMatchObject({ errCode: 1002, errDlt: "only app manager can send message" });
  });
});

describe("when the bytes under way are too many", () => {
  test("on one connection, its largest and oldest body gives way with 429, and small ones are read", async () => {
    const reader = await useReader({ maxBytes: 100_000, maxConnectionBytes: 250_000, maxInstanceBytes: 10_000_000 });
    const open = await reader.http2();
    const elsewhere = await (await reader.http2())();
    await elsewhere.write("x".repeat(90_000));
    const uploads = [];
    for (let i = 0; i < 4; i++) {
      const upload = await open();
      await upload.write("x".repeat(90_000));
      uploads.push(upload);
    }
    const small = await open();
    await small.write("small");
    small.end();
    expect(String(await small.body)).toBe("small");
    const [first, second, third, fourth] = uploads;
    for (const upload of [first, second]) {
      const thrown = upload?.body.then(() => expect.fail("it was read"), toErrorFacts);
      expect(await thrown).toMatchObject({ errCode: 429, errMsg: "TooManyRequestsError" });
    }
    for (const upload of [third, fourth, elsewhere]) {
      upload?.end();
      expect((await upload?.body)?.length).toBe(90_000);
    }
  });

  test("in all, also over many connections", async () => {
    const reader = await useReader({ maxBytes: 100_000, maxInstanceBytes: 200_000 });
    const uploads = [];
    for (let i = 0; i < 4; i++) {
      const upload = await reader.http1(95_000);
      await upload.write("x".repeat(90_000));
      uploads.push(upload);
    }
    const [first, second, third, fourth] = uploads;
    for (const upload of [first, second]) {
      expect(await upload?.body.then(() => expect.fail("it was read"), toErrorFacts)).toMatchObject({ errCode: 429 });
    }
    for (const upload of [third, fourth]) {
      await upload?.write("x".repeat(5_000));
      expect((await upload?.body)?.length).toBe(95_000);
    }
  });

  test("bodies of a byte are counted with what they cost", async () => {
    const reader = await useReader({ maxBytes: 100_000, maxConnectionBytes: 100_000 });
    const open = await reader.http2();
    const uploads = [];
    for (let i = 0; i < 30; i++) {
      const upload = await open();
      await upload.write("x");
      uploads.push(upload);
    }
    const outcomes = Promise.allSettled(uploads.map(({ body }) => body));
    const last = uploads.at(-1);
    last?.end();
    expect(String(await last?.body)).toBe("x");
    for (const { destroy } of uploads) destroy();
    const refused = (await outcomes).filter(
      (outcome) => outcome.status === "rejected" && toErrorFacts(outcome.reason).errCode === 429,
    );
    // The 25th is too many, and 18 may stay.
    expect(refused).toHaveLength(25 - 18);
  });

  test("what was read or cut off no longer counts", async () => {
    const reader = await useReader({ maxBytes: 100_000, maxInstanceBytes: 100_000 });
    for (let i = 0; i < 10; i++) {
      const cut = await reader.http1(95_000);
      await cut.write("x".repeat(90_000));
      cut.destroy();
      await expect(cut.body).rejects.toThrow("cut off");
      const whole = await reader.http1(90_000);
      await whole.write("x".repeat(90_000));
      expect((await whole.body).length).toBe(90_000);
    }
  });
});

describe("a body that comes before it is asked for", () => {
  function take(headers: RequestHeaders = {}) {
    const { state, exchange } = pausableExchange(headers);
    return { state, body: new IncomingBody(exchange, createBodyLimits({ maxBytes: 50_000 })) };
  }
  const callOf = (isAdmin: boolean) => {
    const caller = { userId: "u", platformId: 5, isAdmin, issuedAtMs: 0, expiresAtMs: 1 };
    return { method: send, values: createContextValues().set(callerKey, caller) };
  };

  test.each([{}, { "content-length": "4" }])("is kept (%j)", async (headers) => {
    const { body } = take(headers);
    const chunk = Buffer.from("body");
    body.onData(chunk);
    chunk.fill("x");
    body.onEnd();
    expect(String(await body.read(callOf(true)))).toBe("body");
  });

  test("waits beyond 16 KiB until it is known whose it is", async () => {
    const { state, body } = take();
    body.onData(Buffer.alloc(16_384, "x"));
    expect(state.isPaused).toBe(false);
    body.onData(Buffer.alloc(1, "x"));
    expect(state.isPaused).toBe(true);
    const reading = body.read(callOf(true));
    expect(state.isPaused).toBe(false);
    body.onData(Buffer.alloc(1_000, "x"));
    body.onEnd();
    expect((await reading).length).toBe(17_385);
  });

  test("is refused by what its caller may send", async () => {
    for (const length of [16_385, 50_001]) {
      const { body } = take();
      body.onData(Buffer.alloc(length));
      body.onEnd();
      expect(await factsOf(body.read(callOf(false)))).toMatchObject({ errCode: 1002 });
    }
    const { body } = take();
    body.onData(Buffer.alloc(50_001));
    await expect(body.read(callOf(true))).rejects.toMatchObject({ httpStatus: 413 });
  });

  test("is refused when it is longer than it says", async () => {
    const { body } = take({ "content-length": "4" });
    body.onData(Buffer.from("body"));
    body.onData(Buffer.from("and more"));
    body.onEnd();
    await expect(body.read(callOf(true))).rejects.toMatchObject({ httpStatus: 400 });
  });

  test("is cut off when its peer goes", async () => {
    const { body } = take();
    body.onData(Buffer.from("half"));
    body.onClose(false);
    await expect(body.read(callOf(true))).rejects.toThrow("cut off");
  });
});
