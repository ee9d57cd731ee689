import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { explain } from "./check/explain.ts";
import type { Deployment, Fault } from "./deployment.ts";
import { writeHistory } from "./history-file.ts";
import { type Round, type RoundOptions, runRound } from "./round.ts";
import { addRound, kindOf, noTotals, type Totals } from "./summary.ts";
import { drawTimeline } from "./timeline.ts";

/** Options of {@link verify}. */
export interface VerifyOptions extends Omit<RoundOptions, "round" | "seconds" | "due"> {
  /** How long in all, in seconds; the time that devices take to read the rest comes on top. */
  readonly seconds: number;
  /** How long a round is, in seconds: what it needs to know is forgotten after it. */
  readonly roundSeconds: number;
  /** Where the history and the picture of the last round, and of each that shows a violation, are written. Default: nowhere. */
  readonly out?: string | undefined;
  /** Is told what happens, for people. */
  readonly say: (line: string) => void;
}

/** What has come of it. */
export interface Verdict {
  readonly totals: Totals;
  /** One of each kind of violation, with what led to it. */
  readonly violations: readonly string[];
  /** What instances have logged as errors. */
  readonly errors: readonly string[];
}

/** Verifies a deployment, round after round, until the time is over or a promise was broken. */
export async function verify(options: VerifyOptions): Promise<Verdict> {
  const { deployment, seed, seconds, roundSeconds, out, say } = options;
  const totals = noTotals();
  const due: Fault[] = [];
  const endsAt = performance.now() + seconds * 1_000;
  for (let round = 1; ; round++) {
    const leftSeconds = Math.round((endsAt - performance.now()) / 1_000);
    const length = Math.max(1, Math.min(roundSeconds, leftSeconds));
    const shown = await runRound({ ...options, round, seconds: length, due });
    addRound(totals, shown);
    say(describeRound(round, shown));
    const isLast = shown.findings.length > 0 || endsAt - performance.now() < 1_000;
    if (!isLast) continue;
    if (out !== undefined) await keep(out, `seed ${seed}, round ${round}`, shown);
    return { totals, violations: toViolations(shown), errors: errorsOf(deployment) };
  }
}

/** One of each kind tells more than many of one. */
function toViolations({ history, findings }: Round): string[] {
  return [...Map.groupBy(findings, kindOf).values()].map(([first, ...more]) => {
    const told = first === undefined ? "" : explain(history, first);
    return more.length === 0 ? told : `${told}\n  … and ${more.length} more`;
  });
}

function errorsOf(deployment: Deployment): readonly string[] {
  return [...new Set(deployment.errors())];
}

function describeRound(round: number, { history: { sends, devices, marks }, findings }: Round): string {
  const deliveries = devices.reduce(
    (sum, { sessions }) => sum + sessions.reduce((ofDevice, { events }) => ofDevice + events.length, 0),
    0,
  );
  const names = marks.map(({ what }) => what).join(", ") || "no fault";
  const verdict = findings.length === 0 ? "" : `; ${findings.length} VIOLATIONS`;
  return `round ${round}: ${sends.size} notifications, ${deliveries} events; ${names}${verdict}`;
}

async function keep(dir: string, title: string, { history }: Round): Promise<void> {
  await mkdir(dir, { recursive: true });
  await writeHistory(join(dir, "history.jsonl"), history);
  await writeFile(join(dir, "timeline.svg"), drawTimeline(title, history));
}
