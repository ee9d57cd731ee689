import { failure } from "../errors.ts";
import type { Body, BodyBudget } from "../http/body-budget.ts";
import { discard } from "../http/discard.ts";
import type { Exchange, Receiver } from "../http2/exchange.ts";
import { BindError } from "../json/bind.ts";
import { type BodyContext, type BodyLimit, type BodyLimits, maxOrdinaryBytes } from "./body.ts";

/** The body of a request that is read as a whole, taken in from its first byte on. */
export class IncomingBody implements Receiver, Body {
  capacity = 0;
  /** Is told when the exchange is over, and whether its answer was sent to its end. */
  closed: ((isWhole: boolean) => void) | undefined;
  /** Is told that what waited to be sent is less again. */
  drained: (() => void) | undefined;
  readonly #exchange: Exchange;
  readonly #limits: BodyLimits;
  readonly #prefixBytes: number;
  #budgets: readonly BodyBudget[] = [];
  // One buffer that grows, not the chunks as they came: a chunk of one byte may hold on to a whole read of the socket.
  #bytes: Uint8Array<ArrayBuffer> = none;
  #length = 0;
  /** A body that came in one piece. */
  #whole: Buffer | undefined;
  #limit: BodyLimit | undefined;
  #isComplete = false;
  #isClosed = false;
  /** Whether nothing more is kept: it was read, or refused. */
  #isOver = false;
  #failure: unknown;
  #reader: PromiseWithResolvers<Buffer> | undefined;
  #restOver: (() => void) | undefined;

  /** @param prefixBytes what stands before the message in the body, and does not count for its limit. Default: 0. */
  constructor(exchange: Exchange, limits: BodyLimits, prefixBytes = 0) {
    this.#exchange = exchange;
    this.#limits = limits;
    this.#prefixBytes = prefixBytes;
  }

  /**
   * Reads the body of a call that the gate has let through; once.
   *
   * Rejects with {@link BindError} 413 when it is too large, with NoPermissionError (1002) when it is so for a caller who
   * may not call the method anyway, and with TooManyRequestsError (429) when it had to give way.
   */
  async read(context: BodyContext): Promise<Buffer> {
    if (this.#isOver) throw this.#failure;
    this.#limit = this.#limits.limitOf(context);
    if (this.#length > this.#limit.maxBytes + this.#prefixBytes) this.#fail(this.#limit.tooLarge());
    if (this.#isOver) throw this.#failure;
    if (this.#isComplete) return this.#take();
    this.#reader = Promise.withResolvers();
    this.#exchange.resume();
    return this.#reader.promise;
  }

  /** Takes the rest of a refused body from the wire, so that the answer can be read. */
  async discard(): Promise<void> {
    if (this.#isComplete || this.#isClosed) return;
    this.#fail(undefined);
    this.#exchange.resume();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#restOver = resolve;
    await discard(this.#exchange.connection, promise);
  }

  onData(chunk: Uint8Array): void {
    if (this.#isOver) return;
    const needed = this.#length + chunk.length;
    const maxBytes = (this.#limit ?? this.#limits).maxBytes + this.#prefixBytes;
    if (needed > maxBytes) {
      this.#refuseLarge(needed);
      return;
    }
    if (this.#length === 0 && needed <= maxOrdinaryBytes && isWhole(this.#exchange, needed)) {
      // It is not kept for longer than it takes to read it.
      this.#length = needed;
      this.#whole = Buffer.from(chunk);
      return;
    }
    // Malformed (RFC 9113, 8.1.1), and no body to be read by half.
    if (this.#whole !== undefined) this.#fail(new BindError("the body is longer than its Content-Length", 400));
    if (this.#isOver) return;
    if (needed > this.#bytes.length) this.#grow(needed, maxBytes);
    if (this.#isOver) return;
    this.#bytes.set(chunk, this.#length);
    this.#length = needed;
    // Whose it is, is not known yet, and so not how large it may be.
    if (this.#limit === undefined && needed > maxOrdinaryBytes) this.#exchange.pause();
  }

  onEnd(): void {
    this.#isComplete = true;
    this.#restOver?.();
    if (!this.#isOver && this.#reader !== undefined) this.#reader.resolve(this.#take());
  }

  onDrain(): void {
    this.drained?.();
  }

  onClose(isWhole: boolean): void {
    this.#isClosed = true;
    // An error is made only where there is one: its stack costs more than the rest of this class.
    if (!this.#isOver && !this.#isComplete) this.#fail(new BindError("the body was cut off", 400));
    this.#restOver?.();
    this.closed?.(isWhole);
  }

  giveWay(): void {
    this.#fail(failure("TooManyRequestsError", "too many bytes of bodies are under way"));
  }

  #refuseLarge(length: number): void {
    if (this.#limit !== undefined) this.#fail(this.#limit.tooLarge());
    // What is wrong with it depends on whose it is.
    else this.#length = length;
  }

  #grow(needed: number, maxBytes: number): void {
    // The first piece is mostly the whole.
    const capacity =
      this.#length === 0 ? needed : Math.min(maxBytes, Math.max(4_096, 2 ** Math.ceil(Math.log2(needed))));
    for (const budget of this.#budgets) budget.remove(this);
    this.#budgets = this.#limits.budgetsOf(this.#exchange.connection);
    this.capacity = capacity;
    for (const budget of this.#budgets) budget.add(this);
    for (const budget of this.#budgets) budget.enforce();
    if (this.#isOver) return;
    this.#bytes =
      this.#bytes === none ? new Uint8Array(capacity) : new Uint8Array(this.#bytes.buffer.transfer(capacity));
  }

  #take(): Buffer {
    this.#release();
    return this.#whole ?? Buffer.from(this.#bytes.buffer, 0, this.#length);
  }

  #release(): void {
    this.#isOver = true;
    for (const budget of this.#budgets) budget.remove(this);
  }

  #fail(error: unknown): void {
    if (this.#isOver) return;
    this.#release();
    // Given back at once: left to the garbage collector, tens of megabytes pile up before it looks at buffers.
    if (this.#bytes !== none) this.#bytes.buffer.transfer(0);
    this.#failure = error;
    this.#reader?.reject(error);
  }
}

/** Bytes of nothing, for all bodies that have not begun. */
const none = new Uint8Array();

/** Whether this first piece of a body is all of it. */
function isWhole({ headers }: Exchange, length: number): boolean {
  return headers["content-length"] === String(length);
}
