import { create, fromBinary } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import type { BaseLogger } from "pino";
import type { FrameSink, FrameSource } from "../answers.ts";
import type { CallContext } from "../calls/context.ts";
import { type ErrorName, errorTable, failure } from "../errors.ts";
import { ReceiveRequestSchema, Start } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import { PullMessagesBySeqsRequestSchema, type SeqRange } from "../gen/mustreach/openim/v1/gateway_pb.ts";
import type { Position } from "../inbox/lineage.ts";
import type { OpenCall } from "../observe/call-log.ts";
import type { TimerWheel } from "../timer-wheel.ts";
import { closeCodes } from "../websocket/close-codes.ts";
import type { WebSocketConnection, WebSocketReceiver } from "../websocket/connection.ts";
import { toFrame, toTextFrame } from "../websocket/frame.ts";
import type { Delivery, Outlet } from "./delivery.ts";
import { GoDelivery } from "./go-delivery.ts";
import type { Handshake } from "./handshake.ts";
import { JsDelivery } from "./js-delivery.ts";
import { emptyAnswers, identifiers } from "./requests.ts";
import { type Answer, createFrameCodec, type FrameCodec, type Request } from "./wire/frames.ts";
import { encodeMessages } from "./wire/messages.ts";

export interface ClientDeps {
  readonly timers: TimerWheel;
  /** Opens the stream that `Receive` is. */
  readonly open: (context: CallContext, sink: FrameSink) => OpenedStream;
  readonly log: Pick<BaseLogger, "error">;
}

export interface OpenedStream {
  readonly source: FrameSource;
  readonly observed: OpenCall;
}

/** Who has connected, and what as. */
export interface Identity {
  readonly context: CallContext;
  readonly handshake: Handshake;
  readonly userId: string;
  readonly deviceId: string;
  /** The epochs of the store, the oldest first. */
  readonly epochs: readonly string[];
}

/** How many notifications a device may have that it has not acknowledged. */
const window = 1_000;

/** The largest frame that the Go SDK takes, in bytes. */
export const maxFrameBytes = 1_000_000;

// Made once: abort() without a reason would build a DOMException with its stack.
const done = new ConnectError("the connection is over", Code.Canceled);

const nothing = new Uint8Array();

/** A connected SDK. */
export class Client implements WebSocketReceiver, Outlet, FrameSink {
  readonly userId: string;
  readonly timers: TimerWheel;
  readonly #deps: ClientDeps;
  readonly #identity: Identity;
  readonly #connection: WebSocketConnection;
  readonly #codec: FrameCodec;
  readonly #delivery: Delivery;
  #source: FrameSource | undefined = undefined;
  /** Undefined where there is no end to be told of any more. */
  #observed: OpenCall | undefined = undefined;
  #pings = 0;

  constructor(deps: ClientDeps, identity: Identity, connection: WebSocketConnection) {
    const { handshake, userId, epochs } = identity;
    this.userId = userId;
    this.timers = deps.timers;
    this.#deps = deps;
    this.#identity = identity;
    this.#connection = connection;
    this.#codec = createFrameCodec(handshake.sdk, handshake.isCompressed);
    this.#delivery = handshake.sdk === "js" ? new JsDelivery(this) : new GoDelivery(this, epochs);
    this.#delivery.begin();
  }

  onText(text: string): void {
    if (isPing(text)) this.#connection.write(toTextFrame('{"type":"pong"}'));
  }

  onBinary(bytes: Uint8Array): void {
    let request: Request;
    try {
      request = this.#codec.decode(bytes);
    } catch {
      this.#connection.close(closeCodes.unsupportedData, "a frame that cannot be read");
      return;
    }
    this.#answer(request);
  }

