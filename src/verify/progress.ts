import { setTimeout as delay } from "node:timers/promises";

/** Says for people what is going on, every so often. */
export interface Progress {
  /** From now on this is going on; `describe` says how far it is. */
  enter(phase: string, describe?: () => string): void;
  close(): void;
}

/** How often it is said, in milliseconds. */
const everyMs = 15_000;

/** Creates it; it says nothing of what is over sooner. */
export function createProgress(say: (line: string) => void): Progress {
  const beganAt = performance.now();
  let phase = "";
  let describe = () => "";
  const timer = setInterval(() => {
    const seconds = Math.round((performance.now() - beganAt) / 1_000);
    const minutes = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
    say(`  ${minutes} ${[phase, describe()].filter(Boolean).join(": ")}`);
  }, everyMs);
  timer.unref();
  return {
    enter(next, how = () => "") {
      phase = next;
      describe = how;
    },
    close: () => clearInterval(timer),
  };
}

/** What `work` resolves to; rejects where it takes longer than `maxMs`, in milliseconds, which it goes on for all the same. */
export async function within<T>(what: string, maxMs: number, work: Promise<T>): Promise<T> {
  const over = new AbortController();
  const late = delay(maxMs, undefined, { signal: over.signal }).then(() => {
    throw new Error(`${what}: not over after ${maxMs / 1_000} s`);
  });
  // Nobody waits for it when it is ended.
  late.catch(() => {});
  try {
    return await Promise.race([work, late]);
  } finally {
    over.abort();
  }
}
