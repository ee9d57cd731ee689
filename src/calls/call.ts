import { randomUUID } from "node:crypto";
import { create, type DescMessage, type DescMethod, type Message, type MessageInitShape } from "@bufbuild/protobuf";
import type { HandlerContext, MethodImplSpec } from "@connectrpc/connect";
import type { Answers } from "../answers.ts";
import type { Gate } from "../auth/authenticate.ts";
import { failure } from "../errors.ts";
import { BindError, toFailure } from "../json/bind.ts";
import type { CallLog, OpenCall } from "../observe/call-log.ts";
import { operationIdHeader, operationIdKey } from "../observe/operation-id.ts";
import { readTraceparent, traceparentHeader, traceparentKey } from "../tracing/traceparent.ts";
import { CallContext } from "./context.ts";
import { takeIdempotencyKey } from "./idempotency-key.ts";
import type { IncomingBody } from "./incoming-body.ts";

/** A method of one message and one answer, and what implements it. */
export type UnaryMethod = Extract<MethodImplSpec, { kind: "unary" }>;

/** A method of many answers, and what implements it. */
export type StreamMethod = Extract<MethodImplSpec, { kind: "server_streaming" | "bidi_streaming" }>;

export interface CallDeps {
  readonly authenticate: Gate;
  readonly callLog: CallLog;
}

/** The longest operation id, in characters. */
const maxOperationIdLength = 256;

const operationIdField = operationIdHeader.toLowerCase();

/** A call under way. */
export interface Call<Method = UnaryMethod> {
  readonly method: Method;
  readonly context: HandlerContext;
}

/**
 * Calls a method: through every door it is the same call, in the log and in the metrics too. One that is aborted ends
 * with the reason, whatever its method does.
 *
 * @throws {ConnectError} for the wire, logged.
 */
export async function call(
  { callLog }: Pick<CallDeps, "callLog">,
  { method: { method, impl }, context }: Call,
  message: Message,
): Promise<Message> {
  const observed = callLog.begin(toObserved(context));
  try {
    takeIdempotencyKey(method.input, message, context);
    const output = create(method.output, await untilAborted(impl(message, context), context));
    observed.succeed();
    return output;
  } catch (error) {
    throw observed.fail(error);
  }
}

/** The answers of a call, and where its end is told. */
export interface OpenStream {
  readonly answers: AsyncIterable<MessageInitShape<DescMessage>> | Answers<Message>;
  readonly observed: OpenCall;
}

/**
 * As {@link call}, for a method that answers with a stream.
 *
 * @param input the message, or the messages of a stream of both directions.
 */
export function openStream(
  { callLog }: Pick<CallDeps, "callLog">,
  { method: { kind, impl }, context }: Call<StreamMethod>,
  input: Message | AsyncIterable<Message>,
): OpenStream {
  const observed = callLog.begin(toObserved(context));
  try {
    const answers =
      kind === "server_streaming" ? impl(input as Message, context) : impl(input as AsyncIterable<Message>, context);
    observed.open();
    return { answers, observed };
  } catch (error) {
    throw observed.fail(error);
  }
}

/** {@link openStream} for who takes the answers as messages. */
export async function* callStream(
  deps: Pick<CallDeps, "callLog">,
  call: Call<StreamMethod>,
  input: Message | AsyncIterable<Message>,
) {
  const { answers, observed } = openStream(deps, call, input);
  try {
    yield* answers;
    observed.succeed();
  } catch (error) {
    throw observed.fail(error);
  }
}

/**
 * Takes in the message of a call: first the headers, with who calls, then the body.
 *
 * @throws {ConnectError} for the wire, logged.
 */
export async function receiveMessage(
  { authenticate, callLog }: CallDeps,
  body: Pick<IncomingBody, "read">,
  context: CallContext,
  decode: (bytes: Buffer) => Message,
): Promise<Message> {
  try {
    await admit(authenticate, context);
    return decode(await body.read(context));
  } catch (error) {
    throw callLog.refuse(toObserved(context), toFailure(error));
  }
}

/**
 * Looks at the headers of a call, and at who makes it; with a promise only where the gate needs one. A gRPC or Connect
 * call without an operation id gets one; over REST the header is required, as OpenIM has it.
 *
 * @throws what is wrong with them.
 */
export function admit(authenticate: Gate, context: CallContext): void | Promise<void> {
  takeOperationId(context);
  return authenticate(context);
}

/** What the log and the metrics know a call by. */
export function toObserved({ method, values }: Pick<HandlerContext, "method" | "values">) {
  return { rpc: rpcOf(method), values };
}

const rpcNames = new WeakMap<DescMethod, string>();

/** A method's name in the log and in the metrics, made once. */
function rpcOf(method: DescMethod): string {
  const rpc = rpcNames.get(method) ?? `${method.parent.typeName}/${method.name}`;
  rpcNames.set(method, rpc);
  return rpc;
}

/** Rejects with the reason when the call is aborted before the method has answered. */
function untilAborted<T>(answer: Promise<T> | T, context: HandlerContext): Promise<T> | T {
  if (!(answer instanceof Promise && context instanceof CallContext)) return answer;
  return new Promise((resolve, reject) => {
    context.onAbort = reject;
    answer.then(resolve, reject);
  });
}

function takeOperationId(context: CallContext): void {
  const given = context.headers[operationIdField] ?? "";
  // Also one that is refused for having none can then be found in the log.
  const operationId = given.slice(0, maxOperationIdLength) || randomUUID();
  context.values.set(operationIdKey, operationId);
  context.respondWith(operationIdField, operationId);
  const traceparent = readTraceparent(context.headers[traceparentHeader]);
  if (traceparent !== "") context.values.set(traceparentKey, traceparent);
  if (context.isHostBad) throw new BindError("Host must be a host and, if any, a port", 400);
  if (given === "" && context.protocolName === "rest") throw failure("ArgsError", "header must have operationID");
  if (given.length > maxOperationIdLength) {
    throw failure("ArgsError", `operationID must be at most ${maxOperationIdLength} characters`);
  }
}
