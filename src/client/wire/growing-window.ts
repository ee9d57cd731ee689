import { placeOf } from "./cursor.ts";
import { charsOf, type Received } from "./event.ts";

/** How many notifications may wait here: the service's default, then `times` as many at each step up to the most. */
const windows = { first: 64, times: 4, most: 1_000 } as const;

/** How long a device may take for what the window holds if it is to grow, in milliseconds. */
const paceMs = 1_000;

/** How many characters of data may wait here before the window is the first again. */
const maxWaitingChars = 4 * 1024 * 1024;

/**
 * The window of a device that did not say how large it may be. It grows while the listeners handle all of it within a
 * second: then it is the service's way to the next ones that takes the time. When too much waits, it is the first again.
 *
 * @param change tells the service of another window.
 * @param now the time, in milliseconds.
 */
export function createGrowingWindow(change: (window: number) => void, now: () => number = Date.now) {
  const waiting: { readonly sequence: bigint; readonly chars: number }[] = [];
  let waitingChars = 0;
  let window: number = windows.first;
  let handled = { sinceMs: now(), count: 0, chars: 0 };

  function set(next: number) {
    if (next === window) return;
    window = next;
    change(next);
  }

  return {
    /** An event has come. */
    came(response: Received) {
      const { sequence } = placeOf(response);
      if (sequence === 0n) return;
      const chars = charsOf(response);
      waiting.push({ sequence, chars });
      waitingChars += chars;
      if (waitingChars > maxWaitingChars) set(windows.first);
    },
    /** Everything up to a sequence is acknowledged. */
    acknowledged(sequence: bigint) {
      const left = waiting.findIndex((event) => event.sequence > sequence);
      const done = waiting.splice(0, left === -1 ? waiting.length : left);
      const chars = done.reduce((sum, event) => sum + event.chars, 0);
      waitingChars -= chars;
      if (now() - handled.sinceMs > paceMs) handled = { sinceMs: now(), count: 0, chars: 0 };
      handled.count += done.length;
      handled.chars += chars;
      if (handled.count < window || handled.chars * windows.times > maxWaitingChars) return;
      handled = { sinceMs: now(), count: 0, chars: 0 };
      set(Math.min(window * windows.times, windows.most));
    },
  };
}
