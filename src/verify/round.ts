import { setTimeout as delay } from "node:timers/promises";
import { createGroup, runMembership } from "./callers/membership.ts";
import { runWriter } from "./callers/writer.ts";
import type { DeviceHistory, DeviceKind, Finding, GroupHistory, History, Send } from "./check/history.ts";
import { inspect } from "./check/inspect.ts";
import { inspectLateness } from "./check/lateness.ts";
import { createCaller, type Deployment, devicePlatform, type Fault } from "./deployment.ts";
import { createDevice } from "./device.ts";
import { openimGoDoor, openimJsDoor } from "./doors/openim-doors.ts";
import { type ReceiveDoor, receiveDoors } from "./doors/receive-doors.ts";
import { type Healing, healingOf, isHealed } from "./healing.ts";
import { type Progress, within } from "./progress.ts";
import { createRandom, type Random } from "./random.ts";

/** How much happens in a round. */
export interface RoundOptions {
  readonly deployment: Deployment;
  /** Makes the choices, and not their timing. */
  readonly seed: number;
  /** Which one it is: its users and groups are no other round's. */
  readonly round: number;
  readonly seconds: number;
  readonly writers: number;
  readonly users: number;
  readonly groups: number;
  /** The longest pause of a writer between two calls, in milliseconds. */
  readonly maxPauseMs: number;
  /** What is missing when everything is quiet may still come for this long, in milliseconds. Default 90,000. */
  readonly patienceMs?: number;
  /** Ends it as soon as such a finding shows. Default: devices read all there is before anything is looked for. */
  readonly endsWith?: (finding: Finding) => boolean;
  /** The faults that are left to happen once before any happens again: over all rounds. */
  readonly due: Fault[];
  readonly progress: Progress;
}

/** What a round has shown. */
export interface Round {
  readonly history: History;
  readonly findings: readonly Finding[];
  /** What went wrong with the round itself, so that it shows less than it should: what did not end, or start. */
  readonly failures: readonly string[];
  readonly healings: readonly Healing[];
  /** When its clock began, by that of the process, in milliseconds. */
  readonly beganAt: number;
  /** When the last fault was over and nothing more was sent, by the history's clock. */
  readonly quietAt: number;
}

/** Pause between two faults, in milliseconds. */
const [minCalmMs, maxCalmMs] = [300, 3_000];

/** How often it is waited for that it has healed before the next fault; for a part of the round at most. */
const healedShare = 0.75;
const maxHealingShare = 0.1;

/** How often it is looked whether it has, and for the finding that ends a round, in milliseconds. */
const lookMs = 1_000;

/** How often a fault does not happen alone. */
const togetherShare = 0.25;

/** How many of the devices are never away or stuck by themselves: by them it is measured how soon it heals. */
const steadyShare = 0.3;

/** How long groups may take to be made, in milliseconds. */
const setUpMs = 120_000;

/** How long callers go on for an answer when a round is over, in milliseconds. */
const answerMs = 30_000;

/** How long a fault may take, and callers, devices and faults until they have ended, in milliseconds. */
const faultMs = 150_000;
const endMs = 180_000;

/**
 * Everything at once, by chance: sends, repeats, refusals, recalls, changes of groups, devices that come and go by all
 * doors, and faults. Then devices read what there is, and what each has is compared with what the answers promised.
 * It ends whatever does not come back, and says what that was.
 */
