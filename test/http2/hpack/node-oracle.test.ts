import { once } from "node:events";
import * as http2 from "node:http2";
import { connect, createServer, type Server, type Socket } from "node:net";
import fc from "fast-check";
import { afterEach, expect, test } from "vitest";
import { CompressionError } from "../../../src/http2/hpack/compression-error.ts";
import { createDecoder } from "../../../src/http2/hpack/decoder.ts";
import { encodeFields, tableSizeUpdate } from "../../../src/http2/hpack/encode.ts";
import { fuzz, fuzzTimeout } from "../../helpers/fuzz.ts";
import { encodeBlocks, mutations, steps } from "../../helpers/hpack-fuzz.ts";
import {
  errorCode,
  type Frame,
  flag,
  frameType,
  headers,
  ping,
  preface,
  setting,
  settings,
  settingsAck,
  settingsOf,
} from "../../helpers/http2-frames.ts";
import { createRawPeer } from "../../helpers/http2-peer.ts";
import { listen } from "../../helpers/listen.ts";

/** nghttp2, as it is in Node, against which HPACK is held in both directions. */
const ending: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ending.splice(0).reverse()) await end();
});

const name = fc
  .string({ unit: fc.constantFrom(..."abcdefghijklmnopqrstuvwxyz0123456789-"), minLength: 1, maxLength: 30 })
  .map((text) => `x-${text}`);
const value = fc.oneof(
  fc.constantFrom("trailers", "application/grpc", "5S"),
  fc.string({ unit: fc.constantFrom(..."aAeEzZ09!~=/{}[]\u0080\u00ff"), minLength: 1, maxLength: 200 }),
);
const fieldLists = fc.uniqueArray(fc.tuple(name, value), { minLength: 1, maxLength: 12, selector: ([name]) => name });
const tableSizes = fc.option(fc.constantFrom(0, 40, 300, 4_096, 65_536), { freq: 3, nil: undefined });

test("what a client of Node sends is read as what it meant", { timeout: fuzzTimeout }, async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(fieldLists, tableSizes), { maxLength: 6 }), async (requests) => {
      const decoder = createDecoder({ maxTableSize: 4_096, maxListSize: 1_000_000 });
      const { client, peer } = await startClient();
      let told = 4_096;
      for (const [at, [fields, tableSize]] of requests.entries()) {
        if (tableSize !== undefined) {
          const acks = peer.frames.filter(isSettingsAck).length;
          peer.send(settingsOf([setting.headerTableSize, tableSize]));
          await peer.frame((frame) => isSettingsAck(frame) && peer.frames.filter(isSettingsAck).length > acks);
          decoder.setMaxTableSize(tableSize);
          told = tableSize;
        }
        const stream = 2 * at + 1;
        const request = client.request({ ":path": `/${at}`, ...Object.fromEntries(fields) }, { endStream: true });
        request.on("error", () => undefined).resume();
        const frame = await peer.frame((frame) => frame.type === frameType.headers && frame.stream === stream);
        const { list } = decoder.decode(withoutPriority(frame));
        expect(
          [...pairs(list)].filter(([name]) => !name.startsWith(":")),
          `a table of ${told}`,
        ).toEqual(fields);
        expect(list).toEqual(expect.arrayContaining([":method", "GET", ":path", `/${at}`, ":scheme", "http"]));
        peer.send(headers(stream, encodeFields([":status", "200"]), flag.endHeaders | flag.endStream));
      }
      client.destroy();
    }),
    fuzz(40),
  );
});

test("a client of Node sends blocks that are remembered", async () => {
  const decoder = createDecoder({ maxTableSize: 4_096, maxListSize: 16_384 });
  const { client, peer } = await startClient();
  const decoded = [];
  for (let stream = 1; stream < 10; stream += 2) {
    const request = client.request({ ":path": "/a/b", ":method": "POST", te: "trailers", "x-a": "b" });
    request.on("error", () => undefined).resume();
    const frame = await peer.frame((frame) => frame.type === frameType.headers && frame.stream === stream);
    decoded.push(decoder.decode(withoutPriority(frame)));
  }
  expect(decoded[4]).toBe(decoded[3]);
  expect(decoded[4]?.headers).toMatchObject({ ":path": "/a/b", ":method": "POST", te: "trailers", "x-a": "b" });
});

test("what is written is what a client of Node reads", { timeout: fuzzTimeout }, async () => {
  const { client, peer } = await startClient();
  let stream = -1;
  await fc.assert(
    fc.asyncProperty(fieldLists, async (fields) => {
      stream += 2;
      const request = client.request({ ":path": "/" }, { endStream: true });
      const response = once(request, "response");
      await peer.frame((frame) => frame.stream === stream);
      const block = encodeFields([":status", "200", "content-type", "application/grpc", ...fields.flat()]);
      peer.send(headers(stream, block, flag.endHeaders | flag.endStream));
      const [read] = await response;
      expect(Object.fromEntries(Object.entries(read))).toEqual({
        ":status": 200,
        "content-type": "application/grpc",
        ...Object.fromEntries(fields),
      });
      request.resume();
      await once(request, "close");
    }),
    fuzz(300),
  );
});

