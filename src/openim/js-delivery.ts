import type { Position } from "../inbox/lineage.ts";
import { conversationId } from "./conversation.ts";
import { Delivery, type Pulled } from "./delivery.ts";

/**
 * To the JavaScript SDK, which keeps no number: each push is a callback. So each notification is pushed once in a
 * connection, after the device's cursor, and the next ones when its engine has answered the ping after it.
 */
export class JsDelivery extends Delivery {
  /** The last of what was pushed and may not have been read. */
  #pushed: Position | undefined = undefined;

  begin(): void {
    this.outlet.subscribe("cursor");
  }

  pull(): Pulled {
    return [];
  }

  onPong(): void {
    if (this.#pushed === undefined) return;
    this.acknowledgements.add(this.#pushed);
    this.#pushed = undefined;
    this.proceed();
  }

  protected isUnderWay(): boolean {
    return this.#pushed !== undefined;
  }

  protected onLate(): void {}

  protected pump(): void {
    while (this.#pushed === undefined) {
      const batch = this.held.take();
      if (batch === undefined) return;
      const { last, messages } = batch;
      if (messages.length === 0) {
        this.acknowledgements.add(last);
      } else {
        this.#pushed = last;
        this.send(conversationId(this.outlet.userId, last.epoch), messages);
        this.outlet.ping();
      }
    }
  }
}
