import type { WorkerCalls } from "./calls.ts";
import type { Link } from "./link.ts";

/** How often a worker is asked whether its event loop turns, in milliseconds. */
const everyMs = 1_000;

/** How often in a row it may not have answered: 10 s, and a minute while it loads. */
const maxMissed = { atFirst: 60, later: 10 };

/**
 * Watches whether a worker answers. What is counted are turns of our own event loop: time in which we ourselves stood
 * still, as in a machine that sleeps, is nobody's fault.
 */
export function startHeartbeat(worker: Link<WorkerCalls>, onStuck: () => void): { stop(): void } {
  let isAnswered = true;
  let hasAnswered = false;
  let missed = 0;

  const beat = (): void => {
    if (!isAnswered) {
      missed++;
      if (missed < (hasAnswered ? maxMissed.later : maxMissed.atFirst)) return;
      stop();
      onStuck();
      return;
    }
    missed = 0;
    isAnswered = false;
    worker.ask("beat", undefined).then(
      () => {
        isAnswered = true;
        hasAnswered = true;
      },
      // It has ended: that is seen elsewhere.
      () => {},
    );
  };

  // Timers come before what has been received: the answer may be there.
  const timer = setInterval(() => setImmediate(beat), everyMs);
  const stop = () => clearInterval(timer);
  return { stop };
}
