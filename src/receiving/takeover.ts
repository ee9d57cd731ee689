import { failure } from "../errors.ts";
import type { Session } from "./session.ts";
import type { SessionSignal } from "./signals.ts";

/** A session of a user, also one that is being opened. */
export interface Contender {
  readonly session: Session;
  /** The device's token. */
  readonly device: string;
  /** Whether the token that opened it has been revoked by now. */
  readonly isRevoked: () => boolean;
}

/**
 * The sessions of one user on this instance. A device has one: of those that are opened, here or elsewhere, the one
 * stays whose opening the broker recorded last.
 */
export interface Takeover extends Iterable<Contender> {
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

export interface TakeoverOptions {
  /** Called when a session has ended because the device has a newer one. */
  readonly onReplaced: (session: Session) => void;
  /** Tells every instance of a session and its place in the order. */
  readonly tell: (session: Session, order: number) => void;
}

interface Placed extends Contender {
  /** Its place in the order; undefined until the broker has recorded it. */
  order: number | undefined;
  /** The highest place of the device's sessions that was heard of until then. */
  newest: number;
}

export function createTakeover({ onReplaced, tell }: TakeoverOptions): Takeover {
  const contenders = new Set<Placed>();

  const replace = (contender: Placed): void => {
    contenders.delete(contender);
    contender.session.end({ error: failure("TokenKickedError", "a newer session of this device was opened") });
    onReplaced(contender.session);
  };

  const hear = (device: string, { order, isRepeat }: SessionSignal): void => {
    for (const contender of [...contenders]) {
      if (contender.device !== device) continue;
      if (contender.order === undefined) contender.newest = Math.max(contender.newest, order);
      else if (contender.order < order) replace(contender);
      // Its instance has not heard of this one: it was cut off at the time.
      else if (contender.order > order && isRepeat) tell(contender.session, contender.order);
    }
  };

  return {
    async enter(contender, record) {
      // Before it is recorded: from then on, others may tell of newer ones and of what they have acknowledged.
      const placed: Placed = { ...contender, order: undefined, newest: 0 };
      contenders.add(placed);
      try {
        placed.order = await record();
      } catch (error) {
        contenders.delete(placed);
        throw error;
      }
      hear(placed.device, { order: Math.max(placed.order, placed.newest), isRepeat: false });
    },
    leave(session) {
      for (const contender of contenders) if (contender.session === session) return contenders.delete(contender);
      return false;
    },
    of: (device) => [...contenders].filter((contender) => contender.device === device).map(({ session }) => session),
    hear,
    repeat() {
      for (const { session, order } of contenders) if (order !== undefined) tell(session, order);
    },
    [Symbol.iterator]: () => contenders[Symbol.iterator](),
  };
}
