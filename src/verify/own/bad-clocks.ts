import { setTimeout as delay } from "node:timers/promises";
import type { Fault } from "../deployment.ts";
import type { Random } from "../random.ts";
import type { Clock } from "./clock.ts";

/** How far a clock jumps, in milliseconds. Backwards further than a token may be from the future, so that some are refused. */
const [minJumpMs, maxJumpMs] = [1_000, 600_000];

/** How long it is wrong, in milliseconds. */
const [minWrongMs, maxWrongMs] = [500, 6_000];

/** Clocks that jump, and jump back. */
export function clockFaults(clocks: readonly Clock[]): Fault[] {
  const jump = async (jumping: readonly Clock[], random: Random, sign: 1 | -1) => {
    // Small ones are as likely as large ones.
    const ms = sign * Math.round(minJumpMs * (maxJumpMs / minJumpMs) ** random());
    await Promise.all(jumping.map((clock) => clock.shift(ms)));
    await delay(random.between(minWrongMs, maxWrongMs));
    await Promise.all(jumping.map((clock) => clock.shift(0)));
  };
  return [
    { name: "the clock of an instance jumps forwards", happen: (random) => jump([random.pick(clocks)], random, 1) },
    { name: "the clock of an instance jumps backwards", happen: (random) => jump([random.pick(clocks)], random, -1) },
    // To them it is the broker's that jumps the other way.
    { name: "the clocks of all instances jump forwards", happen: (random) => jump(clocks, random, 1) },
    { name: "the clocks of all instances jump backwards", happen: (random) => jump(clocks, random, -1) },
  ];
}
