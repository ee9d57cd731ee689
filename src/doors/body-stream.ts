import type { Exchange, Receiver } from "../http2/exchange.ts";

/** How many bytes that nobody has read yet hold up the peer. */
const maxUnreadBytes = 65_536;
/** What a piece takes besides its bytes: frames of a byte each would be a hundred times what they carry. */
const pieceBytes = 128;

/** The body of a request that is read as it comes. */
export class BodyStream implements Receiver, AsyncIterable<Uint8Array> {
  /** Is told when the exchange is over, and whether its answer was sent to its end. */
  closed: ((isWhole: boolean) => void) | undefined;
  /** Is told that what waited to be sent is less again. */
  drained: (() => void) | undefined;
  readonly #exchange: Exchange;
  #pieces: Uint8Array[] = [];
  #unreadBytes = 0;
  #isComplete = false;
  #isClosed = false;
  #wake: (() => void) | undefined;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }

  onData(bytes: Uint8Array): void {
    this.#pieces.push(Uint8Array.from(bytes));
    this.#unreadBytes += bytes.length + pieceBytes;
    if (this.#unreadBytes > maxUnreadBytes) this.#exchange.pause();
    this.#wake?.();
  }

  onEnd(): void {
    this.#isComplete = true;
    this.#wake?.();
  }

  onDrain(): void {
    this.drained?.();
  }

  onClose(isWhole: boolean): void {
    this.#isClosed = true;
    this.#wake?.();
    this.closed?.(isWhole);
  }

  /** Throws when the body was cut off. */
  async *[Symbol.asyncIterator]() {
    for (;;) {
      const pieces = this.#pieces;
      this.#pieces = [];
      this.#unreadBytes = 0;
      if (pieces.length > 0) this.#exchange.resume();
      yield* pieces;
      if (this.#pieces.length > 0) continue;
      if (this.#isComplete) return;
      if (this.#isClosed) throw new Error("the body was cut off");
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}
