import { createRate, takeOne, waitMs } from "../rate-limit.ts";
import { conversationId, toNumber, toSequence, unreachedNumber } from "./conversation.ts";
import { Delivery, type Outlet, type Pulled } from "./delivery.ts";
import type { Batch } from "./held.ts";
import { encodeProbe } from "./wire/messages.ts";

/** How long a device may take to ask for what it was told of, before it is told again, in milliseconds. */
const probeAgainMs = 10_000;

/**
 * Batches that begin at once, and a second; what is stored meanwhile is one batch, and the device asks for that once. After
 * twenty pushes within ten seconds it gathers further ones, for the longer the more there are.
 */
const batches = createRate({ burst: 8, perSecond: 2.5 });

/** An answer that the device has read later than this after its pull, in milliseconds, it may not have waited for. */
const maxAnswerMs = 8_000;

/** Where the delivery stands: it asks a device for its number, tells it of a batch, or has given it one. */
type Stage =
  | { readonly kind: "idle" }
  /** @param epochs those that are left to be asked for, the newest first. */
  | { readonly kind: "asking"; readonly epochs: readonly string[] }
  | { readonly kind: "probed"; readonly batch: Batch }
  | { readonly kind: "answered"; readonly batch: Batch; readonly pulledAt: number };

/**
 * To the Go SDK, which keeps a number for each conversation, pulls what is between its own and that of a push, and takes
 * what is not in the answer for not there. Its number, not the cursor, says where it is: it is asked for it first, by the
 * push of a number that is not reached, whose pull is answered with an error. From then on a push only tells of a batch
 * that one answer has room for, and the next follows when that has been read.
 */
export class GoDelivery extends Delivery {
  readonly #epochs: readonly string[];
  /** The device's number by epoch, where it is not 0. */
  readonly #numbers = new Map<string, number>();
  #stage: Stage = { kind: "idle" };
  /** See {@link takeOne}. */
  #batchesFullAt = 0;

  /** @param epochs those of the store, the oldest first. */
  constructor(outlet: Outlet, epochs: readonly string[]) {
    super(outlet);
    this.#epochs = epochs;
  }

  begin(): void {
    this.#ask(this.#epochs.toReversed());
  }

  pull(conversation: string, begin: number, end: number): Pulled {
    const stage = this.#stage;
    if (stage.kind === "asking" && this.#isOf(conversation, stage.epochs[0])) {
      this.#learn(stage.epochs, begin - 1);
      return "asked";
    }
    // It was asked twice.
    if (end === unreachedNumber) return "asked";
    if (stage.kind === "idle" || stage.kind === "asking") return this.#isOurs(conversation) ? "astray" : [];
    const { epoch } = stage.batch.last;
    if (!this.#isOf(conversation, epoch)) return this.#isOurs(conversation) ? "astray" : [];
    // It has not taken an answer, or lost what it had.
    if (begin !== (this.#numbers.get(epoch) ?? 0) + 1) return "astray";
    // What came before is in its hands, since it counts it.
    this.acknowledgements.settle();
    this.#stage = { kind: "answered", batch: stage.batch, pulledAt: performance.now() };
    return stage.batch.messages;
  }

  onPong(): void {
    if (this.#stage.kind !== "answered") return;
    const { batch, pulledAt } = this.#stage;
    if (performance.now() - pulledAt > maxAnswerMs) {
      this.stop();
      return;
    }
    this.#numbers.set(batch.last.epoch, toNumber(batch.last.sequence));
    this.acknowledgements.add(batch.last);
    this.#stage = { kind: "idle" };
    this.proceed();
  }

  // Whatever it has not handled, it asks for again.
  protected isUnderWay(): boolean {
    return false;
  }

  protected onLate(): void {
    if (this.#stage.kind === "asking") this.#probe(this.#stage.epochs[0], unreachedNumber);
    if (this.#stage.kind === "probed") this.#tell(this.#stage.batch);
    if (this.#stage.kind === "idle") this.proceed();
  }

  protected pump(): void {
    while (this.#stage.kind === "idle" && !this.held.isEmpty()) {
      const now = performance.now();
      const fullAt = takeOne(batches, this.#batchesFullAt, now);
      if (fullAt === undefined) {
        this.outlet.timers.set(this.timer, waitMs(batches, this.#batchesFullAt, now));
        return;
      }
      const batch = this.held.take();
      if (batch === undefined) return;
      if (batch.messages.length === 0) {
        this.acknowledgements.add(batch.last);
      } else {
        this.#stage = { kind: "probed", batch };
        this.#batchesFullAt = fullAt;
        this.#tell(batch);
      }
    }
  }

  #ask(epochs: readonly string[]): void {
    if (epochs.length === 0) {
      this.#stage = { kind: "idle" };
      this.outlet.subscribe("beginning");
    } else {
      this.#stage = { kind: "asking", epochs };
      this.#probe(epochs[0], unreachedNumber);
    }
  }

  #learn(epochs: readonly string[], number: number): void {
    const [epoch = "", ...earlier] = epochs;
    const sequence = toSequence(number);
    if (sequence <= 0) {
      this.#ask(earlier);
      return;
    }
    this.#numbers.set(epoch, number);
    this.#stage = { kind: "idle" };
    this.outlet.timers.clear(this.timer);
    this.outlet.subscribe({ epoch, sequence });
  }

  #tell({ last }: Batch): void {
    this.#probe(last.epoch, toNumber(last.sequence));
  }

  #probe(epoch: string | undefined, number: number): void {
    this.outlet.timers.set(this.timer, probeAgainMs);
    this.send(conversationId(this.outlet.userId, epoch ?? ""), [encodeProbe(number)]);
  }

  #isOf(conversation: string, epoch: string | undefined): boolean {
    return epoch !== undefined && conversation === conversationId(this.outlet.userId, epoch);
  }

  #isOurs(conversation: string): boolean {
    return conversation.startsWith(conversationId(this.outlet.userId, ""));
  }
}
