import { randomUUID } from "node:crypto";
import { create, type Message } from "@bufbuild/protobuf";
import type { HandlerContext, MethodImplSpec } from "@connectrpc/connect";
import type { Gate } from "../auth/authenticate.ts";
import { failure } from "../errors.ts";
import type { HttpRequest } from "../http/listener.ts";
import type { CallLog } from "../observe/call-log.ts";
import { operationIdHeader, operationIdKey } from "../observe/operation-id.ts";
import { BindError, toFailure } from "./bind.ts";
import type { ReadBody } from "./body.ts";
import type { CallContext } from "./context.ts";
import { takeIdempotencyKey } from "./idempotency-key.ts";

/** A method of one message and one answer, and what implements it. */
export type UnaryMethod = Extract<MethodImplSpec, { kind: "unary" }>;

/** A method of one message and many answers, and what implements it. */
export type StreamMethod = Extract<MethodImplSpec, { kind: "server_streaming" }>;

export interface CallDeps {
  readonly authenticate: Gate;
  readonly readBody: ReadBody;
  readonly callLog: CallLog;
}

/** The longest operation id, in characters. */
const maxOperationIdLength = 256;

const operationIdField = operationIdHeader.toLowerCase();

/** A call under way. */
export interface Call<Method = UnaryMethod, Received = Promise<Message> | Message> {
  readonly method: Method;
  readonly context: HandlerContext;
  /** Gives the message; throws a refusal that is logged. */
  readonly receive: () => Received;
}

/**
 * Calls a method: through every door it is the same call, in the log and in the metrics too.
 *
 * @throws {ConnectError} for the wire, logged.
 */
export async function call(
  { callLog }: Pick<CallDeps, "callLog">,
  { method: { method, impl }, context, receive }: Call,
): Promise<Message> {
  const message = await receive();
  const observed = callLog.begin(toObserved(context));
  try {
    takeIdempotencyKey(method.input, message, context.requestHeader);
    const output = create(method.output, await impl(message, context));
    observed.succeed();
    return output;
  } catch (error) {
    throw observed.fail(error);
  }
}

/** As {@link call}, for a method that answers with a stream. */
export async function* callStream(
  { callLog }: Pick<CallDeps, "callLog">,
  { method: { impl }, context, receive }: Call<StreamMethod, Message>,
) {
  const message = receive();
  const observed = callLog.begin(toObserved(context));
  try {
    const answers = impl(message, context);
    observed.open();
    yield* answers;
    observed.succeed();
  } catch (error) {
    throw observed.fail(error);
  }
}

/**
 * Takes in the message of a call: first the headers, with who calls, then the body. A gRPC or Connect call without an
 * operation id gets one; over REST the header is required, as OpenIM has it.
 *
 * @throws {ConnectError} for the wire, logged.
 */
export async function receiveMessage(
  { authenticate, readBody, callLog }: CallDeps,
  request: HttpRequest,
  context: CallContext,
  decode: (body: Buffer) => Message,
): Promise<Message> {
  try {
    takeOperationId(context);
    await authenticate(context);
    return decode(await readBody(request, context));
  } catch (error) {
    throw callLog.refuse(toObserved(context), toFailure(error));
  }
}

function takeOperationId(context: CallContext): void {
  const given = context.headers[operationIdField] ?? "";
  // Also one that is refused for having none can then be found in the log.
  const operationId = given.slice(0, maxOperationIdLength) || randomUUID();
  context.values.set(operationIdKey, operationId);
  context.respondWith(operationIdField, operationId);
  if (context.isHostBad) throw new BindError("Host must be a host and, if any, a port", 400);
  if (given === "" && context.protocolName === "rest") throw failure("ArgsError", "header must have operationID");
  if (given.length > maxOperationIdLength) {
    throw failure("ArgsError", `operationID must be at most ${maxOperationIdLength} characters`);
  }
}

function toObserved({ service, method, values }: HandlerContext) {
  return { rpc: `${service.typeName}/${method.name}`, values };
}
