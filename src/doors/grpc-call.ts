import { Code, ConnectError } from "@connectrpc/connect";
import type { BodyLimits } from "../calls/body.ts";
import { admit, type CallDeps, toObserved } from "../calls/call.ts";
import { callEnded, callerGone } from "../calls/call-ends.ts";
import type { CallContext } from "../calls/context.ts";
import { failure, retryAfterMsOf } from "../errors.ts";
import { acceptedEncodings } from "../grpc/inflate.ts";
import { pushMetadata } from "../grpc/metadata.ts";
import { ServerStream } from "../grpc/server-stream.ts";
import { okTrailers, pushStatus } from "../grpc/status.ts";
import type { Body } from "../http/body-budget.ts";
import type { Exchange, Fields } from "../http2/exchange.ts";
import { BindError, toFailure } from "../json/bind.ts";
import { Timer, type TimerOwner, type TimerWheel } from "../timer-wheel.ts";

/** What all calls of the door share. */
export interface GrpcDoor extends Pick<CallDeps, "authenticate" | "callLog"> {
  readonly bodyLimits: BodyLimits;
  /** The longest deadline that a caller may set, in milliseconds. */
  readonly maxTimeoutMs: number;
  /** Where deadlines are waited for. */
  readonly timers: TimerWheel;
  /** The calls under way. */
  readonly open: Set<GrpcCall>;
  /** Those whose message has come in this turn of the event loop, and whose request goes on. */
  readonly unended: GrpcCall[];
}

/** A call on its way: one object, from its headers to the end of its stream. */
export abstract class GrpcCall extends ServerStream implements Body, TimerOwner {
  capacity = 0;
  protected readonly door: GrpcDoor;
  protected readonly context: CallContext;
  protected isOver = false;
  protected hasResponded = false;
  #keptBytes = 0;
  #takenBytes = 0;
  #timer: Timer | undefined = undefined;

  constructor(door: GrpcDoor, exchange: Exchange, context: CallContext) {
    super(exchange);
    this.door = door;
    this.context = context;
    door.open.add(this);
  }

  /** The call has passed the gate; messages come when this returns. */
  protected onAdmitted(): void {}
  /** Tells the log that the call has failed. */
  protected abstract logFailure(thrown: unknown): ConnectError;

  /** Lets the call through the gate, by its headers. */
  begin(): void {
    this.#watchDeadline();
    try {
      const admitted = admit(this.door.authenticate, this.context);
      if (admitted === undefined) {
        this.#enter();
        return;
      }
      this.hold();
      admitted.then(
        () => {
          this.#enter();
          this.proceed();
        },
        (thrown: unknown) => this.stop(toFailure(thrown)),
      );
    } catch (thrown) {
      this.stop(toFailure(thrown));
    }
  }

