import { create, createRegistry, fromBinary, toBinary } from "@bufbuild/protobuf";
import { type ConnectError, createServiceImplSpec } from "@connectrpc/connect";
import { pino } from "pino";
import { type Caller, callerKey } from "../../src/auth/caller.ts";
import { createBodyLimits } from "../../src/calls/body.ts";
import { createGrpc } from "../../src/doors/grpc.ts";
import { createRpc } from "../../src/doors/rpc.ts";
import { ErrorInfoSchema } from "../../src/gen/google/rpc/error_details_pb.ts";
import { createListener } from "../../src/http/listener.ts";
import { notFound } from "../../src/http/pages.ts";
import { deaf } from "../../src/http/receiver.ts";
import { readTarget } from "../../src/http/target.ts";
import { createEngine } from "../../src/http2/engine/engine.ts";
import { createNodeHttp2 } from "../../src/http2/node.ts";
import { type CallLog, createCallLog } from "../../src/observe/call-log.ts";
import { createTimerWheel } from "../../src/timer-wheel.ts";
import type { TlsOptions } from "../../src/tls/tls.ts";
import {
  type ServerCompatRequest,
  ServerCompatRequestSchema,
  ServerCompatResponseSchema,
} from "./gen/connectrpc/conformance/v1/server_compat_pb.ts";
import {
  ConformanceService,
  file_connectrpc_conformance_v1_service,
} from "./gen/connectrpc/conformance/v1/service_pb.ts";
import { conformance } from "./service.ts";

/**
 * The suite's service behind our doors: the port, HTTP/1.1 and HTTP/2, gRPC, gRPC-Web and Connect are those of the
 * service. How it is to be comes on standard input, and where it answers goes to standard output, as server_compat.proto
 * says. `MUSTREACH_HTTP2=node` has HTTP/2 served by Node's.
 */

/** Anything that the suite sends is less, but for what is meant to be too much. Unit: bytes. */
const maxBytes = 4_194_304;

/** The suite knows no tokens. An admin may send as much as there is a limit for. */
const caller: Caller = { userId: "suite", platformId: 10, isAdmin: true, issuedAtMs: 0, expiresAtMs: 0 };

const wanted = fromBinary(ServerCompatRequestSchema, await readSized());
const { messageReceiveLimit } = wanted;
const tls = toTls(wanted);
const log = pino({ level: "silent" });
const deps = {
  services: [createServiceImplSpec<typeof ConformanceService>(ConformanceService, conformance)],
  authenticate: ({ values }: { values: { set(key: typeof callerKey, value: Caller): unknown } }) =>
    void values.set(callerKey, caller),
  callLog: withoutErrorInfo(createCallLog(log, { call() {} })),
  // The suite has many calls under way in one connection.
  bodyLimits: createBodyLimits({
    maxBytes: messageReceiveLimit || maxBytes,
    maxConnectionBytes: maxBytes * 16,
    maxInstanceBytes: maxBytes * 16,
  }),
  registry: createRegistry(file_connectrpc_conformance_v1_service),
  maxTimeoutMs: 3_600_000,
  shutdownSignal: new AbortController().signal,
  timers: createTimerWheel(),
  log,
};
const grpc = createGrpc(deps);
const rpc = createRpc(deps);
const listener = createListener({
  accept(exchange) {
    const target = readTarget(exchange.headers);
    const receiver = grpc(exchange, target) ?? rpc(exchange, target);
    if (receiver === undefined) notFound(exchange);
    return receiver ?? deaf;
  },
  tls,
  log,
  createHttp2: process.env.MUSTREACH_HTTP2 === "node" ? createNodeHttp2 : createEngine,
});
const { port } = await listener.listen({ host: "127.0.0.1", port: 0 });
const pemCert = Buffer.from(tls?.material.cert ?? "");
const place = toBinary(
  ServerCompatResponseSchema,
  create(ServerCompatResponseSchema, { host: "127.0.0.1", port, pemCert }),
);
const size = Buffer.alloc(4);
size.writeUInt32BE(place.length);
process.stdout.write(Buffer.concat([size, place]));
process.on("SIGTERM", () => process.exit(0));

/** With the certificate that the suite has made. That of its client is for streams of the caller's alone. */
function toTls({ useTls, serverCreds }: ServerCompatRequest): TlsOptions | undefined {
  if (!useTls || serverCreds === undefined) return undefined;
  const toText = (pem: Uint8Array) => Buffer.from(pem).toString();
  const material = { cert: toText(serverCreds.cert), key: toText(serverCreds.key) };
  return { material, minVersion: "1.2", clientAuth: "none" };
}

/** Every error of ours has an ErrorInfo; for the suite, an error has the details that it has asked for. */
function withoutErrorInfo(callLog: CallLog): CallLog {
  const strip = (error: ConnectError) => {
    error.details = error.details.filter((detail) => !("desc" in detail && detail.desc === ErrorInfoSchema));
    return error;
  };
  return {
    begin(call) {
      const open = callLog.begin(call);
      return {
        open: () => open.open(),
        succeed: () => open.succeed(),
        fail: (thrown) => strip(open.fail(thrown)),
      };
    },
    refuse: (call, thrown) => strip(callLog.refuse(call, thrown)),
  };
}

/** Reads a message with its length in four bytes before it. */
async function readSized(): Promise<Uint8Array> {
  let bytes = Buffer.alloc(0);
  for await (const piece of process.stdin) {
    bytes = Buffer.concat([bytes, piece]);
    if (bytes.length >= 4 && bytes.length >= 4 + bytes.readUInt32BE(0)) break;
  }
  return bytes.subarray(4, 4 + bytes.readUInt32BE(0));
}
