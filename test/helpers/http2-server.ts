import { once } from "node:events";
import http2 from "node:http2";
import net from "node:net";
import { expect, onTestFinished, vi } from "vitest";
import type { Exchange, Receiver } from "../../src/http2/exchange.ts";
import type { Limits, Protocol, ProtocolOptions } from "../../src/http2/protocol.ts";
import { listen } from "./listen.ts";

/** Creates the HTTP/2 that is under test. */
export type CreateProtocol = (options: ProtocolOptions) => Protocol;

/** An exchange on the server, and what its receiver was told. */
export interface Recorded {
  readonly exchange: Exchange;
  readonly body: () => string;
  /** Whether the request was complete, the drains, and what onClose said of each call of it. */
  readonly ends: number[];
  readonly drains: number[];
  readonly closes: boolean[];
}

type React = Partial<Receiver>;

const generous: Limits = {
  maxConcurrentStreams: 1_000,
  maxHeaderBytes: 16_384,
  requestTimeoutMs: 60_000,
  idleTimeoutMs: 60_000,
  pingIntervalMs: 60_000,
  pingTimeoutMs: 60_000,
};

export const until = (condition: () => void) => vi.waitFor(condition, { interval: 5 });

/** Serves on a real port; each exchange is recorded, and `react` answers it. */
export async function useProtocol(
  create: CreateProtocol,
  react: (exchange: Exchange, recorded: Recorded) => React,
  limits: Partial<Limits> = {},
) {
  const log = { debug: vi.fn(), info: vi.fn(), error: vi.fn() };
  const exchanges: Recorded[] = [];
  const accept = (exchange: Exchange): Receiver => {
    const chunks: Buffer[] = [];
    const recorded: Recorded = {
      exchange,
      body: () => Buffer.concat(chunks).toString(),
      ends: [],
      drains: [],
      closes: [],
    };
    exchanges.push(recorded);
    const reaction = react(exchange, recorded);
    return {
      onData(bytes) {
        chunks.push(Buffer.from(bytes));
        reaction.onData?.(bytes);
      },
      onEnd() {
        recorded.ends.push(recorded.ends.length);
        reaction.onEnd?.();
      },
      onDrain() {
        recorded.drains.push(recorded.drains.length);
        reaction.onDrain?.();
      },
      onClose(isWhole) {
        recorded.closes.push(isWhole);
        reaction.onClose?.(isWhole);
      },
    };
  };
  const protocol = create({ accept, log, limits: { ...generous, ...limits } });
  const sockets = new Set<net.Socket>();
  const server = net.createServer({ noDelay: true, allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket)).on("error", () => {});
    // As who tells the protocols apart does it.
    socket.once("data", (head) => {
      socket.pause();
      socket.unshift(head);
      protocol.adopt(socket);
    });
  });
  const port = await listen(server);
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
    protocol.close();
  });
  /** The exchange of this number, once it is there. */
  const exchange = async (index = 0): Promise<Recorded> => {
    await until(() => expect(exchanges.length).toBeGreaterThan(index));
    return exchanges[index] ?? expect.fail("there is no such exchange");
  };
  return { port, url: `http://127.0.0.1:${port}`, protocol, log, exchanges, exchange, sockets };
}

/** A session of Node's client. */
export function useSession(url: string, options: http2.SecureClientSessionOptions = {}): http2.ClientHttp2Session {
  const session = http2.connect(url, options);
  session.on("error", () => {});
  onTestFinished(() => session.destroy());
  return session;
}

/** A connection whose bytes the test writes, and what has come over it. */
export async function useConnection(port: number, { allowHalfOpen = false } = {}) {
  const socket = net.connect({ port, host: "127.0.0.1", noDelay: true, allowHalfOpen });
  const chunks: Buffer[] = [];
  socket.on("data", (chunk) => chunks.push(chunk)).on("error", () => {});
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  onTestFinished(() => {
    socket.destroy();
  });
  await once(socket, "connect");
  return { socket, closed, received: () => Buffer.concat(chunks) };
}

/** All of an answer, as Node's client gets it. */
export interface Answer {
  readonly headers: http2.IncomingHttpHeaders;
  readonly isTrailersOnly: boolean;
  readonly trailers: http2.IncomingHttpHeaders | undefined;
  readonly body: Buffer;
  /** The body. */
  readonly text: string;
  readonly code: number | undefined;
}

/** Takes an answer to its end, whole or not. */
export async function answerOf(stream: http2.ClientHttp2Stream): Promise<Answer> {
  let headers: http2.IncomingHttpHeaders = {};
  let isTrailersOnly = false;
  let trailers: http2.IncomingHttpHeaders | undefined;
  const chunks: Buffer[] = [];
  stream.on("error", () => {});
  stream.on("response", (fields, flags) => {
    headers = fields;
    isTrailersOnly = (flags & http2.constants.NGHTTP2_FLAG_END_STREAM) !== 0;
  });
  stream.on("trailers", (fields) => {
    trailers = fields;
  });
  stream.on("data", (chunk: Buffer) => chunks.push(chunk));
  await new Promise<void>((resolve) => stream.once("close", () => resolve()));
  const body = Buffer.concat(chunks);
  return { headers, isTrailersOnly, trailers, body, text: body.toString(), code: stream.rstCode };
}

/** Sends a request, whole if it is given a body, and takes the answer. */
export function ask(
  session: http2.ClientHttp2Session,
  headers: http2.OutgoingHttpHeaders = {},
  body?: string | Buffer,
): Promise<Answer> {
  const stream = session.request(headers, { endStream: body === undefined });
  const answer = answerOf(stream);
  if (body !== undefined) stream.end(body);
  return answer;
}
