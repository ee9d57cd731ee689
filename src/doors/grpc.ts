import { Code, ConnectError, createContextValues, type ServiceImplSpec } from "@connectrpc/connect";
import type { StreamMethod, UnaryMethod } from "../calls/call.ts";
import { CallContext } from "../calls/context.ts";
import { pushStatus } from "../grpc/status.ts";
import { readTimeout } from "../grpc/timeout.ts";
import { deaf } from "../http/receiver.ts";
import type { Target } from "../http/target.ts";
import type { Exchange, Receiver } from "../http2/exchange.ts";
import { peerKey, peerOf } from "../observe/peer.ts";
import type { GrpcCall, GrpcDoor } from "./grpc-call.ts";
import { createCodec } from "./grpc-codec.ts";
import { GrpcStreamCall } from "./grpc-stream.ts";
import { GrpcUnaryCall } from "./grpc-unary.ts";
import { noSuchMethod } from "./unimplemented.ts";

export interface GrpcOptions extends Omit<GrpcDoor, "open" | "unended"> {
  readonly services: readonly ServiceImplSpec[];
  /** Aborted, with the error for their callers, when calls that are still open must end. */
  readonly shutdownSignal: AbortSignal;
}

/** Answers gRPC; undefined for what is none, and for gRPC with JSON and gRPC-Web, which are the RPC door's. */
export type Grpc = (exchange: Exchange, target: Target) => Receiver | undefined;

/** Creates the gRPC door: calls with protobuf messages over HTTP/2, straight on the exchange. */
export function createGrpc({ services, shutdownSignal, ...deps }: GrpcOptions): Grpc {
  const door: GrpcDoor = { ...deps, open: new Set(), unended: [] };
  const methods = compileMethods(services);
  const serviceNames = new Set(services.map(({ service }) => service.typeName));
  shutdownSignal.addEventListener("abort", () => {
    const reason = ConnectError.from(shutdownSignal.reason, Code.Unavailable);
    for (const call of door.open) call.stop(reason);
  });

  const answerUnimplemented = (exchange: Exchange, { path }: Target): Receiver => {
    const [, service = ""] = path.split("/");
    // A caller's names are no labels of ours.
    const rpc = serviceNames.has(service) ? `${service}/*` : "*";
    const values = createContextValues().set(peerKey, peerOf(exchange));
    const error = noSuchMethod(path);
    const fields = [":status", "200", "content-type", exchange.headers["content-type"] ?? ""];
    pushStatus(fields, door.callLog.refuse({ rpc, values }, error));
    exchange.end(fields);
    return deaf;
  };

  return (exchange, target) => {
    if (!isGrpc(exchange)) return undefined;
    const open = methods.get(target.path);
    if (open === undefined) return answerUnimplemented(exchange, target);
    const call = open(door, exchange, target);
    call.begin();
    return call;
  };
}

type Open = (door: GrpcDoor, exchange: Exchange, target: Target) => GrpcCall;

function compileMethods(services: readonly ServiceImplSpec[]): ReadonlyMap<string, Open> {
  const methods = new Map<string, Open>();
  for (const spec of services.flatMap((service) => Object.values(service.methods))) {
    const { method } = spec;
    const codec = createCodec(method);
    const path = `/${method.parent.typeName}/${method.name}`;
    if (spec.kind === "unary") {
      methods.set(
        path,
        (door, exchange, target) => new GrpcUnaryCall(door, exchange, toContext(spec, exchange, target), spec, codec),
      );
    } else if (spec.kind !== "client_streaming") {
      methods.set(
        path,
        (door, exchange, target) => new GrpcStreamCall(door, exchange, toContext(spec, exchange, target), spec, codec),
      );
    }
  }
  return methods;
}

function toContext({ method }: UnaryMethod | StreamMethod, exchange: Exchange, { url, isHostBad }: Target) {
  const { headers, connection } = exchange;
  const timeout = headers["grpc-timeout"];
  return new CallContext({
    method,
    protocolName: "grpc",
    url,
    headers,
    peer: peerOf(exchange),
    certificate: connection.peer?.certificate,
    isHostBad,
    timeoutMs: timeout === undefined ? undefined : readTimeout(timeout),
  });
}

/** Whether it is gRPC with protobuf messages. */
function isGrpc({ headers, connection }: Exchange): boolean {
  const type = headers["content-type"];
  if (type === undefined || headers[":method"] !== "POST" || !connection.isHttp2) return false;
  return type === "application/grpc" || /^application\/grpc(?:\+proto)?$/i.test(type);
}
