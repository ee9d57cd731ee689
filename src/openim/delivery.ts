import type { ConnectError } from "@connectrpc/connect";
import type { FrameSink } from "../answers.ts";
import { errorTable, toErrorFacts } from "../errors.ts";
import type { Position } from "../inbox/lineage.ts";
import { Timer, type TimerOwner, type TimerWheel } from "../timer-wheel.ts";
import { Acknowledgements } from "./acknowledgements.ts";
import { conversationId } from "./conversation.ts";
import { Held } from "./held.ts";
import { readEvent } from "./read-event.ts";

/** The device of a delivery, as its connection has it. */
export interface Outlet {
  readonly userId: string;
  readonly timers: TimerWheel;
  /** Tells the device of messages, encoded; false when more waits to be sent than should. */
  push(conversationId: string, messages: readonly Uint8Array[]): boolean;
  /** Sends a ping, whose pong comes to {@link Delivery.onPong}. */
  ping(): void;
  /** Opens the device's session: after a position, or where its cursor is. */
  subscribe(after: Position | "cursor" | "beginning"): void;
  /** Records what the device has handled. */
  acknowledge(position: Position): void;
  /** The session can give more. */
  resume(): void;
  /** Ends the connection: with a 2002, or as planned, so that the device connects again. */
  close(why: "kicked" | "again"): void;
}

/** What a pull is answered with; `astray` for one that cannot be answered as the connection is. */
export type Pulled = readonly Uint8Array[] | "asked" | "astray";

/** How long the end of a connection waits for what the device has not handled yet, in milliseconds. */
const maxEndMs = 2_500;

/** A device's notifications on their way to it. */
export abstract class Delivery implements FrameSink, TimerOwner {
  protected readonly outlet: Outlet;
  protected readonly held = new Held();
  protected readonly acknowledgements: Acknowledgements;
  /** Goes off when what was asked for has not come, or the end cannot wait any more. */
  protected readonly timer = new Timer(this);
  #isWritable = true;
  #isSourceWaiting = false;
  #isEnding = false;
  #isOver = false;

  constructor(outlet: Outlet) {
    this.outlet = outlet;
    const acknowledge = (position: Position) => outlet.acknowledge(position);
    this.acknowledgements = new Acknowledgements(outlet.timers, acknowledge, () => this.#endIfDone());
  }

  /** The connection is open. */
  abstract begin(): void;
  /** The device asks for what is beyond its number; see conversation.ts. */
  abstract pull(conversationId: string, begin: number, end: number): Pulled;
  /** The device has read all that was sent before the last ping. */
  abstract onPong(): void;
  /** Sends what is next, when nothing is under way. */
  protected abstract pump(): void;
  /** Something has not come in time. */
  protected abstract onLate(): void;
  /** Whether the device has been sent something that it may not have read. */
  protected abstract isUnderWay(): boolean;

  write(frame: Uint8Array): boolean {
    const event = readEvent(frame);
    if (event.kind === "online") {
      this.send(conversationId(this.outlet.userId, ""), [event.message]);
    } else if (event.kind === "stored") {
      this.held.add(event.item);
      if (!this.#isEnding && !this.#isOver) this.pump();
    } else if (event.kind === "settled") {
      this.held.settle(event.position);
    }
    this.#isSourceWaiting = this.held.isFull() || !this.#isWritable;
    return !this.#isSourceWaiting;
  }

  end(error?: ConnectError): void {
    if (error === undefined) this.stop();
    else this.#finish(toErrorFacts(error).errCode === errorTable.TokenKickedError.errCode ? "kicked" : "again");
  }

  /** Ends the connection once the device has handled what it was sent. */
  stop(): void {
    if (this.#isEnding || this.#isOver) return;
    this.#isEnding = true;
    this.outlet.timers.set(this.timer, maxEndMs);
    this.#endIfDone();
  }

  onDrain(): void {
    this.#isWritable = true;
    this.proceed();
  }

  /** The connection is over. */
  cancel(): void {
    this.#isOver = true;
    this.outlet.timers.clear(this.timer);
    this.acknowledgements.clear();
  }

  onTime(): void {
    if (this.#isEnding) this.#finish("again");
    else this.onLate();
  }

  protected send(conversation: string, messages: readonly Uint8Array[]): void {
    this.#isWritable = this.outlet.push(conversation, messages) && this.#isWritable;
  }

  /** Goes on after something has come, or has left. */
  protected proceed(): void {
    if (this.#isOver) return;
    if (this.#isEnding) {
      this.#endIfDone();
      return;
    }
    this.pump();
    if (!this.#isSourceWaiting || this.held.isFull() || !this.#isWritable) return;
    this.#isSourceWaiting = false;
    this.outlet.resume();
  }

  #endIfDone(): void {
    if (this.#isEnding && !this.isUnderWay() && this.acknowledgements.isEmpty()) this.#finish("again");
  }

  #finish(why: "kicked" | "again"): void {
    if (this.#isOver) return;
    this.cancel();
    this.outlet.close(why);
  }
}
