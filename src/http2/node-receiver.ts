import type { Connection, Receiver, RequestHeaders } from "./exchange.ts";
import { type Log, pathOf } from "./protocol.ts";

/** The part of an exchange on Node's own HTTP that tells its receiver. What that throws ends the exchange, and no more. */
export abstract class NodeReceiver {
  readonly headers: RequestHeaders;
  readonly connection: Connection;
  protected readonly log: Log;
  protected receiver: Receiver | undefined;
  /** Whether the answer has: the receiver is told of the close only. */
  protected isEnded = false;
  protected isDrainAwaited = false;

  constructor(headers: RequestHeaders, connection: Connection, log: Log) {
    this.headers = headers;
    this.connection = connection;
    this.log = log;
  }

  /** Answers with a bare 500, or cuts off the answer that has begun. */
  protected abstract abandon(): void;

  protected take(bytes: Buffer): void {
    if (this.isEnded) return;
    try {
      this.receiver?.onData(bytes);
    } catch (err) {
      this.fail(err);
    }
  }

  protected endRequest(): void {
    if (this.isEnded) return;
    try {
      this.receiver?.onEnd();
    } catch (err) {
      this.fail(err);
    }
  }

  protected drain(): void {
    this.isDrainAwaited = false;
    if (this.isEnded) return;
    try {
      this.receiver?.onDrain();
    } catch (err) {
      this.fail(err);
    }
  }

  protected close(isWhole: boolean): void {
    this.isEnded = true;
    try {
      this.receiver?.onClose(isWhole);
    } catch (err) {
      this.fail(err);
    }
  }

  protected fail(err: unknown): void {
    this.log.error({ err, method: this.headers[":method"], path: pathOf(this.headers) }, "request failed");
    this.abandon();
  }
}