export async function runRound(options: RoundOptions): Promise<Round> {
  const { deployment, seed, round, seconds, patienceMs = 90_000, progress } = options;
  const beganAt = performance.now();
  const now = () => performance.now() - beganAt;
  const over = new AbortController();
  const call = createCaller(now, over.signal);
  const randomOf = (name: string) => createRandom(seed, `${round}/${name}`);
  const nameAll = (kind: string, count: number) =>
    Array.from({ length: count }, (_, n) => `${kind}-${seed}-${round}-${n}`);
  const userIds = nameAll("user", options.users);
  const groupIds = nameAll("group", options.groups);
  const sends = new Map<string, Send>();
  const dataById = new Map<string, string>();
  const choices = randomOf("devices");
  const devices = userIds.flatMap((userId) =>
    equip(deployment, userId, choices).map((equipment) => {
      const random = randomOf(`${userId}/${equipment.deviceId}`);
      const isOnline = choices.chance(0.7);
      const isSteady = isOnline && equipment.kind === "own" && choices.chance(steadyShare);
      const device = createDevice({ deployment, userId, ...equipment, isSteady, random, now, dataById });
      return { ...device, isOnline, isSteady };
    }),
  );
  const memberships = groupIds.map((groupId) => ({ deployment, groupId, random: randomOf(groupId), call, userIds }));
  const groups = new Map<string, GroupHistory>();
  const history: History = { sends, groups, devices: devices.map((device) => device.history), marks: [] };
  const steady = devices.flatMap((device) => (device.isSteady ? [device.history] : []));
  const failures: string[] = [];
  const fail = (error: unknown) => {
    if (error !== over.signal.reason) failures.push(Error.isError(error) ? error.message : String(error));
  };
  const end = (findings: readonly Finding[], quietAt: number): Round => {
    const healings = healingOf(history, steady);
    return { history, findings, failures: [...new Set(failures)], healings, quietAt, beganAt };
  };

  progress.enter(`round ${round}, making groups`);
  const making = memberships.map(async (made) => void groups.set(made.groupId, await createGroup(made)));
  await within("making groups", setUpMs, Promise.all(making)).catch(fail);
  if (failures.length > 0) {
    over.abort();
    await Promise.allSettled(making);
    return end([], now());
  }

  const stopping = new AbortController();
  const { signal } = stopping;
  const broken = new Set<string>();
  const describe = () => {
    const faults = [...broken].join(" and ");
    return `${countsOf(history)}${faults === "" ? "" : `; now: ${faults}`}`;
  };
  progress.enter(`round ${round}, sends and faults`, describe);
  const deviceIds = [...new Set(devices.map(({ history: { deviceId } }) => deviceId))];
  const ingredients = { userIds, groupIds, deviceIds, now, lacking: deployment.lacking };
  const writer = { deployment, call, ...ingredients, sends, dataById, maxPauseMs: options.maxPauseMs };
  const actors = [
    ...nameAll("writer", options.writers).map((name) => runWriter({ ...writer, name, random: randomOf(name) }, signal)),
    ...memberships.flatMap((membership) => {
      const group = groups.get(membership.groupId);
      return group === undefined ? [] : [runMembership(membership, group, now, signal)];
    }),
    ...devices.filter(({ isOnline }) => isOnline).map((device) => device.live(signal)),
    runFaults(options, history, steady, broken, randomOf("faults"), now, signal),
  ];
  /** What breaks a promise whatever may still come. */
  const look = () => [...inspect(history).filter(({ mayCome }) => !mayCome), ...inspectLateness(history, now())];
  const { endsWith } = options;
  // An actor that fails ends it at once.
  const ends: Promise<unknown>[] = [delay(seconds * 1_000, undefined, { ref: false }), Promise.all(actors)];
  if (endsWith !== undefined) ends.push(until(() => look().some(endsWith), signal));
  await Promise.race(ends).catch(() => {});
  stopping.abort();
  progress.enter(`round ${round}, ending`, describe);
  const patience = setTimeout(() => over.abort(), failures.length > 0 ? 0 : answerMs);
  const ending = Promise.all(actors.map((actor) => actor.catch(fail)));
  await within("ending callers, devices and faults", endMs, ending).catch(fail);
  clearTimeout(patience);

  const quietAt = now();
  const seen = endsWith === undefined ? [] : look().filter(endsWith);
  if (seen.length > 0) {
    over.abort();
    return end(seen, quietAt);
  }
  let drained = 0;
  progress.enter(`round ${round}, reading what is left`, () => `${drained} of ${devices.length} devices have all`);
  const read = async () => {
    drained = 0;
    const reading = devices.map(async (device) => {
      await device.drain().catch(fail);
      drained++;
    });
    await Promise.all(reading);
    return [...inspect(history), ...inspectLateness(history)];
  };
  let findings = await read();
  // A send to a group was answered when it was stored, and is expanded after it.
  while (failures.length === 0 && findings.some(({ mayCome }) => mayCome) && now() - quietAt < patienceMs) {
    await delay(500);
    findings = await read();
  }
  over.abort();
  return end(findings, quietAt);
}

