import { Code, ConnectError } from "@connectrpc/connect";
import type { Exchange, Receiver } from "../http2/exchange.ts";
import { acceptedEncodings, inflate, inflatedLength } from "./inflate.ts";
import { type MessageLimit, MessageReader } from "./message-reader.ts";

/**
 * The messages of a request, as the server of a call sees them. They are held back until {@link admit}, and while
 * {@link hold} asks for it: the peer then has to wait.
 */
export abstract class ServerStream implements Receiver {
  protected readonly exchange: Exchange;
  #limit: MessageLimit | undefined = undefined;
  #reader: MessageReader | undefined = undefined;
  #keptBytes = 0;
  #isHeld = false;
  #isInflating = false;
  #hasEnded = false;
  #isRefused = false;

  constructor(exchange: Exchange) {
    this.exchange = exchange;
  }

  /** Takes a message. It is valid during the call only. What it throws refuses the request. */
  protected abstract onMessage(bytes: Uint8Array): void;
  /** There are no more messages. What it throws refuses the request. */
  protected abstract onRequestEnd(): void;
  /** What has come is no request, or {@link onMessage} has thrown. Nothing more of it is read. */
  protected abstract onRefuse(thrown: unknown): void;
  /** So many bytes are kept for messages that are not whole, or not taken, in place of what was told before. */
  protected abstract onKept(bytes: number): void;
  abstract onDrain(): void;
  abstract onClose(isWhole: boolean): void;

  /** Lets messages in. */
  protected admit(limit: MessageLimit): void {
    this.#limit = limit;
    this.#readOn();
  }

  /** Takes no more messages until {@link proceed}. */
  protected hold(): void {
    this.#isHeld = true;
    this.exchange.pause();
  }

  protected proceed(): void {
    if (!this.#isHeld) return;
    this.#isHeld = false;
    this.#readOn();
    if (!this.#isHeld && !this.#isInflating) this.exchange.resume();
  }

  /** Reads nothing more of the request. */
  protected ignoreRequest(): void {
    this.#isRefused = true;
    this.#isInflating = false;
    this.#reader?.clear();
    this.#reader = undefined;
    // It holds on to more than its number, for as long as the answer lasts.
    this.#limit = undefined;
    this.#tellKept();
  }

  onData(bytes: Uint8Array): void {
    if (this.#isRefused) return;
    this.#reader ??= new MessageReader();
    this.#reader.push(bytes);
    this.#readOn();
  }

  onEnd(): void {
    this.#hasEnded = true;
    this.#readOn();
  }

  #readOn(): void {
    try {
      this.#readMessages();
    } catch (thrown) {
      this.#refuse(thrown);
    }
    this.#reader?.keep();
    // A stream that goes on may have nothing more to say for hours.
    if (this.#reader?.hasRest === false) this.#reader = undefined;
    this.#tellKept();
  }

  #readMessages(): void {
    while (this.#limit !== undefined && !this.#isHeld && !this.#isInflating && !this.#isRefused) {
      const reader = this.#reader;
      const message = reader?.next(this.#limit);
      if (reader !== undefined && message !== undefined) {
        if (reader.isCompressed) this.#inflate(message, this.#limit);
        else this.onMessage(message);
        continue;
      }
      if (!this.#hasEnded) return;
      if (reader?.hasRest) throw new ConnectError("the message in the body is cut off", Code.InvalidArgument);
      this.ignoreRequest();
      this.onRequestEnd();
    }
  }

  #inflate(bytes: Uint8Array, limit: MessageLimit): void {
    if (this.exchange.headers["grpc-encoding"] !== acceptedEncodings) {
      throw new ConnectError("the message is compressed, by no encoding", Code.Internal);
    }
    const length = inflatedLength(bytes, limit);
    const inflated = inflate(bytes, length);
    if (!(inflated instanceof Promise)) {
      this.onMessage(inflated);
      return;
    }
    this.#isInflating = true;
    this.exchange.pause();
    // The copy that is read, and what it becomes.
    this.#keptBytes += bytes.length + length;
    this.onKept(this.#keptBytes);
    inflated.then((message) => this.#takeInflated(message)).catch((thrown: unknown) => this.#refuse(thrown));
  }

  #takeInflated(message: Uint8Array): void {
    this.#isInflating = false;
    if (this.#isRefused) return;
    this.onMessage(message);
    this.#readOn();
    if (!this.#isHeld && !this.#isInflating) this.exchange.resume();
  }

  #refuse(thrown: unknown): void {
    this.ignoreRequest();
    this.onRefuse(thrown);
  }

  #tellKept(): void {
    // What is being inflated counts until it is read on.
    if (this.#isInflating) return;
    const bytes = this.#reader?.keptBytes ?? 0;
    if (bytes === this.#keptBytes) return;
    this.#keptBytes = bytes;
    this.onKept(bytes);
  }
}
