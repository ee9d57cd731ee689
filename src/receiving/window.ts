import type { Gap_Reason } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import type { InboxEntry, ItemMarks } from "../inbox/items.ts";
import { traceDelivery } from "../tracing/spans.ts";
import type { AcknowledgementListener } from "../traffic/first-acknowledgements.ts";
import type { Traffic } from "../traffic/traffic.ts";
import { encodeSettled } from "./events.ts";
import type { FeedItem } from "./feed/feed-item.ts";

/** A notification that was sent, and whose acknowledgement sets something off. */
export interface MarkedItem extends Pick<InboxEntry, "sequence" | "epoch" | "devices"> {
  readonly marks: ItemMarks;
  /** Whether another device has acknowledged it for the user: that is to be told to this one, or was. */
  settled: "no" | "to tell" | "told";
}

/** Where what happens is counted. */
interface WindowHome {
  readonly traffic: Traffic;
  readonly acknowledgements: AcknowledgementListener;
  onGap(reason: Gap_Reason): void;
}

/** What a device was sent and has not acknowledged: no more than it asks for. */
export class Window {
  #size: number;
  readonly #home: WindowHome;
  /** The sequences, oldest first; undefined when there are none. */
  #sent: number[] | undefined = undefined;
  /** When each was stored, in epoch milliseconds; 0 for what is no notification. */
  #storedAtMs: number[] = none;
  /** Those of them with marks; undefined when there are none. */
  #marked: MarkedItem[] | undefined = undefined;
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
    if (item.kind === "gap") this.#home.onGap(item.reason);
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
    if (item.kind === "gap" || item.kind === "settled" || item.marks === undefined) return;
    const { epoch, devices, marks } = item;
    this.#marked ??= [];
    this.#marked.push({ sequence, epoch, devices, marks, settled: "no" });
  }

  /** Takes out what has marks up to this sequence. */
  takeMarked(sequence: number): readonly MarkedItem[] {
    const [oldest] = this.#marked ?? [];
    if (this.#marked === undefined || oldest === undefined || oldest.sequence > sequence) return unmarked;
    const taken = this.#marked.filter((item) => item.sequence <= sequence);
    this.#marked = taken.length === this.#marked.length ? undefined : this.#marked.slice(taken.length);
    return taken;
  }

  /** Whether the device has something up to this sequence that another may acknowledge for the user. */
  hasUnsettled(sequence: number): boolean {
    return this.#marked?.some((item) => item.sequence <= sequence && isUnsettled(item)) === true;
  }

  /** Another device has acknowledged some for the user; false when that changes nothing. */
  settle(isSettled: (item: MarkedItem) => boolean): boolean {
    const settled = this.#marked?.filter((item) => isUnsettled(item) && isSettled(item)) ?? [];
    for (const item of settled) item.settled = "to tell";
    return settled.length > 0;
  }

  /** The event of the oldest that is settled, of which the device is to be told. */
  takeSettled(): Uint8Array | undefined {
    const item = this.#marked?.find(({ settled }) => settled === "to tell");
    if (item === undefined) return undefined;
    item.settled = "told";
    return encodeSettled(item, true);
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

const unmarked: readonly MarkedItem[] = [];

/** Of all windows, and never changed. */
const none: number[] = [];

/** Whether another device may still acknowledge it for the user, as far as the session knows. */
export function isUnsettled({ marks, settled }: MarkedItem): boolean {
  return marks.isUserScoped && settled === "no";
}
