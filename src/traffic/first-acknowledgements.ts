import type { Traffic } from "./traffic.ts";

/** What is told of each notification that a device acknowledges. */
export interface AcknowledgementListener {
  /** @param storedAtMs by the broker, in epoch milliseconds; 0 for what is no notification. */
  onAcknowledged(sequence: number, storedAtMs: number): void;
}

/** What had been stored before the user was here. */
interface Waited {
  readonly sequence: number;
  readonly ms: number;
}

/**
 * Measures how long a user's notifications take until the first device acknowledges them, among those that this process
 * sees. Whether another has acknowledged what had waited is looked up once.
 */
export class FirstAcknowledgements implements AcknowledgementListener {
  readonly #traffic: Traffic;
  readonly #readOthers: () => Promise<number>;
  readonly #sinceMs = Date.now();
  /** Some device has acknowledged everything up to this. */
  #through = 0;
  /** Up to where devices that have no session here have acknowledged; undefined until it is known. */
  #others: number | undefined = undefined;
  /** What is to be measured when that is known. */
  #waiting: Waited[] | undefined = undefined;

  /** @param readOthers how far the furthest device without a session here has acknowledged. */
  constructor(traffic: Traffic, readOthers: () => Promise<number>) {
    this.#traffic = traffic;
    this.#readOthers = readOthers;
  }

  /** A device has a session that continues after a sequence: it has acknowledged that. */
  knowAcknowledged(sequence: number): void {
    this.#through = Math.max(this.#through, sequence);
  }

  onAcknowledged(sequence: number, storedAtMs: number): void {
    if (sequence <= this.#through) return;
    this.#through = sequence;
    if (storedAtMs === 0) return;
    const ms = Date.now() - storedAtMs;
    if (storedAtMs >= this.#sinceMs) this.#traffic.reached(ms);
    else if (this.#others !== undefined) this.#judge({ sequence, ms }, this.#others);
    else if (this.#waiting !== undefined) this.#waiting.push({ sequence, ms });
    else if (this.#traffic.mayLookUp()) void this.#lookUp({ sequence, ms });
    else this.#traffic.unmeasured++;
  }

  #judge({ sequence, ms }: Waited, others: number): void {
    if (sequence > others) this.#traffic.reached(ms);
  }

  async #lookUp(first: Waited): Promise<void> {
    this.#waiting = [first];
    try {
      this.#others = await this.#readOthers();
      for (const waited of this.#waiting) this.#judge(waited, this.#others);
    } catch {
      // The broker is away; what is acknowledged next asks again.
      this.#traffic.unmeasured += this.#waiting.length;
    }
    this.#waiting = undefined;
  }
}