  onPong(bytes: Uint8Array): void {
    // Only that of the newest says that all has been read.
    if (bytes.length > 0 && Buffer.from(bytes).toString() === String(this.#pings)) this.#delivery.onPong();
  }

  onDrain(): void {
    this.#delivery.onDrain();
  }

  onStopping(): void {
    this.#delivery.stop();
  }

  onClose(violation: string | undefined): void {
    this.#delivery.cancel();
    this.#source?.cancel();
    if (violation === undefined) this.#observed?.succeed();
    else this.#observed?.fail(failure("ArgsError", violation));
    this.#identity.context.abort(done);
  }

  write(frame: Uint8Array): boolean {
    return this.#delivery.write(frame);
  }

  end(error?: ConnectError): void {
    if (error === undefined) this.#observed?.succeed();
    else this.#observed?.fail(error);
    this.#observed = undefined;
    this.#delivery.end(error);
  }

  push(conversationId: string, messages: readonly Uint8Array[]): boolean {
    return this.#send({ ...unasked, reqIdentifier: identifiers.push, data: encodeMessages(conversationId, messages) });
  }

  ping(): void {
    this.#connection.ping(Buffer.from(String(++this.#pings)));
  }

  subscribe(after: Position | "cursor" | "beginning"): void {
    const { context, deviceId } = this.#identity;
    const start = after === "beginning" ? Start.ALL : Start.RESUME;
    const place = typeof after === "string" ? { start } : { afterSequence: BigInt(after.sequence), epoch: after.epoch };
    const { source, observed } = this.#deps.open(context, this);
    this.#source = source;
    this.#observed = observed;
    const value = { deviceId, window, ...place };
    source.take(create(ReceiveRequestSchema, { request: { case: "subscribe", value } }));
  }

  acknowledge({ sequence, epoch }: Position): void {
    const value = { sequence: BigInt(sequence), epoch };
    this.#source?.take(create(ReceiveRequestSchema, { request: { case: "acknowledge", value } }));
  }

  resume(): void {
    this.#source?.resume();
  }

  close(why: "kicked" | "again"): void {
    if (why === "again") {
      this.#connection.close(closeCodes.serviceRestart, "connect again");
      return;
    }
    this.#send({ ...unasked, reqIdentifier: identifiers.kick });
    this.#connection.close(closeCodes.policyViolation, "the token was revoked, or another device has its place");
  }

  #answer(request: Request): void {
    const { reqIdentifier, sendID, data } = request;
    if (sendID !== "" && sendID !== this.userId) this.#refuse(request, "NoPermissionError");
    else if (reqIdentifier === identifiers.pullMessagesBySeqs) this.#pull(request, readRanges(data));
    else if (emptyAnswers.has(reqIdentifier)) this.#send({ ...toAnswer(request), data: nothing });
    else this.#refuse(request, "ArgsError");
    if (reqIdentifier === identifiers.logout) this.#connection.close(closeCodes.normal, "logged out");
  }

  /** Go asks for each conversation of ours alone, since a number here is far from the next. */
  #pull(request: Request, [range, ...more]: readonly SeqRange[]): void {
    if (range === undefined || more.length > 0) {
      this.#refuse(request, "ArgsError");
      return;
    }
    const { conversationId, begin, end } = range;
    const pulled = this.#delivery.pull(conversationId, Number(begin), Number(end));
    if (typeof pulled === "string") {
      this.#refuse(request, "RecordNotFoundError");
      if (pulled === "astray") this.close("again");
      return;
    }
    const data = pulled.length === 0 ? nothing : encodeMessages(conversationId, pulled);
    this.#send({ ...toAnswer(request), data }, () => this.ping());
  }

  #refuse(request: Request, errMsg: ErrorName): void {
    this.#send({ ...toAnswer(request), data: nothing, errCode: errorTable[errMsg].errCode, errMsg });
  }

  /** @param onSent called when it has been written. */
  #send(answer: Answer, onSent = () => {}): boolean {
    const write = (bytes: Uint8Array): boolean => {
      if (this.#isTooLarge(answer, bytes)) return this.#send({ ...answer, data: nothing }, onSent);
      const isWritable = this.#connection.write(toFrame("binary", bytes));
      onSent();
      return isWritable;
    };
    const encoded = this.#codec.encode(answer);
    if (!(encoded instanceof Promise)) return write(encoded);
    encoded.then(write).catch((err: unknown) => {
      this.#deps.log.error({ err }, "cannot compress a frame");
      this.close("again");
    });
    return true;
  }

  /** A frame that the device does not take, it would ask for again and again, and nothing else. */
  #isTooLarge({ data }: Answer, { length }: Uint8Array): boolean {
    const isTooLarge = this.#identity.handshake.sdk === "go" && length > maxFrameBytes && data.length > 0;
    const { userId } = this;
    if (isTooLarge) this.#deps.log.error({ userId, length }, "a notification is too large for OpenIM's Go SDK");
    return isTooLarge;
  }
}

/** What the client has not asked for. */
const unasked: Answer = { reqIdentifier: 0, errCode: 0, errMsg: "", msgIncr: "", operationID: "", data: nothing };

function toAnswer({ reqIdentifier, msgIncr, operationID }: Request): Omit<Answer, "data"> {
  return { reqIdentifier, msgIncr, operationID, errCode: 0, errMsg: "" };
}

/** What a pull asks for; nothing for what is no pull. */
function readRanges(data: Uint8Array): readonly SeqRange[] {
  try {
    return fromBinary(PullMessagesBySeqsRequestSchema, data).seqRanges;
  } catch {
    return [];
  }
}

function isPing(text: string): boolean {
  try {
    return JSON.parse(text)?.type === "ping";
  } catch {
    return false;
  }
}
