import { readFileSync } from "node:fs";

/**
 * Loaded before an instance (`--import`): its clock is off by as many milliseconds as the file says that the query names,
 * from the moment on at which it says so. What measures how long something takes (`performance.now()`, timers) does not
 * jump, as on a machine whose clock is set.
 */
const path = new URL(import.meta.url).searchParams.get("file") ?? "";
const RealDate = globalThis.Date;
const realNow = RealDate.now.bind(RealDate);
let shiftMs = 0;

/** How often it is looked what the file says, in milliseconds. */
const lookMs = 50;

const look = () => {
  try {
    shiftMs = Number(readFileSync(path, "utf8"));
  } catch {
    // Not there yet: nobody has set the clock.
  }
};
look();
setInterval(look, lookMs).unref();

RealDate.now = () => realNow() + shiftMs;
globalThis.Date = new Proxy(RealDate, {
  construct: (target, args, by) => Reflect.construct(target, args.length === 0 ? [target.now()] : args, by),
  apply: (target) => new target(target.now()).toString(),
});
