/** Something that is to be done at a time. Kept for as long as its owner lives: to set and to clear it allocates nothing. */
export class Timer {
  /** In ticks of the wheel that it is set in. */
  at = 0;
  next: Timer = this;
  previous: Timer = this;
  readonly owner: TimerOwner;

  /** @param owner told when the time has come; the timer is not set any more then. */
  constructor(owner: TimerOwner) {
    this.owner = owner;
  }
}

export interface TimerOwner {
  /** The time of its timer has come. */
  onTime(): void;
}

/** Timers by their time: setting and clearing one costs the same however many there are, and all wait on one of Node's. */
export interface TimerWheel {
  /** Has a timer go off in so many milliseconds, from 1 to 49 days; one that is set is set anew. Never early. */
  set(timer: Timer, ms: number): void;
  /** Has a timer not go off, if it is set. */
  clear(timer: Timer): void;
}

/** Each level has this many slots: of a tick on the lowest, of all slots of the level below on the others. */
const slotsPerLevel = 256;

/** With ticks of a millisecond, 2^32 of them. */
const levels = 4;

const maxTicks = slotsPerLevel ** levels - 1;

/** The longest that a timer of Node's waits, in milliseconds: one that is set for longer goes off at once. */
const maxWaitMs = 2 ** 31 - 1;

/** Owns the heads of the lists, which are never set. */
const nobody: TimerOwner = { onTime() {} };

/** Creates a hierarchical timing wheel (Varghese and Lauck, 1987). */
export function createTimerWheel(): TimerWheel {
  /** Circular lists of the timers of a slot, by their heads. */
  const slots = Array.from({ length: levels * slotsPerLevel }, () => new Timer(nobody));
  const startedMs = performance.now();
  /** Everything up to here has gone off. */
  let now = 0;
  /** When Node's timer goes off, in ticks. */
  let wakesAt = Number.POSITIVE_INFINITY;
  let waking: NodeJS.Timeout | undefined;

  const elapsed = () => performance.now() - startedMs;

  const slotOf = (level: number, tick: number): Timer =>
    slots[level * slotsPerLevel + (Math.floor(tick / slotsPerLevel ** level) % slotsPerLevel)] ?? new Timer(nobody);

  const place = (timer: Timer): void => {
    let level = 0;
    for (let reach = slotsPerLevel; timer.at - now >= reach && level < levels - 1; reach *= slotsPerLevel) level++;
    append(slotOf(level, timer.at), timer);
  };

  /** The next tick at which something goes off or comes a level down. */
  const nextTick = (): number => {
    let first = Number.POSITIVE_INFINITY;
    for (let level = 0, width = 1; level < levels; level++, width *= slotsPerLevel) {
      const begin = Math.floor(now / width);
      for (let i = 1; i <= slotsPerLevel; i++) {
        const tick = (begin + i) * width;
        if (tick >= first) break;
        if (!isEmpty(slotOf(level, tick))) first = tick;
      }
    }
    return first;
  };

  const arm = (tick: number): void => {
    clearTimeout(waking);
    wakesAt = tick;
    const leftMs = Math.min(Math.max(0, Math.ceil(tick - elapsed())), maxWaitMs);
    waking = tick === Number.POSITIVE_INFINITY ? undefined : setTimeout(wake, leftMs).unref();
  };

  /** Has what is due at the present tick go off, after what was a level up has come down. */
  const run = (): void => {
    for (let level = levels - 1; level > 0; level--) {
      if (now % slotsPerLevel ** level !== 0) continue;
      const head = slotOf(level, now);
      for (let timer = head.next; timer !== head; timer = head.next) {
        remove(timer);
        place(timer);
      }
    }
    const due = slotOf(0, now);
    try {
      for (let timer = due.next; timer !== due; timer = due.next) {
        remove(timer);
        timer.owner.onTime();
      }
    } finally {
      // What one owner throws costs the others a tick.
      for (let timer = due.next; timer !== due; timer = due.next) {
        remove(timer);
        timer.at = now + 1;
        place(timer);
      }
    }
  };

  const wake = (): void => {
    const until = Math.floor(elapsed());
    try {
      for (let tick = nextTick(); tick <= until; tick = nextTick()) {
        now = tick;
        run();
      }
      now = Math.max(now, until);
    } finally {
      arm(nextTick());
    }
  };

  return {
    set(timer, ms) {
      remove(timer);
      // What is due goes off with a later tick, and not in the middle of what sets it.
      const due = Math.ceil(elapsed() + Math.max(ms, 1));
      // Nothing is set: a level up would have to come down for no reason.
      if (wakesAt === Number.POSITIVE_INFINITY) now = Math.max(now, Math.floor(elapsed()));
      timer.at = Math.min(due, now + maxTicks);
      place(timer);
      if (timer.at < wakesAt) arm(timer.at);
    },
    clear: remove,
  };
}

function isEmpty(head: Timer): boolean {
  return head.next === head;
}

function append(head: Timer, timer: Timer): void {
  timer.previous = head.previous;
  timer.next = head;
  head.previous.next = timer;
  head.previous = timer;
}

function remove(timer: Timer): void {
  timer.previous.next = timer.next;
  timer.next.previous = timer.previous;
  timer.next = timer;
  timer.previous = timer;
}
