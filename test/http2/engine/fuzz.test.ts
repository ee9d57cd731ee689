import type { Socket } from "node:net";
import { Duplex } from "node:stream";
import { setImmediate as nextTurn } from "node:timers/promises";
import fc from "fast-check";
import { expect, test } from "vitest";
import { createEngine } from "../../../src/http2/engine/engine.ts";
import type { Exchange, Receiver } from "../../../src/http2/exchange.ts";
import { createDecoder } from "../../../src/http2/hpack/decoder.ts";
import { createNodeHttp2 } from "../../../src/http2/node.ts";
import { fuzz, fuzzTimeout } from "../../helpers/fuzz.ts";
import { mutations } from "../../helpers/hpack-fuzz.ts";
import { type Frame, flag, frameType, preface, settings, settingsAck } from "../../helpers/http2-frames.ts";
import { createRawPeer, FrameReader } from "../../helpers/http2-peer.ts";
import { anyScript, goodRequests, harmlessFrame, toScript } from "../../helpers/http2-scripts.ts";
import { type CreateProtocol, useConnection, useProtocol } from "../../helpers/http2-server.ts";

const ok = [":status", "200", "content-type", "text/plain"];
const limits = {
  maxConcurrentStreams: 3,
  maxHeaderBytes: 4_096,
  requestTimeoutMs: 60_000,
  idleTimeoutMs: 60_000,
  pingIntervalMs: 60_000,
  pingTimeoutMs: 60_000,
};

const untouched = fc.constant((bytes: Buffer) => bytes);

/** A socket whose other end is the test. */
class MemorySocket extends Duplex {
  readonly remoteAddress = "127.0.0.1";
  readonly sent: Buffer[] = [];

  setNoDelay(): this {
    return this;
  }

  override _read(): void {}

  override _write(chunk: Buffer, _: BufferEncoding, done: () => void): void {
    // The engine uses its buffers again.
    this.sent.push(Buffer.from(chunk));
    done();
  }
}

test("whatever comes, the engine says nothing wrong, and every exchange is over once", {
  timeout: fuzzTimeout,
}, async () => {
  const faults: object[] = [];
  const log = { debug() {}, info() {}, error: (fault: object) => void faults.push(fault) };
  let exchanges: { closes: number; ends: number; late: number }[] = [];
  let paused: Exchange[] = [];
  const engine = createEngine({
    limits,
    log,
    accept(exchange) {
      const seen = { closes: 0, ends: 0, late: 0 };
      const mode = exchanges.push(seen) % 5;
      if (mode === 1) exchange.respond(ok);
      if (mode === 2) paused.push(exchange);
      if (mode === 2) exchange.pause();
      const tell = () => {
        if (seen.closes > 0 || seen.ends > 1) seen.late++;
      };
      return {
        onData(bytes) {
          tell();
          if (mode === 1) exchange.write(Buffer.from(bytes));
          if (mode === 3) exchange.reset(8);
          if (mode === 4) exchange.answer(ok, Buffer.alloc(70_000), ["early", "1"]);
        },
        onEnd() {
          seen.ends++;
          tell();
          if (mode === 1) exchange.end(["grpc-status", "0"]);
          else exchange.answer(ok, Buffer.alloc(mode * 30_000), mode === 0 ? undefined : ["grpc-status", "0"]);
        },
        onDrain: tell,
        onClose() {
          seen.closes++;
        },
      };
    },
  });
  let answered = 0;
  let refused = 0;
  await fc.assert(
    fc.asyncProperty(anyScript, fc.oneof(untouched, untouched, mutations), fc.nat(400), async (script, mutate, cut) => {
      exchanges = [];
      paused = [];
      const socket = new MemorySocket();
      engine.adopt(socket as unknown as Socket);
      const bytes = Buffer.concat([preface, settings, settingsAck, mutate(script)]);
      // In two pieces, as a network may bring them.
      for (const piece of [bytes.subarray(0, 24 + cut), bytes.subarray(24 + cut)]) {
        if (piece.length > 0 && !socket.destroyed && !socket.readableEnded) socket.push(piece);
        await nextTurn();
      }
      for (const exchange of paused) exchange.resume();
      await nextTurn();
      const said = new FrameReader().read(Buffer.concat(socket.sent));
      judge(said);
      if (said.some(({ type }) => type === frameType.headers)) answered++;
      if (said.some(({ type }) => type === frameType.goaway)) refused++;
      socket.destroy();
      await nextTurn();
      for (const each of exchanges) expect(each).toMatchObject({ closes: 1, late: 0 });
    }),
    fuzz(2_000),
  );
  engine.close();
  expect(faults).toEqual([]);
  // Both have to occur, or what is made up is of no use.
  expect(Math.min(answered, refused)).toBeGreaterThan(100);
});

