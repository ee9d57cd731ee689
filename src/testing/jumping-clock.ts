import type { Clock } from "../clock.ts";

/** A clock that goes as the machine's does, and is moved forwards by hand. */
export interface JumpingClock extends Clock {
  /** Moves it, after the jumps before; resolves when all who listen have done what is due. */
  advance(ms: number): Promise<void>;
}

type Listener = () => Promise<void>;

export function createJumpingClock(): JumpingClock {
  const before: Listener[] = [];
  const after: Listener[] = [];
  const jumps: { readonly machineMs: number; readonly byMs: number }[] = [];
  let aheadMs = 0;
  let underWay = Promise.resolve();

  const jump = async (byMs: number): Promise<void> => {
    // What came last is furthest from the store.
    for (const listener of before.toReversed()) await listener();
    jumps.push({ machineMs: Date.now(), byMs });
    aheadMs += byMs;
    for (const listener of after) await listener();
  };

  return {
    now: () => Date.now() + aheadMs,
    // What was stored in the millisecond of a jump was so before: the jump has waited for it.
    at: (machineMs) => jumps.reduce((ms, jump) => (jump.machineMs < machineMs ? ms + jump.byMs : ms), machineMs),
    aheadMs: () => aheadMs,
    jumps: {
      before: (listener) => void before.push(listener),
      after: (listener) => void after.push(listener),
    },
    advance(ms) {
      const jumping = underWay.then(() => jump(ms));
      underWay = jumping.catch(() => {}); // Who has asked for it hears of it.
      return jumping;
    },
  };
}
