import { setTimeout as delay } from "node:timers/promises";
import type { Fault } from "../deployment.ts";
import type { Random } from "../random.ts";
import type { Clock } from "./clock.ts";
import type { Breakable } from "./parts.ts";

/** How far a clock jumps, in milliseconds. Backwards further than a token may be from the future, so that some are refused. */
const [minJumpMs, maxJumpMs] = [1_000, 600_000];

/** How long it is wrong, in milliseconds. */
const [minWrongMs, maxWrongMs] = [500, 6_000];

/** Clocks that jump, and jump back. */
export function clockFaults({ clocks }: Pick<Breakable, "clocks">): Fault[] {
  const jump = (
    name: string,
    sign: 1 | -1,
    choose: (random: Random) => readonly Clock[] = (random) => [random.pick(clocks)],
  ): Fault => ({
    name,
    hits: ["clocks"],
    async happen(random) {
      const jumping = choose(random);
      // Small ones are as likely as large ones.
      const ms = sign * Math.round(minJumpMs * (maxJumpMs / minJumpMs) ** random());
      await Promise.all(jumping.map((clock) => clock.shift(ms)));
      await delay(random.between(minWrongMs, maxWrongMs));
      await Promise.all(jumping.map((clock) => clock.shift(0)));
    },
  });
  return [
    jump("the clock of an instance jumps forwards", 1),
    jump("the clock of an instance jumps backwards", -1),
    // To them it is the broker's that jumps the other way.
    jump("the clocks of all instances jump forwards", 1, () => clocks),
    jump("the clocks of all instances jump backwards", -1, () => clocks),
  ];
}
