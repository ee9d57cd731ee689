import type { Finding, Send } from "./check/history.ts";
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
  /** Notifications that ask for something, by what. */
  readonly wishes: Map<string, number>;
  sessions: number;
  /** Events by how a device receives. */
  readonly deliveriesBy: Map<string, number>;
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
  const names = { wishes: new Map(), deliveriesBy: new Map(), faultsByName: new Map(), findings: new Map() };
  return { ...zero, ...more, ...rest, ...names };
}

/** Adds what a round has shown. */
export function addRound(totals: Totals, { history, findings, healings, quietAt, beganAt }: Round): void {
  const { sends, groups, devices, marks } = history;
  totals.rounds++;
  totals.sends += sends.size;
  for (const send of sends.values()) {
    const { attempts, recalls } = send;
    for (const wish of wishesOf(send)) count(totals.wishes, wish);
    totals.attempts += attempts.length;
    totals.recalls += recalls.length;
    for (const { outcome } of attempts) totals[outcome]++;
  }
  for (const { changes } of groups.values()) totals.membershipChanges += changes.length;
  for (const device of devices) {
    totals.sessions += device.sessions.length;
    totals.acknowledgements += device.acknowledged.length;
    for (const { on, events } of device.sessions) {
      totals.deliveries += events.length;
      count(totals.deliveriesBy, on.replace(/^.* by /, ""), events.length);
    }
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
    `  ${toList(totals.wishes)}`,
    `${number(deliveries)} events in ${number(sessions)} sessions; ${number(totals.owed)} notifications were owed to a device`,
    `  ${toList(totals.deliveriesBy)}`,
    `${number(totals.faults)} faults of ${totals.faultsByName.size} kinds`,
    "how often, and how soon after its end every connected device had everything, median and longest:",
    ...toHealingLines(totals.healings),
    `everything had reached at most ${(Math.max(0, totals.longestHealingMs) / 1_000).toFixed(1)} s after the last fault`,
  ];
  if (totals.findings.size === 0) lines.push("nothing lost, doubled, reordered, withdrawn in vain, or anybody else's");
  else for (const [kind, times] of totals.findings) lines.push(`VIOLATED ${times} × ${kind}`);
  return lines;
}

/** What a send asks for besides its recipient and level. */
function wishesOf(send: Send): string[] {
  const wishes: [string, boolean][] = [
    ["to a list", send.recvUserIds.length > 0],
    ["to some devices", send.recvDeviceId !== "" || send.exceptDeviceId !== ""],
    ["settled by one", send.isSettledByOne],
    ["with a collapseKey", send.collapseKey !== ""],
    ["for later", send.dueAt > 0],
    ["that expire", send.ttlSeconds > 0],
    ["with a chat copy", send.sendMsg],
    ["in a batch", send.attempts.some(({ batch }) => batch !== undefined)],
  ];
  return wishes.flatMap(([wish, isAsked]) => (isAsked ? [wish] : []));
}

function toList(counts: ReadonlyMap<string, number>): string {
  const parts = [...counts].toSorted(([a], [b]) => a.localeCompare(b));
  return parts.map(([name, times]) => `${times.toLocaleString("en")} ${name}`).join(", ") || "none";
}

function count(counts: Map<string, number>, name: string, times = 1): void {
  counts.set(name, (counts.get(name) ?? 0) + times);
}
