import { PerformanceObserver } from "node:perf_hooks";
import { getHeapSpaceStatistics, setFlagsFromString } from "node:v8";

/**
 * What V8's young generation takes at most, in bytes, both of its halves. It grows with what is alive at a time, as it is
 * when thousands of devices connect at once, to a hundred megabytes, and hardly ever gives anything back.
 */
const maxBytes = 33_554_432;

let isBound = false;

/**
 * Keeps V8's young generation small, as `--max-semi-space-size` does, which takes effect only where it is given to Node;
 * then nothing is done. It is looked at after each garbage collection, for it shrinks, too.
 */
export function boundYoungGeneration(): void {
  const given = [...process.execArgv, process.env.NODE_OPTIONS ?? ""].join(" ");
  if (given.includes("semi-space-size") || given.includes("semi_space_size")) return;
  new PerformanceObserver(look).observe({ entryTypes: ["gc"] });
  look();
}

function look(): void {
  const { space_size: bytes = 0 } = getHeapSpaceStatistics().find(({ space_name }) => space_name === "new_space") ?? {};
  const isFull = bytes >= maxBytes;
  if (isFull === isBound) return;
  isBound = isFull;
  // By which it grows: 2 is V8's own.
  setFlagsFromString(`--semi-space-growth-factor=${isFull ? 1 : 2}`);
}