  #enter(): void {
    if (this.isOver) return;
    try {
      this.#requireTimeout();
      this.#requireEncoding();
      this.onAdmitted();
      this.admit(this.door.bodyLimits.limitOf(this.context));
    } catch (thrown) {
      this.stop(thrown);
    }
  }

  /** Ends the call before its method has: its caller is told why. */
  stop(thrown: unknown): void {
    if (!this.isOver) this.finish(this.logFailure(thrown));
  }

  /** A body that has to give way, for the budget of all doors. */
  giveWay(): void {
    this.stop(failure("TooManyRequestsError", "too many bytes of bodies are under way"));
    this.ignoreRequest();
    this.setTaken(0);
  }

  protected onRefuse(thrown: unknown): void {
    this.stop(toGrpcFailure(thrown));
  }

  protected onKept(bytes: number): void {
    this.#keptBytes = bytes;
    this.count();
  }

  /** So many bytes were taken of a request that goes on. Nearly every request ends in the same turn, and costs nothing. */
  protected setTaken(bytes: number): void {
    this.#takenBytes = bytes;
    if (bytes === 0) this.count();
    else if (this.door.unended.push(this) === 1) setImmediate(countUnended, this.door);
  }

  onDrain(): void {}

  onClose(): void {
    this.stop(callerGone);
    if (this.#timer !== undefined) this.door.timers.clear(this.#timer);
    this.door.open.delete(this);
    this.setTaken(0);
    this.context.abort(callEnded);
  }

  /** The header fields of the answer. */
  protected answerFields(): string[] {
    const { headers, responseFields } = this.context;
    return [":status", "200", "content-type", headers["content-type"] ?? "", ...responseFields];
  }

  /** The trailers of an answer that is whole. */
  protected okTrailers(): Fields {
    if (this.context.trailers === undefined) return okTrailers;
    const trailers: string[] = [];
    pushMetadata(trailers, this.context.trailers);
    trailers.push(...okTrailers);
    return trailers;
  }

  /** Ends the answer, and with it the call. */
  protected finish(error?: ConnectError): void {
    if (this.isOver) return;
    this.isOver = true;
    this.ignoreRequest();
    this.setTaken(0);
    if (error === undefined) {
      if (!this.hasResponded) this.exchange.respond(this.answerFields());
      this.exchange.end(this.okTrailers());
    } else {
      // Without headers before them, the trailers are the whole answer: gRPC's Trailers-Only.
      const trailers = this.hasResponded ? [] : this.answerFields();
      if (this.context.trailers !== undefined) pushMetadata(trailers, this.context.trailers);
      pushStatus(trailers, error);
      // What gRPC's own retries go by, where a RetryInfo is for the application.
      const retryAfterMs = retryAfterMsOf(error);
      if (retryAfterMs !== undefined) trailers.push("grpc-retry-pushback-ms", String(retryAfterMs));
      this.exchange.end(trailers);
    }
    this.context.abort(error ?? callEnded);
  }

  /** Has the budgets of all bodies know how much is kept for this one. */
  count(): void {
    // A message that has just been taken is in both.
    const bytes = Math.max(this.#keptBytes, this.#takenBytes);
    if (bytes === this.capacity) return;
    const budgets = this.door.bodyLimits.budgetsOf(this.exchange.connection);
    if (this.capacity > 0) for (const budget of budgets) budget.remove(this);
    this.capacity = bytes;
    if (bytes === 0) return;
    for (const budget of budgets) budget.add(this);
    for (const budget of budgets) budget.enforce();
  }

  #requireTimeout(): void {
    const timeoutMs = this.context.timeoutMs();
    if (timeoutMs === undefined || timeoutMs <= this.door.maxTimeoutMs) return;
    throw failure("ArgsError", `grpc-timeout must be up to 8 digits and a unit, and at most 30 days`);
  }

  #requireEncoding(): void {
    const encoding = this.context.headers["grpc-encoding"];
    if (encoding === undefined || encoding === "identity" || encoding === acceptedEncodings) return;
    this.context.respondWith("grpc-accept-encoding", acceptedEncodings);
    throw failure("ArgsError", "of compressed requests only gzip is taken", undefined, { code: Code.Unimplemented });
  }

  #watchDeadline(): void {
    const leftMs = this.context.timeoutMs();
    if (leftMs === undefined || !(leftMs <= this.door.maxTimeoutMs)) return;
    this.#timer = new Timer(this);
    this.door.timers.set(this.#timer, leftMs);
  }

  onTime(): void {
    this.stop(new ConnectError("the deadline has passed", Code.DeadlineExceeded));
  }

  protected logRefusal(thrown: unknown): ConnectError {
    return this.door.callLog.refuse(toObserved(this.context), thrown);
  }
}

function countUnended({ unended }: GrpcDoor): void {
  for (const call of unended.splice(0)) call.count();
}

/** What the protocol's own errors have. */
const protocolCodes: ReadonlySet<Code> = new Set([Code.InvalidArgument, Code.Internal]);

/** What is wrong with a request as our error, with gRPC's code for it. */
function toGrpcFailure(thrown: unknown): unknown {
  if (thrown instanceof BindError) return toFailure(thrown);
  const isOfProtocol = thrown instanceof ConnectError && protocolCodes.has(thrown.code) && thrown.details.length === 0;
  return isOfProtocol ? failure("ArgsError", thrown.rawMessage, undefined, { code: thrown.code }) : thrown;
}
