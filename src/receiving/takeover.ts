import type { SessionSignal } from "../live/signals.ts";
import type { Session } from "./session.ts";
import { sessionEnds } from "./session-end.ts";

/** A session of a user, also one that is being opened. */
export interface Contender {
  readonly session: Session;
  /** The device's token. */
  readonly device: string;
}

/**
 * The sessions of one user on this instance. A device has one: of those that are opened, here or elsewhere, the one
 * stays whose opening the broker recorded last.
 */
export interface Takeover extends Iterable<Contender> {
  isEmpty(): boolean;
  /**
   * Adds a session and has its opening recorded. By the time this resolves, the device's older ones here have ended with
   * 1506, or it has itself.
   *
   * Throws what `record` throws; the session is then not added.
   */
  enter(contender: Contender, record: () => Promise<number>): Promise<void>;
  /** Forgets a session; false when it was replaced before. */
  leave(session: Session): boolean;
  /** The sessions of a device: usually one. */
  of(device: string): Session[];
  /** A session of a device was opened or told again, here or elsewhere. */
  hear(device: string, signal: SessionSignal): void;
  /** Tells the other instances of all sessions: signals may have been lost. */
  repeat(): void;
}

export interface TakeoverOwner {
  /** Called when a session has ended because the device has a newer one. */
  onReplaced(session: Session): void;
  /** Tells every instance of a session and its place in the order. */
  tell(session: Session, order: number): void;
}

interface Placed extends Contender {
  /** Its place in the order; undefined until the broker has recorded it. */
  order: number | undefined;
  /** The highest place of the device's sessions that was heard of until then. */
  newest: number;
}

export function createTakeover(owner: TakeoverOwner): Takeover {
  return new Contenders(owner);
}

class Contenders implements Takeover {
  readonly #owner: TakeoverOwner;
  /** Most users have one session. Another array whenever it changes, so that who goes through it may end sessions. */
  #all: readonly Placed[] = [];

  constructor(owner: TakeoverOwner) {
    this.#owner = owner;
  }

  isEmpty(): boolean {
    return this.#all.length === 0;
  }

  async enter({ session, device }: Contender, record: () => Promise<number>): Promise<void> {
    // Before it is recorded: from then on, others may tell of newer ones and of what they have acknowledged.
    const placed: Placed = { session, device, order: undefined, newest: 0 };
    this.#all = [...this.#all, placed];
    try {
      placed.order = await record();
    } catch (error) {
      this.#remove(placed);
      throw error;
    }
    this.hear(device, { order: Math.max(placed.order, placed.newest), isRepeat: false });
  }

  leave(session: Session): boolean {
    const contender = this.#all.find((one) => one.session === session);
    if (contender !== undefined) this.#remove(contender);
    return contender !== undefined;
  }

  of(device: string): Session[] {
    return this.#all.filter((contender) => contender.device === device).map(({ session }) => session);
  }

  hear(device: string, { order, isRepeat }: SessionSignal): void {
    for (const contender of this.#all) {
      if (contender.device !== device) continue;
      if (contender.order === undefined) contender.newest = Math.max(contender.newest, order);
      else if (contender.order < order) this.#replace(contender);
      // Its instance has not heard of this one: it was cut off at the time.
      else if (contender.order > order && isRepeat) this.#owner.tell(contender.session, contender.order);
    }
  }

  repeat(): void {
    for (const { session, order } of this.#all) if (order !== undefined) this.#owner.tell(session, order);
  }

  [Symbol.iterator](): Iterator<Contender> {
    return this.#all[Symbol.iterator]();
  }

  #replace(contender: Placed): void {
    this.#remove(contender);
    contender.session.end(sessionEnds.replaced());
    this.#owner.onReplaced(contender.session);
  }

  #remove(contender: Placed): void {
    this.#all = this.#all.filter((one) => one !== contender);
  }
}
