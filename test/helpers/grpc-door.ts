import type http2 from "node:http2";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { StringValueSchema } from "@bufbuild/protobuf/wkt";
import { type ConnectError, createServiceImplSpec, type HandlerContext } from "@connectrpc/connect";
import { type Caller, callerKey } from "../../src/auth/caller.ts";
import { createBodyLimits } from "../../src/calls/body.ts";
import { createGrpc, type GrpcOptions } from "../../src/doors/grpc.ts";
import { toWireError } from "../../src/errors.ts";
import { toFrame } from "../../src/grpc/frame.ts";
import type { Exchange } from "../../src/http2/exchange.ts";
import type { CallLog } from "../../src/observe/call-log.ts";
import { createTimerWheel } from "../../src/timer-wheel.ts";
import { compileEcho } from "./echo.ts";
import { answerOf, type CreateProtocol, useProtocol, useSession } from "./http2-server.ts";

interface Text {
  readonly value: string;
}

/** What implements the methods of Echo. */
export interface EchoImpl {
  say?(request: Text, context: HandlerContext): unknown;
  keep?(request: { readonly value: Uint8Array }, context: HandlerContext): unknown;
  list?(request: Text, context: HandlerContext): AsyncIterable<Partial<Text>>;
  talk?(requests: AsyncIterable<Text>, context: HandlerContext): AsyncIterable<Partial<Text>>;
}

export const admin: Caller = { userId: "imAdmin", platformId: 10, isAdmin: true, issuedAtMs: 0, expiresAtMs: 1 };

/** Serves Echo through the gRPC door on a real port, and tells what its log was told. */
export async function useGrpcDoor(createProtocol: CreateProtocol, impl: EchoImpl, options: Partial<GrpcOptions> = {}) {
  const events: string[] = [];
  const fail = (rpc: string, thrown: unknown): ConnectError => {
    const error = toWireError(thrown);
    events.push(`${rpc} failed: ${error.message}`);
    return error;
  };
  const callLog: CallLog = {
    begin: ({ rpc }) => ({
      open: () => void events.push(`${rpc} opened`),
      succeed: () => void events.push(`${rpc} succeeded`),
      fail: (thrown) => fail(rpc, thrown),
    }),
    refuse: ({ rpc }, thrown) => fail(rpc, thrown),
  };
  const shutdown = new AbortController();
  const grpc = createGrpc({
    services: [createServiceImplSpec(compileEcho(), impl as never)],
    authenticate: ({ values }) => void values.set(callerKey, admin),
    callLog,
    bodyLimits: createBodyLimits({ maxBytes: 100_000 }),
    maxTimeoutMs: 60_000,
    timers: createTimerWheel(),
    shutdownSignal: shutdown.signal,
    ...options,
  });
  const exchanges: Exchange[] = [];
  const server = await useProtocol(createProtocol, (exchange) => {
    exchanges.push(exchange);
    const { ":path": path = "", ":authority": host = "" } = exchange.headers;
    const call = grpc(exchange, { path, url: `http://${host}${path}`, isHostBad: false });
    if (call === undefined) exchange.end([":status", "415"]);
    return call ?? {};
  });
  const session = useSession(server.url);
  return {
    ...server,
    events,
    exchangesOf: exchanges,
    stopAll: (reason: ConnectError) => shutdown.abort(reason),
    session,
    /** Opens a call; the answer is what has come of it. */
    open: (method: string, headers: http2.OutgoingHttpHeaders = {}) => openCall(session, method, headers),
    /** Makes a call of one body. */
    async call(method: string, body: Uint8Array, headers: http2.OutgoingHttpHeaders = {}) {
      const { stream, answer } = openCall(session, method, headers);
      stream.end(body);
      return answer;
    },
  };
}

/** An answer of gRPC, as it came. */
export interface GrpcAnswer {
  readonly headers: http2.IncomingHttpHeaders;
  /** Those of the headers, when they are all of the answer. */
  readonly trailers: http2.IncomingHttpHeaders;
  readonly isTrailersOnly: boolean;
  readonly body: Buffer;
  readonly status: string | undefined;
}

function openCall(session: http2.ClientHttp2Session, method: string, headers: http2.OutgoingHttpHeaders) {
  const stream = session.request(
    {
      ":method": "POST",
      ":path": `/test.Echo/${method}`,
      "content-type": "application/grpc",
      te: "trailers",
      ...headers,
    },
    { endStream: false },
  );
  return { stream, answer: takeAnswer(stream) };
}

async function takeAnswer(stream: http2.ClientHttp2Stream): Promise<GrpcAnswer> {
  const { headers, isTrailersOnly, trailers, body } = await answerOf(stream);
  // Without Node's symbol.
  const last = Object.fromEntries(Object.entries(trailers ?? (isTrailersOnly ? headers : {})));
  return { headers, trailers: last, isTrailersOnly, body, status: last["grpc-status"] as string };
}

/** The frame of a text. */
export function textFrame(value: string): Uint8Array {
  return toFrame(toBinary(StringValueSchema, create(StringValueSchema, { value })));
}

/** The texts of frames. */
export function textsOf(body: Buffer): string[] {
  const texts: string[] = [];
  for (let at = 0; at < body.length; ) {
    const end = at + 5 + body.readUInt32BE(at + 1);
    texts.push(fromBinary(StringValueSchema, body.subarray(at + 5, end)).value);
    at = end;
  }
  return texts;
}
