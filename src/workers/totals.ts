import { type MetricsSnapshot, sumCounts, sumMetrics } from "../observe/metrics.ts";
import type { Member } from "./crew.ts";
import { inTime } from "./health.ts";

/** The metrics of an instance: of all its processes, with what those have counted that have ended. */
export function createTotals(own: () => Promise<MetricsSnapshot>) {
  let ended: MetricsSnapshot[] = [];

  const measure = async (member: Member): Promise<MetricsSnapshot> => {
    // One that does not answer has not counted less than before.
    member.lastMetrics = (await inTime(member.ask("metrics", undefined))) ?? member.lastMetrics;
    return member.lastMetrics;
  };

  return {
    /** Keeps what a worker that has ended has counted, as last read: a total must not go back with it. */
    keep(last: MetricsSnapshot): void {
      ended = [...ended, last];
    },
    async text(members: readonly Member[]) {
      // Whoever ends from here on is among the members.
      const before = ended;
      const past = await sumCounts(before);
      const ofMembers = await Promise.all(members.map(measure));
      ended = [past, ...ended.slice(before.length)];
      return sumMetrics([await own(), ...ofMembers, past]);
    },
  };
}
