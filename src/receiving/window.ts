import { traceDelivery } from "../tracing/spans.ts";
import type { AcknowledgementListener } from "../traffic/first-acknowledgements.ts";
import type { Traffic } from "../traffic/traffic.ts";
import type { FeedItem } from "./feed.ts";

/** Where what happens is counted. */
interface WindowHome {
  readonly traffic: Traffic;
  readonly acknowledgements: AcknowledgementListener;
}

/** What a device was sent and has not acknowledged: no more than it asks for. */
export class Window {
  #size: number;
  readonly #home: WindowHome;
  /** The sequences, oldest first; undefined when there are none. */
  #sent: number[] | undefined = undefined;
  /** When each was stored, in epoch milliseconds; 0 for what is no notification. */
  #storedAtMs: number[] = none;
  #acknowledged = 0;
  #sentBefore = 0;
  #sentThrough = 0;

  /** @param size how many may be unacknowledged. */
  constructor(size: number, home: WindowHome) {
    this.#size = size;
    this.#home = home;
  }

  get size(): number {
    return this.#size;
  }

  resize(size: number): void {
    this.#size = size;
  }

  isClosed(): boolean {
    return this.#sent !== undefined && this.#sent.length >= this.#size;
  }

  /**
   * Everything up to `sequence` is known to be acknowledged when the session begins.
   *
   * @param sentBefore up to here, what follows was sent to the device before.
   */
  begin(sequence: number, sentBefore: number): void {
    this.#sentThrough = sequence;
    this.#sentBefore = sentBefore;
  }

  /** One more was sent. */
  add(item: FeedItem): void {
    const { sequence } = item;
    const storedAtMs = item.kind === "notification" ? item.storedAtMs : 0;
    if (storedAtMs > 0) this.#home.traffic.send(sequence <= this.#sentBefore);
    if (item.kind === "notification" && item.traceparent !== "") traceDelivery(item.traceparent, storedAtMs, sequence);
    this.#sentThrough = sequence;
    if (this.#sent === undefined) {
      this.#sent = [sequence];
      this.#storedAtMs = [storedAtMs];
    } else {
      this.#sent.push(sequence);
      this.#storedAtMs.push(storedAtMs);
    }
  }

  /** The device has handled everything up to this sequence; false when that opens nothing. */
  acknowledge(sequence: number): boolean {
    this.#acknowledged = Math.max(this.#acknowledged, sequence);
    const [oldest] = this.#sent ?? [];
    if (oldest === undefined || oldest > sequence) return false;
    const [sent, storedAtMs] = [this.#sent ?? none, this.#storedAtMs];
    const left = sent.findIndex((one) => one > sequence);
    const count = left === -1 ? sent.length : left;
    for (let i = 0; i < count; i++) this.#home.acknowledgements.onAcknowledged(sent[i] ?? 0, storedAtMs[i] ?? 0);
    if (left === -1) {
      this.#sent = undefined;
      this.#storedAtMs = none;
    } else {
      sent.splice(0, left);
      storedAtMs.splice(0, left);
    }
    return true;
  }

  /** How many were sent and are not acknowledged. */
  unacknowledged(): number {
    return this.#sent?.length ?? 0;
  }

  /** The highest sequence that {@link acknowledge} was told; 0 before. */
  acknowledged(): number {
    return this.#acknowledged;
  }

  /** Everything up to this sequence was sent, or was known to be acknowledged when the session began. */
  sentThrough(): number {
    return this.#sentThrough;
  }
}

/** Of all windows, and never changed. */
const none: number[] = [];
