import type { Finding } from "./check/inspect.ts";
import { owedTo } from "./check/owed.ts";
import type { Healing } from "./healing.ts";
import type { Round } from "./round.ts";

/** What has happened, and what has come of it: sums over rounds. */
export interface Totals {
  rounds: number;
  sends: number;
  /** Sends of the same notification once more, and refusals, included. */
  attempts: number;
  accepted: number;
  refused: number;
  unknown: number;
  recalls: number;
  membershipChanges: number;
  sessions: number;
  /** Events that devices got. */
  deliveries: number;
  /** Acknowledgements of devices, each of something further. */
  acknowledgements: number;
  /** How long rounds took, with what devices read after them, in milliseconds. */
  elapsedMs: number;
  /** Notifications that devices were owed for certain. */
  owed: number;
  faults: number;
  readonly faultsByName: Map<string, number>;
  readonly healings: Healing[];
  readonly findings: Map<string, number>;
  /** The longest time from the end of the last fault until every device had everything, in milliseconds. */
  longestHealingMs: number;
}

export function noTotals(): Totals {
  const zero = { sends: 0, attempts: 0, accepted: 0, refused: 0, unknown: 0, recalls: 0, membershipChanges: 0 };
  const more = { rounds: 0, sessions: 0, deliveries: 0, owed: 0, faults: 0, longestHealingMs: 0 };
  const rest = { acknowledgements: 0, elapsedMs: 0, healings: [] };
  return { ...zero, ...more, ...rest, faultsByName: new Map(), findings: new Map() };
}

/** Adds what a round has shown. */
export function addRound(totals: Totals, { history, findings, healings, quietAt, beganAt }: Round): void {
  const { sends, groups, devices, marks } = history;
  totals.rounds++;
  totals.sends += sends.size;
  for (const { attempts, recalls } of sends.values()) {
    totals.attempts += attempts.length;
    totals.recalls += recalls.length;
    for (const { outcome } of attempts) totals[outcome]++;
  }
  for (const { changes } of groups.values()) totals.membershipChanges += changes.length;
  for (const device of devices) {
    totals.sessions += device.sessions.length;
    totals.acknowledgements += device.acknowledgements ?? 0;
    for (const { events } of device.sessions) totals.deliveries += events.length;
    for (const { came } of owedTo(history, device)) {
      totals.owed++;
      totals.longestHealingMs = Math.max(totals.longestHealingMs, (came ?? 0) - quietAt);
    }
  }
  totals.elapsedMs += performance.now() - beganAt;
  totals.faults += marks.length;
  totals.healings.push(...healings);
  for (const { what } of marks) count(totals.faultsByName, what);
  for (const finding of findings) count(totals.findings, kindOf(finding));
}

/** What a finding is, whatever its numbers. */
export function kindOf({ what }: Finding): string {
  return what.replace(/\d+/g, "n");
}

/** All calls and deliveries. */
export function operationsOf(totals: Totals): number {
  const { attempts, recalls, membershipChanges, deliveries, acknowledgements } = totals;
  return attempts + recalls + membershipChanges + deliveries + acknowledgements;
}

/** How soon it healed after each kind of fault, as lines for people; the slowest first. */
function toHealingLines(healings: readonly Healing[]): string[] {
  const seconds = (ms: number) => (ms / 1_000).toFixed(1);
  const kinds = [...Map.groupBy(healings, ({ fault }) => fault)].map(([fault, of]) => {
    const sorted = of.toSorted((a, b) => a.ms - b.ms);
    return { fault, sorted, median: sorted[Math.floor(sorted.length / 2)]?.ms ?? 0, max: sorted.at(-1)?.ms ?? 0 };
  });
  return kinds
    .toSorted((a, b) => b.max - a.max)
    .map(({ fault, sorted, median, max }) => {
      const disturbed = sorted.filter(({ isDisturbed }) => isDisturbed).length;
      const note = disturbed === 0 ? "" : ` (${disturbed} of them into another fault)`;
      return `  ${sorted.length} × ${fault}: ${seconds(median)} s, at most ${seconds(max)} s${note}`;
    });
}

/** The totals as lines for people. */
export function toLines(totals: Totals): string[] {
  const number = (value: number) => value.toLocaleString("en");
  const perSecond = (value: number) => number(Math.round(value / Math.max(1, totals.elapsedMs / 1_000)));
  const { sends, attempts, accepted, refused, unknown, recalls, membershipChanges, sessions, deliveries } = totals;
  const lines = [
    `${number(operationsOf(totals))} operations in ${totals.rounds} rounds: ${number(attempts)} sends, ${number(recalls)} recalls, ${number(membershipChanges)} changes of groups, ${number(deliveries)} deliveries, ${number(totals.acknowledgements)} acknowledgements`,
    `${perSecond(operationsOf(totals))} a second: ${perSecond(attempts)} sends, ${perSecond(deliveries)} deliveries, ${perSecond(totals.acknowledgements)} acknowledgements`,
    `${number(sends)} notifications in ${number(attempts)} sends: ${number(accepted)} accepted, ${number(refused)} refused, ${number(unknown)} not answered`,
    `${number(deliveries)} events in ${number(sessions)} sessions; ${number(totals.owed)} notifications were owed to a device`,
    `${number(totals.faults)} faults of ${totals.faultsByName.size} kinds`,
    "how often, and how soon after its end every connected device had everything, median and longest:",
    ...toHealingLines(totals.healings),
    `everything had reached at most ${(Math.max(0, totals.longestHealingMs) / 1_000).toFixed(1)} s after the last fault`,
  ];
  if (totals.findings.size === 0) lines.push("nothing lost, doubled, reordered, withdrawn in vain, or anybody else's");
  else for (const [kind, times] of totals.findings) lines.push(`VIOLATED ${times} × ${kind}`);
  return lines;
}

function count(counts: Map<string, number>, name: string): void {
  counts.set(name, (counts.get(name) ?? 0) + 1);
}
