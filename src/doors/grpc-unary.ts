import type { Message } from "@bufbuild/protobuf";
import type { ConnectError } from "@connectrpc/connect";
import { call, type UnaryMethod } from "../calls/call.ts";
import type { CallContext } from "../calls/context.ts";
import { toWireError } from "../errors.ts";
import type { Exchange } from "../http2/exchange.ts";
import { GrpcCall, type GrpcDoor } from "./grpc-call.ts";
import { type GrpcCodec, requireNone, requireOne } from "./grpc-codec.ts";

/** A call of one message and one answer. */
export class GrpcUnaryCall extends GrpcCall {
  readonly #method: UnaryMethod;
  readonly #codec: GrpcCodec;
  #message: Message | undefined = undefined;
  #isCalled = false;

  constructor(door: GrpcDoor, exchange: Exchange, context: CallContext, method: UnaryMethod, codec: GrpcCodec) {
    super(door, exchange, context);
    this.#method = method;
    this.#codec = codec;
  }

  protected onMessage(bytes: Uint8Array): void {
    requireNone(this.#message);
    this.#message = this.#codec.decode(bytes);
    this.setTaken(bytes.length);
  }

  protected onRequestEnd(): void {
    this.setTaken(0);
    const message = requireOne(this.#message);
    this.#message = undefined;
    this.#isCalled = true;
    call(this.door, { method: this.#method, context: this.context }, message).then(
      (output) => this.#answer(output),
      (error: ConnectError) => this.finish(error),
    );
  }

  override stop(thrown: NonNullable<unknown>): void {
    // The method's call ends, with this error in the log, and then ours.
    if (this.#isCalled) this.context.abort(thrown);
    else super.stop(thrown);
  }

  protected logFailure(thrown: unknown): ConnectError {
    return this.logRefusal(thrown);
  }

  #answer(output: Message): void {
    if (this.isOver) return;
    try {
      const frame = this.#codec.encode(output);
      this.isOver = true;
      this.exchange.answer(this.answerFields(), frame, this.okTrailers());
    } catch (error) {
      this.isOver = false;
      this.finish(toWireError(error));
    }
  }
}