/** What a server says has to be right, whatever it was told. */
function judge(said: readonly Frame[]): void {
  const decoder = createDecoder({ maxTableSize: 4_096, maxListSize: 1_000_000 });
  const ended = new Set<number>();
  const begun = new Set<number>();
  let isFailed = false;
  expect(said[0]).toMatchObject({ type: frameType.settings, flags: 0 });
  for (const { type, flags, stream, payload } of said) {
    expect(isFailed).toBe(false);
    expect(payload.length).toBeLessThanOrEqual(16_384);
    if (type === frameType.headers) {
      expect(ended).not.toContain(stream);
      expect(decoder.decode(payload).list.length).toBeGreaterThan(0);
      begun.add(stream);
    }
    if (type === frameType.data) {
      expect(ended).not.toContain(stream);
      expect(begun).toContain(stream);
    }
    if ((type === frameType.data || type === frameType.headers) && flags & flag.endStream) ended.add(stream);
    if (type === frameType.reset) ended.add(stream);
    if (type === frameType.goaway && payload.readUInt32BE(4) !== 0) isFailed = true;
  }
}

test("the same requests get the same answers as from node:http2", { timeout: fuzzTimeout }, async () => {
  const echo = (exchange: Exchange, { body }: { body: () => string }): Partial<Receiver> => ({
    onEnd: () =>
      exchange.answer([...ok, "x-got", `${exchange.headers["x-a"]},${exchange.headers["x-b"]}`], Buffer.from(body()), [
        "grpc-status",
        "0",
      ]),
  });
  const creates: CreateProtocol[] = [createEngine, createNodeHttp2];
  const servers = await Promise.all(creates.map((create) => useProtocol(create, echo)));
  await fc.assert(
    fc.asyncProperty(
      goodRequests,
      fc.array(harmlessFrame, { maxLength: 20 }),
      fc.infiniteStream(fc.nat(4)),
      async (requests, between, order) => {
        const scripts = requests.map((request, at) => toScript(2 * at + 1, request));
        // New streams in their order, all else in any.
        const spare = [...between];
        const sent: Buffer[] = scripts.map(([first = Buffer.alloc(0)]) => first);
        const rest = scripts.map((script) => script.slice(1));
        for (const choice of order) {
          const open = rest.filter((frames) => frames.length > 0);
          if (open.length === 0) break;
          sent.push(open[choice % open.length]?.shift() ?? Buffer.alloc(0), spare.shift() ?? Buffer.alloc(0));
        }
        const bytes = Buffer.concat([preface, settings, settingsAck, ...sent]);
        const answers = await Promise.all(servers.map(({ port }) => exchangeAll(port, bytes, requests.length)));
        expect(answers[0]).toEqual(answers[1]);
        for (const [at, { body }] of requests.entries())
          expect(answers[0]?.[at]).toMatchObject({ body: body.join("") });
      },
    ),
    fuzz(150),
  );
});

/** All that came on each stream, once each has ended. */
async function exchangeAll(port: number, bytes: Buffer, count: number) {
  const { socket } = await useConnection(port);
  const peer = createRawPeer(socket);
  peer.send(bytes);
  const isEnd = ({ type, flags }: Frame) =>
    type === frameType.reset ||
    ((type === frameType.headers || type === frameType.data) && (flags & flag.endStream) !== 0);
  await peer.frame(() => peer.frames.filter(isEnd).length >= count);
  socket.destroy();
  const decoder = createDecoder({ maxTableSize: 4_096, maxListSize: 1_000_000 });
  const answers = Array.from({ length: count }, () => ({ fields: [] as string[][], body: "", reset: [] as number[] }));
  for (const { type, stream, payload } of peer.frames) {
    const answer = answers[(stream - 1) / 2];
    if (answer === undefined) continue;
    if (type === frameType.headers) answer.fields.push(withoutDate(decoder.decode(payload).list));
    if (type === frameType.data) answer.body += payload.toString();
    if (type === frameType.reset) answer.reset.push(payload.readUInt32BE());
  }
  return answers;
}

function withoutDate(list: readonly string[]): string[] {
  const at = list.indexOf("date");
  return at === -1 ? [...list] : list.toSpliced(at, 2);
}
