import type { Position } from "../inbox/lineage.ts";
import { Timer, type TimerOwner, type TimerWheel } from "../timer-wheel.ts";

/**
 * How long after a device has read a frame what is in it counts as handled, in milliseconds: the Go SDK gathers
 * notifications for up to a second before it hands them on.
 */
const settleMs = 1_200;

interface Waiting extends Position {
  /** On the clock of performance.now(). */
  readonly handledAt: number;
}

/** What a device has read and may not have handled yet. */
export class Acknowledgements implements TimerOwner {
  readonly #timers: TimerWheel;
  readonly #acknowledge: (position: Position) => void;
  readonly #onEmpty: () => void;
  readonly #timer = new Timer(this);
  #waiting: Waiting[] = [];

  /** @param onEmpty called whenever all has been acknowledged. */
  constructor(timers: TimerWheel, acknowledge: (position: Position) => void, onEmpty: () => void) {
    this.#timers = timers;
    this.#acknowledge = acknowledge;
    this.#onEmpty = onEmpty;
  }

  isEmpty(): boolean {
    return this.#waiting.length === 0;
  }

  /** The device has read everything up to a position. */
  add({ sequence, epoch }: Position): void {
    this.#waiting.push({ sequence, epoch, handledAt: performance.now() + settleMs });
    if (this.#waiting.length === 1) this.#timers.set(this.#timer, settleMs);
  }

  /** The device has handled all of it. */
  settle(): void {
    const last = this.#waiting.at(-1);
    if (last === undefined) return;
    this.clear();
    this.#acknowledge(last);
    this.#onEmpty();
  }

  /** Forgets what may not have been handled. */
  clear(): void {
    this.#waiting = [];
    this.#timers.clear(this.#timer);
  }

  onTime(): void {
    const now = performance.now();
    const left = this.#waiting.filter(({ handledAt }) => handledAt > now);
    const last = this.#waiting[this.#waiting.length - left.length - 1];
    this.#waiting = left;
    const [next] = left;
    if (next !== undefined) this.#timers.set(this.#timer, next.handledAt - now);
    if (last !== undefined) this.#acknowledge(last);
    if (next === undefined) this.#onEmpty();
  }
}