function countsOf({ sends, devices }: History): string {
  const attempts = [...sends.values()].flatMap((send) => send.attempts);
  const unknown = attempts.filter(({ outcome }) => outcome === "unknown").length;
  const events = devices.reduce(
    (sum, { sessions }) => sessions.reduce((all, each) => all + each.events.length, sum),
    0,
  );
  return `${attempts.length} sends, ${unknown} of them not answered, ${events} events`;
}

/** Resolves when a condition holds, or is not of interest any more. */
async function until(isMet: () => boolean, signal: AbortSignal): Promise<void> {
  while (!signal.aborted && !isMet()) await delay(lookMs, undefined, { ref: false });
}

/** A device of a user, and how it receives. */
interface Equipment {
  readonly deviceId: string;
  readonly kind: DeviceKind;
  readonly doors: readonly ReceiveDoor[];
}

/** To OpenIM's SDKs, a device is a platform: the name of ours is Web. */
const openimDeviceId = "Web";

/** How many users of ten also have an app with an SDK of OpenIM, and a program at the broker. */
const openimShare = 0.4;
const nativeShare = 0.2;

/** Draws the devices of a user: one or two that change between the doors of ours, and others that cannot. */
function equip({ native }: Deployment, userId: string, random: Random): readonly Equipment[] {
  const own = Array.from(
    { length: random.between(1, 2) },
    (_, n): Equipment => ({ deviceId: `device-${n}`, kind: "own", doors: receiveDoors }),
  );
  const openOpenim = random.chance(0.5) ? openimGoDoor : openimJsDoor;
  const openim: Equipment = { deviceId: openimDeviceId, kind: "openim", doors: [openOpenim(userId, devicePlatform)] };
  const atBroker: Equipment[] =
    native === undefined ? [] : [{ deviceId: "at-broker", kind: "native", doors: [native(userId)] }];
  const hasOpenim = random.chance(openimShare);
  const hasNative = random.chance(nativeShare);
  return [...own, ...(hasOpenim ? [openim] : []), ...(hasNative ? atBroker : [])];
}

/** Lets one fault happen after the other, or two at a time that hit different things: each once before any again. */
async function runFaults(
  { deployment: { faults }, due, seconds }: RoundOptions,
  history: History,
  steady: readonly DeviceHistory[],
  broken: Set<string>,
  random: Random,
  now: () => number,
  signal: AbortSignal,
): Promise<void> {
  const happen = async (fault: Fault) => {
    const at = now();
    broken.add(fault.name);
    await within(fault.name, faultMs, fault.happen(random)).finally(() => {
      broken.delete(fault.name);
      history.marks.push({ at, until: now(), what: fault.name });
    });
  };
  while (faults.length > 0 && !signal.aborted) {
    await delay(random.between(minCalmMs, maxCalmMs), undefined, { signal }).catch(() => {});
    if (signal.aborted) return;
    if (due.length === 0) due.push(...shuffle(faults, random));
    const first = due.shift();
    if (first === undefined) return;
    const other = due.findIndex(({ hits }) => !hits.some((hit) => first.hits.includes(hit)));
    const together = other !== -1 && random.chance(togetherShare) ? due.splice(other, 1) : [];
    await Promise.all([first, ...together].map(happen));
    const overAt = now();
    const patientUntil = overAt + (random.chance(healedShare) ? seconds * 1_000 * maxHealingShare : 0);
    while (now() < patientUntil && !signal.aborted && !isHealed(history, steady, overAt)) {
      await delay(lookMs);
    }
  }
}

function shuffle<T>(all: readonly T[], random: Random): T[] {
  return all
    .map((one) => ({ one, rank: random() }))
    .sort((a, b) => a.rank - b.rank)
    .map(({ one }) => one);
}
