import type { Message } from "@bufbuild/protobuf";
import type { ConnectError } from "@connectrpc/connect";
import type { FrameSink, FrameSource } from "../../answers.ts";
import type { Gate } from "../../auth/authenticate.ts";
import { admit, type CallDeps, openStream, type StreamMethod, toObserved } from "../../calls/call.ts";
import { callEnded } from "../../calls/call-ends.ts";
import type { CallContext } from "../../calls/context.ts";
import { toFailure } from "../../json/bind.ts";
import type { OpenCall } from "../../observe/call-log.ts";

/** A device's stream through a door of JSON: one object, from its request to its end. */
export abstract class EventCall implements FrameSink {
  protected readonly context: CallContext;
  protected source: FrameSource | undefined = undefined;
  protected isOver = false;
  readonly #callLog: CallDeps["callLog"];
  #observed: OpenCall | undefined = undefined;

  constructor({ callLog }: Pick<CallDeps, "callLog">, context: CallContext) {
    this.#callLog = callLog;
    this.context = context;
  }

  abstract write(frame: Uint8Array): boolean;

  /** Tells the device that its stream has ended, and why if not as planned. */
  protected abstract tellEnd(error: ConnectError | undefined): void;

  /** Lets the call through the gate, and then `next`. */
  protected enter(gate: Gate, next: () => void): void {
    const goOn = () => {
      if (this.isOver) return;
      try {
        next();
      } catch (thrown) {
        this.stop(thrown);
      }
    };
    try {
      const admitted = admit(gate, this.context);
      if (admitted === undefined) goOn();
      else admitted.then(goOn, (thrown: unknown) => this.stop(toFailure(thrown)));
    } catch (thrown) {
      this.stop(toFailure(thrown));
    }
  }

  /** Begins the stream. */
  protected open(method: StreamMethod, input: Message | AsyncIterable<Message>): void {
    const { answers, observed } = openStream({ callLog: this.#callLog }, { method, context: this.context }, input);
    this.#observed = observed;
    if (!("pipe" in answers)) throw new TypeError(`${method.method.toString()} has no frames`);
    const source = answers.pipe(this);
    // It may have ended already.
    if (this.isOver) source.cancel();
    else this.source = source;
  }

  end(error?: ConnectError): void {
    if (this.isOver) return;
    // It has nothing to be told any more.
    this.source = undefined;
    if (error !== undefined) {
      this.stop(error);
      return;
    }
    this.#observed?.succeed();
    this.#finish(undefined);
  }

  /** Ends the stream before its session has: the device is told why. */
  protected stop(thrown: unknown): void {
    if (this.isOver) return;
    const { context } = this;
    this.#finish(this.#observed?.fail(thrown) ?? this.#callLog.refuse(toObserved(context), thrown));
  }

  #finish(error: ConnectError | undefined): void {
    this.isOver = true;
    this.source?.cancel();
    this.source = undefined;
    this.tellEnd(error);
    this.context.abort(error ?? callEnded);
  }
}
