import type { DescMessage, Message, MessageInitShape } from "@bufbuild/protobuf";
import type { ConnectError } from "@connectrpc/connect";
import type { FrameSink, FrameSource } from "../answers.ts";
import { openStream, type StreamMethod } from "../calls/call.ts";
import type { CallContext } from "../calls/context.ts";
import { RequestQueue } from "../grpc/request-queue.ts";
import type { Exchange } from "../http2/exchange.ts";
import type { OpenCall } from "../observe/call-log.ts";
import { GrpcCall, type GrpcDoor } from "./grpc-call.ts";
import { type GrpcCodec, requireNone, requireOne } from "./grpc-codec.ts";

/**
 * How many messages of a caller may wait for a method that takes them one after the other, and how many bytes they may
 * have together; then the caller waits until they are taken.
 */
const maxWaitingMessages = 16;
const maxWaitingBytes = 65_536;

type AnswerInit = MessageInitShape<DescMessage>;

/** A call of many answers: to one message, or to many. */
export class GrpcStreamCall extends GrpcCall implements FrameSink {
  readonly #method: StreamMethod;
  readonly #codec: GrpcCodec;
  #message: Message | undefined = undefined;
  #observed: OpenCall | undefined = undefined;
  /** Where the answers come from: frames, or else messages. */
  #source: FrameSource | undefined = undefined;
  #answers: AsyncIterator<AnswerInit> | undefined = undefined;
  #requests: RequestQueue<Message> | undefined = undefined;
  #waitingBytes = 0;
  #goOn: (() => void) | undefined = undefined;

  constructor(door: GrpcDoor, exchange: Exchange, context: CallContext, method: StreamMethod, codec: GrpcCodec) {
    super(door, exchange, context);
    this.#method = method;
    this.#codec = codec;
  }

  protected override onAdmitted(): void {
    if (this.#method.kind !== "bidi_streaming") return;
    const requests = new RequestQueue<Message>((left) => this.#onTaken(left));
    this.#requests = requests;
    this.#open(requests);
    // Then nobody reads them one after the other.
    if (this.#source !== undefined) this.#requests = undefined;
  }

  protected onMessage(bytes: Uint8Array): void {
    if (this.#method.kind === "server_streaming") {
      requireNone(this.#message);
      this.#message = this.#codec.decode(bytes);
      this.setTaken(bytes.length);
    } else if (this.#source !== undefined) {
      this.#source.take(this.#codec.decode(bytes));
    } else if (this.#requests !== undefined) {
      this.#queue(this.#requests, bytes);
    }
  }

  protected onRequestEnd(): void {
    if (this.#method.kind === "server_streaming") {
      this.setTaken(0);
      const message = requireOne(this.#message);
      this.#message = undefined;
      this.#open(message);
    } else {
      this.#source?.finish();
      this.#requests?.finish();
    }
  }

  #queue(requests: RequestQueue<Message>, bytes: Uint8Array): void {
    requests.push(this.#codec.decode(bytes));
    // Who takes no more has an empty queue.
    this.#waitingBytes = requests.size === 0 ? 0 : this.#waitingBytes + bytes.length;
    this.setTaken(this.#waitingBytes);
    if (requests.size >= maxWaitingMessages || this.#waitingBytes >= maxWaitingBytes) this.hold();
  }

  #onTaken(left: number): void {
    if (left > 0) return;
    this.#waitingBytes = 0;
    this.setTaken(0);
    this.proceed();
  }

  #open(input: Message | AsyncIterable<Message>): void {
    const { answers, observed } = openStream(this.door, { method: this.#method, context: this.context }, input);
    this.#observed = observed;
    if ("pipe" in answers) {
      const source = answers.pipe(this);
      // It may have ended already.
      if (!this.isOver) this.#source = source;
    } else {
      this.#answers = answers[Symbol.asyncIterator]();
      void this.#sendAll(this.#answers);
    }
  }

  async #sendAll(answers: AsyncIterator<AnswerInit>): Promise<void> {
    try {
      for (;;) {
        const { done, value } = await answers.next();
        if (this.isOver) return;
        if (done) break;
        if (!this.write(this.#codec.encode(value))) await this.#drained();
        if (this.isOver) return;
      }
      this.#answers = undefined;
      this.end();
    } catch (thrown) {
      this.#answers = undefined;
      this.stop(thrown);
    }
  }

  #drained(): Promise<void> {
    return new Promise((resolve) => {
      this.#goOn = resolve;
    });
  }

  write(frame: Uint8Array): boolean {
    if (this.isOver) return true;
    if (!this.hasResponded) this.#respond();
    return this.exchange.write(frame);
  }

  #respond(): void {
    this.hasResponded = true;
    this.exchange.respond(this.answerFields());
  }

  end(error?: ConnectError): void {
    if (this.isOver) return;
    // It has nothing to be told any more.
    this.#source = undefined;
    if (error !== undefined) {
      this.stop(error);
      return;
    }
    this.#observed?.succeed();
    this.finish();
  }

  override onDrain(): void {
    this.#source?.resume();
    this.#goOn?.();
  }

  protected logFailure(thrown: unknown): ConnectError {
    return this.#observed === undefined ? this.logRefusal(thrown) : this.#observed.fail(thrown);
  }

  protected override finish(error?: ConnectError): void {
    if (this.isOver) return;
    // In Trailers-Only, clients would take what the method has set for trailers.
    if (error !== undefined && !this.hasResponded && this.context.hasMethodFields) this.#respond();
    super.finish(error);
    this.#source?.cancel();
    this.#source = undefined;
    this.#requests?.finish(error);
    this.#goOn?.();
    // What waits for something else than the signal is told with its next answer.
    this.#answers?.return?.().catch(() => {});
    this.#answers = undefined;
  }
}
