import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { explain } from "./check/explain.ts";
import type { Fault } from "./deployment.ts";
import { openHistoryFile } from "./history-file.ts";
import { createProgress } from "./progress.ts";
import { type Round, type RoundOptions, runRound } from "./round.ts";
import { addRound, kindOf, noTotals, type Totals } from "./summary.ts";
import { createTimeline } from "./timeline.ts";

/** Options of {@link verify}. */
export interface VerifyOptions extends Omit<RoundOptions, "round" | "seconds" | "due" | "progress"> {
  /** How long in all, in seconds; the time that devices take to read the rest comes on top. */
  readonly seconds: number;
  /** How long a round is, in seconds: what it needs to know is forgotten after it. */
  readonly roundSeconds: number;
  /** Whether it goes on after a promise was broken, or a round has failed. Default false. */
  readonly keepGoing?: boolean | undefined;
  /** Where the history and the picture of all rounds are written. Default: nowhere. */
  readonly out?: string | undefined;
  /** Is told what happens, for people. */
  readonly say: (line: string) => void;
}

/** What has come of it. */
export interface Verdict {
  readonly totals: Totals;
  /** What did not end or start, and one of each kind of violation, with what led to it and where it is in the history. */
  readonly violations: readonly string[];
}

/** After so many rounds in a row that something has not ended or started in, the deployment is taken not to come back. */
const maxFailed = 3;

/** Verifies a deployment, round after round, until the time is over, a promise was broken, or it does not come back. */
export async function verify(options: VerifyOptions): Promise<Verdict> {
  const { deployment, seed, seconds, roundSeconds, keepGoing = false, out, say } = options;
  const totals = noTotals();
  const due: Fault[] = [];
  const timeline = createTimeline();
  const violations = new Map<string, string>();
  if (out !== undefined) await mkdir(out, { recursive: true });
  const file = out === undefined ? undefined : openHistoryFile(join(out, "history.jsonl"));
  const beganAt = performance.now();
  const endsAt = beganAt + seconds * 1_000;
  const progress = createProgress(say);
  let failed = 0;
  try {
    for (let round = 1; ; round++) {
      const leftSeconds = Math.round((endsAt - performance.now()) / 1_000);
      const length = Math.max(1, Math.min(roundSeconds, leftSeconds));
      const shown = await runRound({ ...options, round, seconds: length, due, progress });
      progress.enter(`round ${round}, writing it down`);
      addRound(totals, shown);
      timeline.add(shown.history, shown.beganAt - beganAt);
      const lines = await file?.add(round, shown.history);
      const where = lines === undefined ? "" : `, lines ${lines.first} to ${lines.last} of history.jsonl`;
      say(describeRound(round, shown));
      const ownFaults = deployment.ownFaults().map((told) => [told, told] as const);
      for (const [kind, told] of [...toViolations(shown), ...ownFaults]) {
        if (violations.has(kind)) continue;
        const violation = `round ${round}${where}: ${told}`;
        violations.set(kind, violation);
        // At once, since it may go on for an hour.
        if (keepGoing) say(violation);
      }
      failed = shown.failures.length > 0 ? failed + 1 : 0;
      const isOver = endsAt - performance.now() < 1_000;
      const isBroken = shown.failures.length + shown.findings.length + ownFaults.length > 0;
      if (isOver || failed === maxFailed || (isBroken && !keepGoing)) break;
    }
  } finally {
    progress.close();
  }
  await file?.close();
  if (out !== undefined) await writeFile(join(out, "timeline.svg"), timeline.draw(`seed ${seed}`));
  return { totals, violations: [...violations.values()] };
}

/** By its kind: one of each tells more than many of one. */
function toViolations({ history, findings, failures }: Round): (readonly [kind: string, told: string])[] {
  const broken = [...Map.groupBy(findings, kindOf)].map(([kind, [first, ...more]]) => {
    const told = first === undefined ? "" : explain(history, first);
    return [kind, more.length === 0 ? told : `${told}\n  … and ${more.length} more`] as const;
  });
  const [failure, ...more] = failures;
  if (failure === undefined) return broken;
  return [["failure", more.length === 0 ? failure : `${failure}\n  … and ${more.length} more`] as const, ...broken];
}

function describeRound(round: number, { history: { sends, devices, marks }, findings, failures }: Round): string {
  const deliveries = devices.reduce(
    (sum, { sessions }) => sum + sessions.reduce((ofDevice, { events }) => ofDevice + events.length, 0),
    0,
  );
  const names = marks.map(({ what }) => what).join(", ") || "no fault";
  const verdict = findings.length === 0 ? "" : `; ${findings.length} VIOLATIONS`;
  const failed = failures.length === 0 ? "" : `; FAILED: ${failures.length} did not end or start`;
  return `round ${round}: ${sends.size} notifications, ${deliveries} events; ${names}${verdict}${failed}`;
}
