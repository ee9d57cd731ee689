import type { Position } from "../inbox/lineage.ts";
import type { Item } from "./read-event.ts";

/** Items of one epoch that go to a device together. */
export interface Batch {
  readonly last: Position;
  readonly messages: readonly Uint8Array[];
}

/** What is held for a device before the session is told to wait, in bytes. */
const maxHeldBytes = 1_048_576;

/**
 * The messages of a frame, in bytes: the Go SDK closes the connection at a frame of more than 1,048,576, and gets the same
 * one the next time. What does not compress grows a little, and there is a frame around it.
 */
export const maxBatchBytes = 900_000;

/** Items that a session has given and that no batch has. */
export class Held {
  readonly #items: Item[] = [];
  #bytes = 0;

  add(item: Item): void {
    this.#items.push(item);
    this.#bytes += item.message?.length ?? 0;
  }

  /** What is held of this place is not to be given to the device any more; the place is. */
  settle({ epoch, sequence }: Position): void {
    const index = this.#items.findIndex((item) => item.epoch === epoch && item.sequence === sequence);
    const item = this.#items[index];
    if (item === undefined) return;
    this.#bytes -= item.message?.length ?? 0;
    this.#items[index] = { epoch, sequence, message: undefined };
  }

  isEmpty(): boolean {
    return this.#items.length === 0;
  }

  isFull(): boolean {
    return this.#bytes >= maxHeldBytes;
  }

  /** Takes the next ones: a first one whatever its size. Those at the end without a message are left for the next batch. */
  take(): Batch | undefined {
    const [first] = this.#items;
    if (first === undefined) return undefined;
    let count = 0;
    let bytes = 0;
    for (const [index, { epoch, message }] of this.#items.entries()) {
      bytes += message?.length ?? 0;
      if (epoch !== first.epoch || (index > 0 && bytes > maxBatchBytes)) break;
      if (message !== undefined) count = index + 1;
    }
    if (count === 0)
      count = this.#items.findIndex(({ message, epoch }) => message !== undefined || epoch !== first.epoch);
    if (count === -1) count = this.#items.length;
    const items = this.#items.splice(0, count);
    const messages = items.flatMap(({ message }) => message ?? []);
    this.#bytes -= messages.reduce((sum, { length }) => sum + length, 0);
    return { last: items.at(-1) ?? first, messages };
  }
}