test("a client of Node whose table is gone wants it told, and that is enough", async () => {
  const block = encodeFields([":status", "204"]);
  const answer = async (...before: Uint8Array[]) => {
    const { client, peer } = await startClient({ settings: { headerTableSize: 0 } });
    const request = client.request({ ":path": "/" }, { endStream: true });
    const response = once(request, "response").catch(() => []);
    await peer.frame((frame) => frame.stream === 1);
    peer.send(headers(1, Buffer.concat([...before, block]), flag.endHeaders | flag.endStream));
    return { peer, response };
  };
  const { response } = await answer(tableSizeUpdate);
  expect(await response).toMatchObject([{ ":status": 204 }, expect.anything(), expect.anything()]);

  const { peer } = await answer();
  const goaway = await peer.frame((frame) => frame.type === frameType.goaway);
  expect(goaway?.payload.readUInt32BE(4)).toBe(errorCode.compression);
});

/** Where this decoder is stricter: nghttp2 takes longer integers, and any number of table sizes. */
const stricter = ["an integer is too large", "more than two table size updates"];

test("what is refused here is refused by Node, and the other way round", { timeout: fuzzTimeout }, async () => {
  const port = await startServer();
  let refused = 0;
  let taken = 0;
  await fc.assert(
    fc.asyncProperty(steps, mutations, async (all, mutate) => {
      const decoder = createDecoder({ maxTableSize: 4_096, maxListSize: 1_000_000 });
      const blocks = encodeBlocks(all).map(({ block }) => mutate(block));
      // A frame may not be longer, and what comes after one that is does not count.
      if (blocks.some(({ length }) => length > 16_384)) return;
      const sent = blocks.flatMap((block, at) => headers(2 * at + 1, block, flag.endHeaders | flag.endStream));
      const socket = connect(port, "127.0.0.1");
      const peer = createRawPeer(socket);
      peer.send(preface, settings, settingsAck, ...sent, ping("done"));
      const end = await peer.frame((frame) => frame.type === frameType.ping || frame.type === frameType.goaway);
      socket.destroy();
      const isRefused = end?.type === frameType.goaway && end.payload.readUInt32BE(4) === errorCode.compression;
      const error = catchError(() => {
        for (const block of blocks) decoder.decode(block);
      });
      if (error !== undefined) expect(error).toBeInstanceOf(CompressionError);
      if (stricter.includes(error?.message ?? "")) return;
      expect(error !== undefined, error?.message).toBe(isRefused);
      if (isRefused) refused++;
      else taken++;
    }),
    fuzz(300),
  );
  expect(Math.min(refused, taken)).toBeGreaterThan(30);
});

async function startServer(): Promise<number> {
  const server = http2.createServer({ maxSessionInvalidFrames: 1_000_000, maxSessionRejectedStreams: 1_000_000 });
  server.on("stream", (stream) => stream.on("error", () => undefined).respond({ ":status": 200 }, { endStream: true }));
  server.on("sessionError", () => undefined);
  return open(server);
}

/** A client of Node, and the bare socket at the other end. */
async function startClient(options: http2.ClientSessionOptions = {}) {
  const server = createServer();
  const port = await open(server);
  const accepted = once(server, "connection");
  const client = http2.connect(`http://127.0.0.1:${port}`, options);
  client.on("error", () => undefined);
  ending.push(() => client.destroy());
  const [socket]: Socket[] = await accepted;
  // Of thousands of them, none is to stay.
  server.close();
  if (socket === undefined) throw new Error("no connection");
  const peer = createRawPeer(socket, preface.length);
  peer.send(settings, settingsAck);
  await peer.frame(isSettingsAck);
  return { client, peer };
}

function open(server: Server): Promise<number> {
  ending.push(() => server.close());
  return listen(server);
}

function isSettingsAck(frame: Frame): boolean {
  return frame.type === frameType.settings && (frame.flags & flag.ack) !== 0;
}

function withoutPriority(frame: Frame | undefined): Buffer {
  if (frame === undefined || (frame.flags & flag.endHeaders) === 0) throw new Error("no whole block");
  return frame.payload.subarray(frame.flags & flag.priority ? 5 : 0);
}

function* pairs(list: readonly string[]): Generator<[name: string, value: string]> {
  for (let at = 0; at < list.length; at += 2) yield [list[at] ?? "", list[at + 1] ?? ""];
}

function catchError(run: () => void): Error | undefined {
  try {
    run();
    return undefined;
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}
